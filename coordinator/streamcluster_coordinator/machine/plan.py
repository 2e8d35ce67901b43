"""From the facts to the next snapshot: who is registered, whose tasks are free, where tasks and standbys should be.

    owned ──asked back (epoch e)──> revoking ──released or fenced──> free ──> owned elsewhere
      ^                                                                          │
      └──────────────────────────────────────────────────────────────────────────┘

Released: the owner's host has acted on epoch e or a later one, the slot's earlier sessions are fenced, and its process
does not hold the task. Fenced: a fence of the slot began after the record of epoch e was committed. Nothing else frees
a task (docs/hosts.md, "Fencing"). Where tasks go is decided in streamcluster.placement.assign.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from streamcluster.ids import SlotId, TaskId
from streamcluster.placement.assign import assign
from streamcluster.placement.situation import Assignment, Place, Situation

from ..records.report import HostReport, HostRows, SlotReport
from ..records.snapshot import MOVES_KEPT, PLACES_MAX, HostEntry, Move, Snapshot
from ..records.status import TaskStatus


class PlanFacts(msgspec.Struct, frozen=True):
    """What the plan is made from.

    reports: of the hosts that are alive, registered or not. rows: theirs. dead: hosts taken for dead.
    fenced: slot -> the newest epoch for whose revocations it was fenced. targets: task -> where it was to go when it
    was asked back. out_of_time: hosts that leave and cannot wait any longer.
    """

    tasks: tuple[TaskId, ...]
    stateless: frozenset[TaskId]
    reports: Mapping[str, HostReport]
    rows: Mapping[str, HostRows] = msgspec.field(default_factory=dict)
    dead: frozenset[str] = frozenset()
    fenced: Mapping[SlotId, int] = msgspec.field(default_factory=dict)
    targets: Mapping[TaskId, SlotId] = msgspec.field(default_factory=dict)
    out_of_time: frozenset[str] = frozenset()
    replicas: int | None = None
    lag_max: int = 10_000
    warmups_max: int = 4


class Draft(msgspec.Struct):
    """The next snapshot in the making. epoch: the one it will have."""

    epoch: int
    hosts: dict[str, HostEntry]
    owners: dict[TaskId, SlotId]
    revoking: dict[TaskId, int]
    moves: list[Move]
    standbys: dict[TaskId, tuple[SlotId, ...]]
    drained: tuple[str, ...]
    pins: dict[TaskId, SlotId]
    # Where tasks that are asked back are to go; the leader remembers it.
    targets: dict[TaskId, SlotId]

    def revoke(self, task: TaskId, target: SlotId | None, reason: str) -> None:
        """Ask a task back; whoever has it keeps it until it is released or fenced."""
        self.revoking[task] = self.epoch
        source = self.owners[task]
        self.moves.append(
            Move(epoch=self.epoch, task=str(task), source=str(source), target=str(target or ""), reason=reason)
        )
        if target is not None:
            self.targets[task] = target

    def drain(self, target: str) -> None:
        """This host or slot gets no tasks."""
        self.drained = (*self.drained, target)

    def undrain(self, target: str) -> None:
        """It gets tasks again."""
        self.drained = tuple(name for name in self.drained if name != target)


def draft_of(snapshot: Snapshot, facts: PlanFacts) -> Draft:
    """A draft that says what the snapshot says, of the tasks that there are."""
    known = set(facts.tasks)
    owners = {TaskId.parse(task): SlotId.parse(slot) for task, slot in snapshot.owners.items()}
    standbys = {TaskId.parse(t): tuple(map(SlotId.parse, slots)) for t, slots in snapshot.standbys.items()}
    return Draft(
        epoch=snapshot.epoch + 1,
        hosts=dict(snapshot.hosts),
        owners={task: slot for task, slot in owners.items() if task in known},
        revoking={TaskId.parse(task): at for task, at in snapshot.revoking.items() if TaskId.parse(task) in known},
        moves=list(snapshot.moves),
        standbys={task: slots for task, slots in standbys.items() if task in known},
        drained=snapshot.drained,
        pins={TaskId.parse(task): SlotId.parse(slot) for task, slot in snapshot.pins.items()},
        targets=dict(facts.targets),
    )


def finished(draft: Draft, snapshot: Snapshot) -> Snapshot:
    """The draft as a record; it has the epoch of `snapshot` when it says the same."""
    made = msgspec.structs.replace(
        snapshot,
        hosts=dict(sorted(draft.hosts.items())),
        owners={str(task): str(draft.owners[task]) for task in sorted(draft.owners)},
        revoking={str(task): draft.revoking[task] for task in sorted(draft.revoking)},
        standbys={str(task): tuple(map(str, draft.standbys[task])) for task in sorted(draft.standbys)},
        moves=tuple(draft.moves[-MOVES_KEPT:]),
        drained=draft.drained,
        pins={str(task): str(draft.pins[task]) for task in sorted(draft.pins)},
    )
    return made if made == snapshot else msgspec.structs.replace(made, epoch=draft.epoch)


def plan(draft: Draft, facts: PlanFacts) -> None:
    """Carry the draft as far as the facts allow."""
    catch_up(draft, facts)
    assignment = assign(situation_of(draft, facts))
    _apply(draft, facts, assignment)


def catch_up(draft: Draft, facts: PlanFacts) -> None:
    """Note who is there, which tasks are free, and whose tasks have to be asked back because of what they are."""
    _register(draft, facts)
    _free(draft, facts)
    _revoke_the_lost(draft, facts)
    _drop_the_gone(draft, facts)


def _register(draft: Draft, facts: PlanFacts) -> None:
    """Hosts that are heard may own tasks; a newer coordinator of a name takes the place of the older."""
    for name, report in sorted(facts.reports.items()):
        if report.state == "left":
            continue
        slots = tuple(sorted(slot.number for slot in report.slots))
        others = sum(len(entry.slots) for other, entry in draft.hosts.items() if other != name)
        if len(slots) + others > PLACES_MAX:
            continue
        entry = HostEntry(
            instance=report.instance, slots=slots, pid=report.pid, machine=report.machine, rack=report.rack
        )
        draft.hosts[name] = entry.in_place_of(draft.hosts.get(name))


def _current(draft: Draft, facts: PlanFacts, host: str) -> HostReport | None:
    """The report of the coordinator that is registered for a host, while that is alive."""
    report, entry = facts.reports.get(host), draft.hosts.get(host)
    if report is None or entry is None or report.instance != entry.instance or report.state == "left":
        return None
    return report


def _is_silent(draft: Draft, facts: PlanFacts, host: str) -> bool:
    """It is registered and not heard now, and not taken for dead yet: what it has and follows stays as it is."""
    return host in draft.hosts and host not in facts.reports and host not in facts.dead


def slot_report(draft: Draft, facts: PlanFacts, slot: SlotId) -> SlotReport | None:
    """What is known of a slot; None: its host is not alive, or has no such slot."""
    report = _current(draft, facts, slot.host)
    return next((one for one in report.slots if one.number == slot.number), None) if report is not None else None


def _free(draft: Draft, facts: PlanFacts) -> None:
    for task, epoch in list(draft.revoking.items()):
        owner = draft.owners[task]
        if facts.fenced.get(owner, 0) >= epoch or _is_released(draft, facts, task, owner, epoch):
            del draft.owners[task], draft.revoking[task]


def _is_released(draft: Draft, facts: PlanFacts, task: TaskId, owner: SlotId, epoch: int) -> bool:
    report, slot = _current(draft, facts, owner.host), slot_report(draft, facts, owner)
    if report is None or slot is None or report.epoch_read < epoch:
        return False
    return slot.fenced and str(task) not in slot.holds


def _revoke_the_lost(draft: Draft, facts: PlanFacts) -> None:
    """Tasks of hosts that are gone, and of slots that are not there or not to be counted on."""
    for task, owner in sorted(draft.owners.items()):
        if task in draft.revoking:
            continue
        report = facts.reports.get(owner.host)
        slot = slot_report(draft, facts, owner)
        if owner.host in facts.dead:
            draft.revoke(task, None, f"host {owner.host} is silent")
        elif report is not None and report.state == "left":
            draft.revoke(task, None, f"host {owner.host} has left")
        elif owner.host not in draft.hosts:
            draft.revoke(task, None, f"host {owner.host} is not there")
        elif report is not None and slot is None:
            draft.revoke(task, None, f"slot {owner} is not there any more")
        elif slot is not None and is_broken(slot):
            draft.revoke(task, None, f"worker {owner} dies again and again")


def is_broken(slot: SlotReport) -> bool:
    """No process is in it, and none is counted on."""
    return slot.gone and not slot.wanted


def _drop_the_gone(draft: Draft, facts: PlanFacts) -> None:
    """Forget hosts that are dead or have left, once nothing is theirs."""
    owning = {slot.host for slot in draft.owners.values()}
    for name in sorted(draft.hosts):
        report = facts.reports.get(name)
        is_gone = name in facts.dead or (report is not None and report.state == "left")
        if is_gone and name not in owning:
            del draft.hosts[name]


def is_drained(drained: Iterable[str], slot: SlotId) -> bool:
    """Whether an operator wants a slot, or its whole host, without tasks."""
    return str(slot) in drained or slot.host in drained


def situation_of(draft: Draft, facts: PlanFacts) -> Situation:
    """The facts as placement wants them."""
    places: list[Place] = []
    serving: set[SlotId] = set()
    lags: dict[tuple[TaskId, SlotId], int] = {}
    stored: dict[TaskId, dict[str, int]] = {}
    heads: dict[TaskId, int] = {}
    load: dict[TaskId, float] = {}
    for name in sorted(draft.hosts):
        report = _current(draft, facts, name)
        if report is None:
            if name not in facts.dead:
                # Silent for a moment: what it has stays there, and counts.
                silent = [SlotId(name, number) for number in draft.hosts[name].slots]
                serving.update(silent)
                staying = [slot for slot in silent if not is_drained(draft.drained, slot)]
                places += [Place(slot, draft.hosts[name].rack, ready=False) for slot in staying]
            continue
        for slot in report.slots:
            slot_id = SlotId(name, slot.number)
            if not is_broken(slot):
                serving.add(slot_id)
            if slot.wanted and report.state != "leaving" and not is_drained(draft.drained, slot_id):
                places.append(Place(slot_id, draft.hosts[name].rack, ready=slot.ready))
        rows = facts.rows.get(name, HostRows())
        for text, at in rows.stored.items():
            stored.setdefault(TaskId.parse(text), {})[name] = at
        for status in rows.tasks:
            _read_task(name, status, lags, heads, load)
    out_of_time = {task for task, slot in draft.owners.items() if slot.host in facts.out_of_time}
    replicas = facts.replicas if facts.replicas is not None else int(len({place.slot.host for place in places}) > 1)
    return Situation(
        tasks=facts.tasks,
        places=tuple(places),
        owners=dict(draft.owners),
        serving=frozenset(serving),
        standbys=dict(draft.standbys),
        lags=lags,
        stored=stored,
        heads=heads,
        stateless=facts.stateless,
        load=load,
        pins=dict(draft.pins),
        out_of_time=frozenset(out_of_time),
        replicas=replicas,
        lag_max=facts.lag_max,
        warmups_max=facts.warmups_max,
        moving={task: draft.targets[task] for task in draft.revoking if task in draft.targets},
    )


def _read_task(
    host: str,
    status: TaskStatus,
    lags: dict[tuple[TaskId, SlotId], int],
    heads: dict[TaskId, int],
    load: dict[TaskId, float],
) -> None:
    if status.slot is None:
        return
    task = TaskId.parse(status.task)
    if status.state == "standby" and (lag := standby_lag(status)) is not None:
        lags[task, SlotId(host, status.slot)] = lag
    elif status.state in ("running", "failing"):
        heads[task] = max(heads.get(task, 0), status.figures.stored)
        if status.events_per_second is not None:
            load[task] = status.events_per_second


def standby_lag(status: TaskStatus) -> int | None:
    """Records that a standby is behind; None: its worker has not said so yet, which is not the same as none."""
    return sum(status.figures.lag.values()) if status.figures.lag else None


def _apply(draft: Draft, facts: PlanFacts, assignment: Assignment) -> None:
    """Give what is free, ask back what is to move, and note the standbys."""
    newest = {move.task: index for index, move in enumerate(draft.moves)}
    for task in facts.tasks:
        goal, owner = assignment.owners.get(task), draft.owners.get(task)
        if goal is None or goal == owner:
            continue
        if task in draft.revoking:
            # Where it goes is decided once, or its standbys would follow each new thought.
            if (target := draft.targets.get(task)) is None or not _may_own(draft, facts, target):
                draft.targets[task] = goal
            continue
        if any(slot is not None and _is_silent(draft, facts, slot.host) for slot in (goal, owner)):
            continue
        if owner is not None:
            draft.revoke(task, goal, _reason(draft, facts, task, owner))
            continue
        meant = draft.targets.pop(task, None)
        chosen = meant if meant is not None and _may_own(draft, facts, meant) else goal
        draft.owners[task] = chosen
        _note_arrival(draft, newest, task, chosen)
    standbys = {task: _standbys(draft, facts, task, assignment) for task in facts.tasks}
    draft.standbys = {task: slots for task, slots in sorted(standbys.items()) if slots}


def _standbys(draft: Draft, facts: PlanFacts, task: TaskId, assignment: Assignment) -> tuple[SlotId, ...]:
    """As placement wants them, beside what is not to be closed now; one per host, and none where the owner is."""
    before = draft.standbys.get(task, ())
    # It gets the task as soon as the owner has let it go, with its store open.
    heir = draft.targets.get(task) if task in draft.revoking else None
    kept = [slot for slot in before if slot == heir or _is_silent(draft, facts, slot.host)]
    owner = draft.owners.get(task)
    taken = {owner.host} if owner is not None else set()
    chosen: list[SlotId] = []
    for slot in (*kept, *assignment.standbys.get(task, ())):
        if slot.host not in taken:
            taken.add(slot.host)
            chosen.append(slot)
    return tuple(chosen)


def _may_own(draft: Draft, facts: PlanFacts, slot: SlotId) -> bool:
    report = _current(draft, facts, slot.host)
    one = slot_report(draft, facts, slot)
    if report is None or one is None or report.state == "leaving":
        return False
    return one.wanted and one.ready and not is_drained(draft.drained, slot)


def _reason(draft: Draft, facts: PlanFacts, task: TaskId, owner: SlotId) -> str:
    report = facts.reports.get(owner.host)
    if report is not None and report.state == "leaving":
        return f"host {owner.host} leaves"
    if is_drained(draft.drained, owner):
        return f"{owner} is drained"
    return "as asked" if task in draft.pins else "balance"


def _note_arrival(draft: Draft, newest: dict[str, int], task: TaskId, slot: SlotId) -> None:
    """Complete the task's last move, or begin the list of its moves. newest: task -> the index of that move."""
    name = str(task)
    if (index := newest.get(name)) is not None:
        draft.moves[index] = msgspec.structs.replace(draft.moves[index], target=str(slot))
    else:
        newest[name] = len(draft.moves)
        draft.moves.append(Move(epoch=draft.epoch, task=name, source="", target=str(slot), reason="first owner"))
