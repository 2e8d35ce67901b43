"""Recovery times and restores, told from looks and arrivals that a reader can check by hand."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import replace

from tests.ledger.chaos import Done
from tests.ledger.faults import Fault
from tests.ledger.recovery import Seen, distribution, recoveries
from tests.ledger.restores import SLACK_RECORDS, restores_of
from tests.ledger.values import Damage
from tests.ledger.watching import Arrivals, Look, Owner, Positions

OLD, NEW = 10, 20
KILLED_AT = 100.0


def arrivals(rows: Sequence[tuple[float, float, int]]) -> Arrivals:
    """Rows of (seen at, sent at, by)."""
    return Arrivals(
        array("d", [row[0] for row in rows]), array("d", [row[1] for row in rows]), array("q", [row[2] for row in rows])
    )


def steady(begin: float, end: float, by: int, age: float = 0.1) -> list[tuple[float, float, int]]:
    """Ten results a second."""
    return [(begin + n / 10, begin + n / 10 - age, by) for n in range(int((end - begin) * 10))]


def looks() -> list[Look]:
    """A worker is killed at 100 s, seen dead after 0.1 s, replaced after 0.5 s; its task runs again after 1.5 s."""
    return [
        Look(90.0, "one", {"4_0": Owner(OLD, "running", 3)}),
        Look(100.1, "one", {"4_0": Owner(None, "waiting", 3)}),
        Look(100.5, "one", {"4_0": Owner(NEW, "restoring", 0)}),
        Look(101.5, "one", {"4_0": Owner(NEW, "running", 40)}),
    ]


def killed(kind: str = "kill worker", at: float = KILLED_AT) -> Done:
    """The fault."""
    return Done(Fault(at, kind, 0.5, 0.0), at, "kill -9", "", frozenset({OLD}), frozenset({"4_0"}))


def seen() -> Seen:
    """Results stop at the kill. One of before it comes late; after 2 s the new process catches up, until 4 s."""
    late = [(101.8, 99.9, NEW)]
    catching_up = [(102.0 + n / 20, 100.0 + n / 10, NEW) for n in range(40)]
    rows = [*steady(90.0, KILLED_AT, OLD), *late, *catching_up, *steady(104.0, 120.0, NEW)]
    return Seen(looks(), {0: arrivals(rows)}, rate=40.0, begin=0.0, end=120.0)


def test_a_killed_worker_is_timed_from_the_kill() -> None:
    """Each time by its definition; the late result of a movement from before the kill is no first output."""
    (found,) = recoveries([killed()], seen())

    assert (found.detect, found.fence, found.restore) == (0.1, 0.5, 1.5)
    assert found.first_output == 2.0
    assert found.to_95 == 2.0
    assert found.lag is not None
    assert 3.5 <= found.lag <= 4.1
    assert not found.overlapped


def test_overlapping_faults_are_not_part_of_the_distribution() -> None:
    """A second fault while the first is felt: what came before it counts for the first, and nothing for the second."""
    both = recoveries([killed(), killed(at=101.0)], seen())

    assert [one.overlapped for one in both] == [False, True]
    assert {*distribution(both)["kill worker"]} == {"detect", "fence"}
    alone = distribution(recoveries([killed()], seen()))
    assert alone["kill worker"]["fence"] == {"count": 1, "p50": 0.5, "p95": 0.5, "max": 0.5}


def test_what_never_comes_back_has_no_time() -> None:
    """No new owner, no result: nothing is made up."""
    cut_short = replace(seen(), looks=looks()[:2], arrivals={0: arrivals(steady(90.0, KILLED_AT, OLD))})

    (found,) = recoveries([killed()], cut_short)

    assert found.detect == 0.1
    assert (found.fence, found.restore, found.first_output, found.to_95, found.lag) == (None, None, None, None, None)


def test_a_broker_that_is_away_is_detected_by_the_status() -> None:
    """Without victims nothing is fenced or restored."""
    down = Look(100.8, "one", {"4_0": Owner(OLD, "running", 3)}, broker_up=False)
    broker = Done(Fault(KILLED_AT, "kill broker", 0.5, 1.0), KILLED_AT, "kill", tasks=frozenset({"4_0"}))

    (found,) = recoveries([broker], replace(seen(), looks=[looks()[0], down]))

    assert (found.detect, found.fence, found.restore) == (0.8, None, None)
    assert found.first_output == 2.0


def positions(end: float = 200.0) -> dict[tuple[str, int], Positions]:
    """Ten records a second in the changelog of sums."""
    times = [n / 10 for n in range(int(end * 10))]
    return {("changelog:sums", 0): Positions(times, [int(at * 10) for at in times])}


def test_a_restore_of_the_tail_is_within_its_bound() -> None:
    """The bound is what was written since shortly before the old process was gone."""
    (found,) = restores_of(looks(), positions())

    assert (found.task, found.pid, found.restored) == ("4_0", NEW, 40)
    assert found.tail_max == SLACK_RECORDS + (1035 - 951)


def test_a_process_that_dies_during_the_restore_leaves_the_bound_as_it_was() -> None:
    """What was missing in the store then is missing still."""
    again = [*looks()[:3], Look(130.0, "one", {"4_0": Owner(30, "running", 500)})]

    found = restores_of(again, positions())

    assert [one.pid for one in found] == [NEW, 30]
    assert found[1].tail_max == SLACK_RECORDS + (1320 - 951)


def test_the_first_start_on_a_host_has_no_bound() -> None:
    """There was no store."""
    assert restores_of(looks()[:1], positions()) == []


def test_a_task_that_is_opened_again_in_one_process_has_a_bound_of_its_own() -> None:
    """Its connections were lost, and it ran elsewhere meanwhile; what it read at its first start counts no more."""
    back = [
        Look(150.0, "one", {}),
        Look(160.0, "one", {"4_0": Owner(NEW, "restoring", 0)}),
        Look(161.0, "one", {"4_0": Owner(NEW, "running", 90)}),
    ]

    found = restores_of([*looks(), *back], positions())

    assert [(one.pid, one.restored) for one in found] == [(NEW, 40), (NEW, 90)]
    assert found[1].tail_max == SLACK_RECORDS + (1630 - 1450)


def test_a_host_that_is_silent_for_a_while_restores_nothing() -> None:
    """It was paused, and the same process goes on with the task."""
    later = [Look(150.0, "one", {}), Look(160.0, "one", {"4_0": Owner(NEW, "running", 40)})]

    assert len(restores_of([*looks(), *later], positions())) == 1


def test_what_was_aborted_is_read_past() -> None:
    """Nothing is committed while no broker answers; the next record tells how much a restore had to read."""
    log = positions(100.0)["changelog:sums", 0]
    log.add(140.0, 9_000)

    (found,) = restores_of(looks(), {("changelog:sums", 0): log})

    assert found.tail_max == SLACK_RECORDS + (9_000 - 949)


def test_a_damaged_store_excuses_one_whole_restore() -> None:
    """Also one in several parts, each by a process that died meanwhile; a later one needs a damage of its own."""
    all_of_it = 1_000_000
    again = [
        *looks()[:3],
        Look(110.0, "one", {"4_0": Owner(30, "restoring", all_of_it)}),
        Look(111.0, "one", {"4_0": Owner(31, "restoring", 0)}),
        Look(130.0, "one", {"4_0": Owner(31, "running", all_of_it)}),
        Look(140.0, "one", {"4_0": Owner(None, "waiting", 3)}),
        Look(141.0, "one", {"4_0": Owner(32, "running", all_of_it)}),
    ]

    found = restores_of(again, positions(), [Damage(99.0, "one", "4_0"), Damage(99.0, "one", "4_1")])

    assert [(one.pid, one.is_excused) for one in found] == [(NEW, False), (30, True), (31, True), (32, False)]
    assert not any(one.is_excused for one in restores_of(again, positions(), [Damage(150.0, "one", "4_0")]))
