"""Assignment: what holds for every decision, and that following decisions leads to a balance and stays there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from streamcluster.ids import SlotId, TaskId
from streamcluster.placement.assign import assign
from streamcluster.placement.lags import Lags
from streamcluster.placement.situation import Place, Situation

from .situations import HEAD, LAG_MAX, applied, followed, is_balanced, places_of, situation, situations

ROUNDS_MAX = 60

TASKS = [TaskId(8, number) for number in range(8)]


def settle(now: Situation) -> tuple[Situation, int]:
    """Follow decisions until nothing changes any more; and how many it took."""
    for count in range(ROUNDS_MAX):
        then = followed(now, assign(now))
        if then == now:
            return now, count
        now = then
    raise AssertionError(f"it has not come to rest after {ROUNDS_MAX} rounds: {now}")


def served(now: Situation) -> list[TaskId]:
    return [task for task in now.tasks if now.is_served(task)]


@given(situations())
def test_every_task_is_owned_when_there_are_places(now: Situation) -> None:
    """Nobody's task is left out; without places, those that are served stay and the rest have no owner."""
    owners = assign(now).owners

    expected = set(now.tasks) if now.places else set(served(now))
    assert set(owners) == expected
    places = {place.slot for place in now.places}
    assert all(slot in places or slot == now.owners[task] for task, slot in owners.items())


@given(situations(out_of_time=False))
def test_a_served_task_moves_only_to_a_warm_and_ready_place(now: Situation) -> None:
    """Neither a cold nor a starting slot gets a task that somebody works on."""
    lags, ready = Lags.of(now), {place.slot for place in now.places if place.ready}
    owners = assign(now).owners

    for task in served(now):
        if owners[task] != now.owners[task]:
            assert owners[task] in ready
            assert lags.is_warm(task, owners[task])


@given(situations())
def test_a_hasty_task_moves_only_to_a_ready_place(now: Situation) -> None:
    """A starting slot is worse than an owner that is about to leave; a warm place goes before a cold one."""
    lags, ready = Lags.of(now), {place.slot for place in now.places if place.ready}
    owners = assign(now).owners

    for task in served(now):
        if owners[task] != now.owners[task]:
            assert owners[task] in ready
            assert lags.is_warm(task, owners[task]) or not any(lags.is_warm(task, slot) for slot in ready)


@given(situations())
def test_a_dead_owners_task_goes_where_its_state_is(now: Situation) -> None:
    """A task that nobody serves goes to a cold place only when no ready place is warm."""
    lags, ready = Lags.of(now), {place.slot for place in now.places if place.ready}
    owners = assign(now).owners

    for task in owners.keys() - served(now):
        warm = any(lags.is_warm(task, slot) for slot in ready)
        assert lags.is_warm(task, owners[task]) or not warm


@given(situations())
def test_standbys_are_never_beside_their_owner(now: Situation) -> None:
    """At most one standby per host and task, none on a host of its owner, before or after, none without tables."""
    result = assign(now)

    places = {place.slot for place in now.places}
    for task, standbys in result.standbys.items():
        hosts = [slot.host for slot in standbys]
        assert standbys
        assert set(standbys) <= places
        assert len(set(hosts)) == len(hosts)
        assert result.owners[task].host not in hosts
        assert task not in served(now) or now.owners[task].host not in hosts
        assert task not in now.stateless


@given(situations())
def test_warm_ups_are_bounded(now: Situation) -> None:
    """No more cold replicas beyond those that are wanted than may warm up at a time."""
    lags = Lags.of(now)
    result = assign(now)

    warmups = sum(
        max(0, min(len(slots) - now.replicas, sum(not lags.is_warm(task, slot) for slot in slots)))
        for task, slots in result.standbys.items()
    )
    assert warmups <= now.warmups_max


@given(situations())
def test_the_decision_stands_while_facts_are_the_same(now: Situation) -> None:
    """Once no owner moves, what is decided is decided again; and that comes soon when nothing else changes."""
    for _ in range(8):
        result = assign(now)
        then = applied(now, result)
        if (then.owners, then.serving) == (now.owners, now.serving):
            break
        now = then
    else:
        raise AssertionError("owners still move")

    assert assign(applied(now, result)) == result


@given(situations())
def test_following_decisions_comes_to_rest_in_a_balance(now: Situation) -> None:
    """In a bounded number of rounds everything is where it is to be: balanced, with as many standbys as fit."""
    assume(now.places)
    end, _ = settle(now)

    slots = [place.slot for place in now.places]
    hosts = {slot.host for slot in slots}
    pins = {task: slot for task, slot in now.pins.items() if slot in slots and task in now.tasks}
    assert all(end.owners[task] == slot for task, slot in pins.items())
    assert pins or is_balanced(end.owners, slots)
    for task in set(now.tasks) - now.stateless:
        assert len(end.standbys.get(task, ())) == min(now.replicas, len(hosts) - 1)


@given(situations())
def test_order_of_the_facts_does_not_matter(now: Situation) -> None:
    """Two leaders that heard the same in another order decide the same."""
    turned = replace(
        now,
        tasks=now.tasks[::-1],
        places=now.places[::-1],
        owners=dict(reversed(list(now.owners.items()))),
        lags=dict(reversed(list(now.lags.items()))),
        stored=dict(reversed(list(now.stored.items()))),
        load=dict(reversed(list(now.load.items()))),
    )

    assert assign(turned) == assign(now)


@given(st.integers(2, 4), st.integers(1, 3), st.integers(1, 2))
def test_standbys_are_level(hosts: int, slots: int, replicas: int) -> None:
    """On hosts of one size, slots have about the same number of standbys, also when a host has joined."""
    tasks = [TaskId(24, number) for number in range(24)]
    names = {f"h{number}": slots for number in range(hosts)}
    end, _ = settle(situation(tasks, places_of(names), replicas=replicas))
    end, _ = settle(replace(end, places=tuple(places_of(names | {"new": slots}))))

    counts = Counter(slot for standbys in end.standbys.values() for slot in standbys)
    numbers = [counts[place.slot] for place in end.places]
    assert max(numbers) - min(numbers) <= 2


def test_a_host_that_joins_gets_tasks_only_when_they_are_warm() -> None:
    """Owners stay at first while the new place warms up, no more at a time than may; then they move."""
    before, _ = settle(situation(TASKS, places_of({"a": 2})))
    now = replace(before, places=tuple(places_of({"a": 2, "b": 2})), warmups_max=2)

    first = assign(now)
    assert first.owners == before.owners
    assert {slot.host for slots in first.standbys.values() for slot in slots} == {"b"}
    assert len(first.standbys) == 2
    # A report that makes another task look nearer does not take the place of what is under way.
    other = min(set(TASKS) - set(first.standbys))
    nearer = replace(applied(now, first), stored={other: {"b": HEAD - LAG_MAX - 1}})
    assert set(first.standbys) <= set(assign(nearer).standbys)

    second = assign(followed(now, first))
    assert {task for task in TASKS if second.owners[task].host == "b"} == set(first.standbys)


def test_a_lost_hosts_tasks_go_to_their_standbys() -> None:
    """Each is at once where its standby was, balanced or not, and the balance comes back by warming up."""
    before, _ = settle(situation(TASKS, places_of({"a": 2, "b": 2, "c": 2}), replicas=1))
    left = tuple(places_of({"b": 2, "c": 2}))
    lost = replace(before, places=left, serving=frozenset(place.slot for place in left))

    result = assign(lost)

    for task in TASKS:
        if before.owners[task].host == "a":
            assert result.owners[task].host == before.standbys[task][0].host
        else:
            assert result.owners[task] == before.owners[task]
    assert is_balanced(settle(lost)[0].owners, [place.slot for place in left])


def test_a_lost_hosts_tasks_are_spread_over_the_others() -> None:
    """A slot's tasks have their standbys in many places, so that at once no slot has much more to do than others."""
    tasks = [TaskId(250, number) for number in range(250)]
    hosts = {f"h{number}": 2 for number in range(10)}
    before, _ = settle(situation(tasks, places_of(hosts), replicas=1))
    left = tuple(places_of({host: slots for host, slots in hosts.items() if host != "h0"}))

    result = assign(replace(before, places=left, serving=frozenset(place.slot for place in left)))

    counts = Counter(result.owners.values())
    assert max(counts.values()) - min(counts.values()) <= 3


def test_a_drained_slot_is_emptied() -> None:
    """A slot that is no place any more gives up its tasks, at once to its own host, else after a warm-up."""
    before, _ = settle(situation(TASKS, places_of({"a": 2, "b": 2})))
    drained = SlotId("a", 0)
    now = replace(before, places=tuple(place for place in before.places if place.slot != drained))

    end, rounds = settle(now)

    assert drained not in end.owners.values()
    assert rounds > 1


def test_a_leaving_host_moves_without_a_warm_up_when_time_is_short() -> None:
    """What is out_of_time goes at once to a ready place, even to a cold one."""
    before, _ = settle(situation(TASKS, places_of({"a": 1})))
    now = replace(before, places=(Place(SlotId("b", 0)),))

    assert assign(now).owners == before.owners
    out_of_time = assign(replace(now, out_of_time=frozenset(TASKS)))
    assert set(out_of_time.owners.values()) == {SlotId("b", 0)}


def test_a_move_under_way_is_not_thought_over() -> None:
    """A task that was asked back for another goes there, though the balance would now have it stay."""
    before, _ = settle(situation(TASKS, places_of({"a": 1, "b": 1})))
    task = next(task for task in TASKS if before.owners[task].host == "a")

    assert assign(replace(before, moving={task: SlotId("b", 0)})).owners[task] == SlotId("b", 0)
    assert assign(replace(before, moving={task: SlotId("c", 0)})).owners == before.owners


def test_racks_part_owner_and_standbys() -> None:
    """Where there are racks enough, no two copies of a task share one; a rack that comes late is made use of."""
    racks = {"a": "1", "b": "1", "c": "2", "d": "2", "e": "3", "f": "3"}
    some, _ = settle(situation(TASKS, places_of({"a": 1, "b": 1, "c": 1, "d": 1}, racks), replicas=2))
    end, _ = settle(replace(some, places=tuple(places_of(dict.fromkeys(racks, 1), racks))))

    for task in TASKS:
        copies = [racks[slot.host] for slot in (end.owners[task], *end.standbys[task])]
        assert len(set(copies)) == 3


def test_a_late_standby_does_not_cost_the_early_one() -> None:
    """When standbys move to a host that joined, the warm one stays until the new one is warm."""
    before, _ = settle(situation(TASKS, places_of({"a": 1, "b": 1}), replicas=1, warmups_max=8))
    now = replace(before, places=tuple(places_of({"a": 1, "b": 1, "c": 1})))
    for _ in range(ROUNDS_MAX):
        lags, result = Lags.of(now), assign(now)
        for task in TASKS:
            if result.owners[task] == now.owners[task] and now.standbys.get(task):
                assert any(lags.is_warm(task, slot) for slot in result.standbys[task])
        now = followed(now, result)
    assert Counter(slot.host for slots in now.standbys.values() for slot in slots).keys() == {"a", "b", "c"}


@given(st.lists(st.floats(0, 20_000), min_size=12, max_size=12), st.integers(2, 6), st.integers(0, 1))
def test_swaps_for_the_load_lessen_the_spread_and_end(load: list[float], slots: int, replicas: int) -> None:
    """Counts stay as they are, the busiest slot gets no busier, and there is an end to it."""
    tasks = [TaskId(12, number) for number in range(12)]
    places = places_of({f"h{number}": 1 for number in range(slots)})
    before, _ = settle(situation(tasks, places, replicas=replicas))

    end, _ = settle(replace(before, load=dict(zip(tasks, load, strict=True))))

    assert busiest(end) <= busiest(replace(end, owners=before.owners))
    assert Counter(end.owners.values()) == Counter(before.owners.values())


def busiest(now: Situation) -> float:
    """The load of the slot that has the most."""
    return max(sum(now.load[task] for task in now.tasks if now.owners[task] == place.slot) for place in now.places)


def test_two_busy_tasks_of_a_slot_are_parted() -> None:
    """Two tasks change places, both in the same decision, when both are warm."""
    tasks = TASKS[:4]
    before, _ = settle(situation(tasks, places_of({"a": 1, "b": 1}), warmups_max=1))
    busy = [task for task in tasks if before.owners[task].host == "a"]
    now = replace(before, load=dict.fromkeys(tasks, 10.0) | dict.fromkeys(busy, 8_000.0))

    hosts = []
    for _ in range(4):
        result = assign(now)
        hosts.append(sorted(result.owners[task].host for task in busy))
        assert is_balanced(result.owners, [place.slot for place in now.places])
        now = followed(now, result)

    assert hosts[0] == ["a", "a"]
    assert hosts[-1] == ["a", "b"]


def test_assignment_does_not_depend_on_the_hash_seed() -> None:
    """Interpreters with different hash seeds decide the same, in the same order."""
    program = (
        "from situations import *; from streamcluster.placement.assign import assign; "
        "tasks = [TaskId(g, p) for g in (8, 5) for p in range(g)]; now = situation(tasks, "
        "places_of({'a': 2, 'b': 1, 'c': 2}), replicas=1, owners={t: SlotId('a', 0) for t in tasks[:9]}); "
        "result = assign(now); print(result, assign(followed(now, result)))"
    )
    path = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    answers = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(answers) == 1
