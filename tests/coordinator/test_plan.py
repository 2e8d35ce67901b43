"""The leader's plan, from any snapshot and any reports: what must hold whatever hosts say of themselves."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from streamcluster.ids import SlotId, TaskId
from streamcluster.protocol.messages import TaskFigures
from streamcluster_coordinator.machine.plan import Draft, PlanFacts, draft_of, finished, plan
from streamcluster_coordinator.records.report import HostReport, HostRows, HostState, SlotReport
from streamcluster_coordinator.records.snapshot import MOVES_KEPT, SUPERSEDED_KEPT, HostEntry, Shape, Snapshot
from streamcluster_coordinator.records.status import TaskStatus

TASKS = tuple(TaskId(4, number) for number in range(4))
NAMES = ("a", "b", "c")
SLOTS = [SlotId(name, number) for name in NAMES for number in range(2)]
EPOCH = 10
STATES: list[HostState] = ["joining", "member", "member", "member", "leaving", "left"]

texts = st.sampled_from([str(task) for task in TASKS])
slots = st.sampled_from([str(slot) for slot in SLOTS])


@st.composite
def reports(draw: st.DrawFn, name: str) -> HostReport:
    """One host's, of the registered coordinator (1) or of a newer one (2)."""
    number = draw(st.sampled_from([1, 1, 1, 2]))
    return HostReport(
        host=name,
        instance=f"{name}{number}",
        pid=1,
        machine=name,
        sequence=1,
        epoch_read=draw(st.integers(EPOCH - 3, EPOCH)),
        state=draw(st.sampled_from(STATES)),
        shape=Shape(),
        slots=tuple(
            SlotReport(
                number=slot,
                ready=draw(st.booleans()),
                wanted=draw(st.sampled_from([True, True, True, False])),
                gone=draw(st.sampled_from([False, False, True])),
                fenced=draw(st.booleans()),
                holds=tuple(draw(st.lists(texts, unique=True))),
            )
            for slot in range(draw(st.integers(1, 2)))
        ),
    )


@st.composite
def rows(draw: st.DrawFn) -> HostRows:
    """What a host's workers do."""
    following = st.builds(
        TaskStatus,
        task=texts,
        slot=st.integers(0, 1),
        state=st.sampled_from(["standby", "running"]),
        figures=st.builds(
            TaskFigures,
            lag=st.sampled_from([{}, {"log": 0}, {"log": 1_000_000}]),
            stored=st.sampled_from([0, 1_000_000]),
        ),
    )
    return HostRows(
        tasks=tuple(draw(st.lists(following, max_size=4))),
        stored=draw(st.dictionaries(texts, st.just(1_000_000), max_size=2)),
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[Snapshot, PlanFacts]:
    """A log's last record and what the leader knows then."""
    owners = draw(st.dictionaries(texts, slots))
    back = draw(st.dictionaries(st.sampled_from(sorted(owners)), st.integers(1, EPOCH))) if owners else {}
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    snapshot = Snapshot(
        epoch=EPOCH,
        term=1,
        leader=None,
        cluster_id="",
        topic_id="",
        shape=Shape(),
        hosts={name: HostEntry(instance=f"{name}1", slots=(0, 1)) for name in sorted(names)},
        owners=owners,
        revoking=back,
        standbys={
            t: tuple(s) for t, s in draw(st.dictionaries(texts, st.lists(slots, unique=True, max_size=3))).items()
        },
        drained=tuple(draw(st.lists(st.sampled_from([*NAMES[1:], "a/0"]), unique=True, max_size=1))),
        pins=draw(st.dictionaries(texts, slots, max_size=1)),
    )
    heard = {name: draw(reports(name)) for name in NAMES if draw(st.sampled_from([True, True, False]))}
    silent = [name for name in NAMES if name not in heard]
    facts = PlanFacts(
        tasks=TASKS,
        stateless=frozenset(draw(st.lists(st.sampled_from(TASKS), unique=True, max_size=1))),
        reports=heard,
        rows={name: draw(rows()) for name in heard},
        dead=frozenset(name for name in silent if name in snapshot.hosts and draw(st.booleans())),
        fenced=draw(st.dictionaries(st.sampled_from(SLOTS), st.integers(1, EPOCH))),
        targets=draw(st.dictionaries(st.sampled_from(TASKS), st.sampled_from(SLOTS), max_size=2)),
        out_of_time=frozenset(name for name, one in heard.items() if one.state == "leaving" and draw(st.booleans())),
    )
    return snapshot, facts


def planned(snapshot: Snapshot, facts: PlanFacts) -> tuple[Snapshot, Draft]:
    """One plan."""
    draft = draft_of(snapshot, facts)
    plan(draft, facts)
    return finished(draft, snapshot), draft


def is_free(facts: PlanFacts, after: Snapshot, task: str, owner: SlotId, epoch: int) -> bool:
    """Whether nothing of its owner can be committed for a task any more, by the rules of docs/hosts.md."""
    if facts.fenced.get(owner, 0) >= epoch:
        return True
    report = facts.reports.get(owner.host)
    entry = after.hosts.get(owner.host)
    if report is None or report.state == "left" or (entry is not None and entry.instance != report.instance):
        return False
    slot = next((one for one in report.slots if one.number == owner.number), None)
    return slot is not None and report.epoch_read >= epoch and slot.fenced and task not in slot.holds


@settings(max_examples=60)
@given(cases())
def test_a_task_is_never_given_while_its_owner_may_still_have_it(case: tuple[Snapshot, PlanFacts]) -> None:
    """It was asked back in a committed record, and then released or fenced."""
    before, facts = case
    after, _ = planned(before, facts)

    for task, owner in before.owners.items():
        if after.owners.get(task) != owner or (task in before.revoking and task not in after.revoking):
            assert task in before.revoking
            assert is_free(facts, after, task, SlotId.parse(owner), before.revoking[task])


@settings(max_examples=60)
@given(cases())
def test_standbys_are_on_different_hosts_and_not_with_the_owner(case: tuple[Snapshot, PlanFacts]) -> None:
    """A host's directory has one place for a task."""
    after, _ = planned(*case)

    for task, followers in after.standbys.items():
        hosts = [SlotId.parse(slot).host for slot in followers]
        owner = [SlotId.parse(after.owners[task]).host] if task in after.owners else []
        assert len({*hosts, *owner}) == len(hosts + owner)


@settings(max_examples=60)
@given(cases())
def test_every_task_that_is_asked_back_has_a_reason(case: tuple[Snapshot, PlanFacts]) -> None:
    """An operator sees from whom it is taken, when, and why."""
    before, facts = case
    after, _ = planned(before, facts)

    for task in after.revoking.keys() - before.revoking.keys():
        moves = [move for move in after.moves if move.task == task]
        assert moves[-1].source == before.owners.get(task, moves[-1].source)
        assert moves[-1].epoch == after.epoch == EPOCH + 1
        assert moves[-1].reason


@settings(max_examples=60)
@given(cases())
def test_planning_again_with_the_same_facts_changes_nothing(case: tuple[Snapshot, PlanFacts]) -> None:
    """Once hosts are registered and what was free is given, the plan is made until somebody says something new."""
    snapshot, facts = case
    for _ in range(3):
        snapshot, draft = planned(snapshot, facts)
        facts = replace(facts, targets=draft.targets)

    assert planned(snapshot, facts)[0] == snapshot


@settings(max_examples=60)
@given(cases())
def test_a_host_that_is_silent_and_not_dead_keeps_what_it_has(case: tuple[Snapshot, PlanFacts]) -> None:
    """Its tasks are not asked back, and it is given none (H11)."""
    before, facts = case
    after, _ = planned(before, facts)
    silent = before.hosts.keys() - facts.reports.keys() - facts.dead

    for task, owner in after.owners.items():
        if SlotId.parse(owner).host in silent:
            assert before.owners.get(task) == owner
            assert (task in after.revoking) == (task in before.revoking)


def test_what_is_kept_for_people_is_bounded() -> None:
    """Names that come back for ever, and moves for ever, make no snapshot larger."""
    snapshot = Snapshot(epoch=1, term=1, leader=None, cluster_id="", topic_id="", shape=Shape())
    for number in range(40):
        report = HostReport(
            host="a",
            instance=f"a{number}",
            pid=1,
            machine="a",
            sequence=1,
            epoch_read=snapshot.epoch,
            state="member",
            shape=None,
            slots=(SlotReport(number=number % 2, ready=True, fenced=True),),
        )
        snapshot, _ = planned(snapshot, PlanFacts(tasks=TASKS, stateless=frozenset(), reports={"a": report}))

    assert snapshot.hosts["a"].superseded == tuple(f"a{n}" for n in range(39 - SUPERSEDED_KEPT, 39))
    assert len(snapshot.moves) == MOVES_KEPT
    assert len(msgspec.json.encode(snapshot)) < 4_000
