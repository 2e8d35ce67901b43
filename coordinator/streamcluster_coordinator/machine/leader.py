"""What the leader does with its facts: one snapshot after the other, and fences of slots whose tasks are asked back.

One write is under way at a time, so every plan starts from what is committed. All of it is lost with the leader: the
next one starts from the log and the hosts' reports.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from streamcluster.ids import SlotId, TaskId

from ..records.report import HostReport, HostRows, SlotReport
from ..records.snapshot import Snapshot
from .events import Effect, FenceSlot, Say, Write
from .pace import Pace
from .plan import Draft, PlanFacts, draft_of, finished, is_broken, is_drained, plan, slot_report
from .requests import take_requests
from .slots import fence_seconds
from .view import View


@dataclass(slots=True)
class Leadership:
    """One term of ours. snapshot: the newest that is committed."""

    snapshot: Snapshot
    tasks: tuple[TaskId, ...]
    stateless: frozenset[TaskId]
    is_writing: bool = False
    # Somebody else has written to the control log: compaction keeps the newest record alone, so that is to be ours.
    is_covered: bool = False
    # What the write under way says, and what it will have decided beside the snapshot.
    draft: Draft | None = None
    pending: Snapshot | None = None
    # Fences under way and done: slot -> epoch of the revocations that they are for.
    fencing: dict[SlotId, int] = field(default_factory=dict)
    fenced: dict[SlotId, int] = field(default_factory=dict)
    # Those done that are planned for at once.
    settled: tuple[tuple[SlotId, int], ...] = ()
    # Tasks that are asked back, since which epoch, and when we saw it first, on a clock that runs while we do.
    asked: dict[tuple[str, int], float] = field(default_factory=dict)
    # Where tasks that are asked back are to go.
    targets: dict[TaskId, SlotId] = field(default_factory=dict)
    # Hosts that leave, and since when; hosts taken for dead, whose next report is a surprise.
    leaving: dict[str, float] = field(default_factory=dict)
    # host -> instance.
    said_dead: dict[str, str] = field(default_factory=dict)
    pace: Pace = field(init=False)

    def cover(self) -> None:
        """Somebody else has written to the control log."""
        self.is_covered = True

    def __post_init__(self) -> None:
        self.pace = Pace(len(self.tasks))


def lead(view: View, term: Leadership) -> list[Effect]:
    """Do what is due: the next snapshot if there is a change, and the fences that the last one calls for."""
    if view.is_cut_off():
        # Who hears nobody knows nothing of them: everything stays as it is (H11).
        term.asked.clear()
        return []
    if term.is_writing:
        return []
    dead = frozenset(view.dead(sorted(term.snapshot.hosts)))
    said = _say_deaths(view, term, dead)
    reports = _reports(view, term)
    out_of_time = frozenset(_out_of_time(view, term, reports))
    asked = tuple(request.id for report in reports.values() for request in report.requests)
    late = _late(view, term)
    fenced = tuple(sorted(term.fenced.items()))
    if not (term.fencing and term.pace.is_slow()):
        # Those of all slots of a host end within a moment, and one plan will do.
        term.settled = fenced
    urgent = (term.snapshot.epoch, dead, out_of_time, late, term.settled, asked, term.is_covered)
    outlook = term.pace.outlook(view, urgent, reports, fenced, is_moving=bool(term.snapshot.revoking))
    if not term.pace.is_due(outlook, view.now):
        return said
    facts = PlanFacts(
        tasks=term.tasks,
        stateless=term.stateless,
        reports=reports,
        rows={host: rows for host in reports if (rows := view.heard[host].rows()) is not None},
        dead=dead,
        fenced=term.fenced,
        targets=term.targets,
        out_of_time=out_of_time,
        replicas=view.settings.standby_replicas,
        lag_max=view.settings.standby_lag_max,
        warmups_max=view.settings.standby_warmups_max,
    )
    draft = draft_of(term.snapshot, facts)
    base, requested = take_requests(draft, facts, term.snapshot)
    plan(draft, facts)
    base = _with_read(_with_lead(base, draft, facts), facts.rows.values())
    following = finished(draft, base)
    if following != term.snapshot or term.is_covered:
        term.is_writing, term.draft, term.is_covered = True, draft, False
        term.pending = replace(following, epoch=draft.epoch)
        return [*said, *requested, Write(term.pending)]
    return [*said, *_fences(term, draft, facts, late)]


def written(view: View, term: Leadership, epoch: int) -> list[Effect]:
    """Our write is committed: go on from there."""
    if term.pending is None or term.pending.epoch != epoch or term.draft is None:
        return []
    term.snapshot, term.targets = term.pending, term.draft.targets
    term.is_writing, term.draft, term.pending = False, None, None
    return lead(view, term)


def slot_fenced(view: View, term: Leadership, slot: SlotId, epoch: int) -> list[Effect]:
    """A fence is in force."""
    term.fencing.pop(slot, None)
    term.fenced[slot] = max(epoch, term.fenced.get(slot, 0))
    return lead(view, term)


def _reports(view: View, term: Leadership) -> dict[str, HostReport]:
    """Those that count, host by host.

    Not of hosts that want other tasks than the cluster's; nor of hosts whose rows are not known yet, because a standby
    would seem to be none: they count as silent, and tell their rows in each new term.
    """
    snapshot = term.snapshot
    left = [heard.report for heard in view.heard.values() if heard.report.state == "left"]
    fresh = [report for report in view.fresh() if view.heard[report.host].rows() is not None]
    return {
        **{one.host: one for one in left if one.host in snapshot.hosts and _is_current(one, snapshot)},
        **{one.host: one for one in fresh if _is_one_of_us(one, snapshot)},
    }


def _is_one_of_us(report: HostReport, snapshot: Snapshot) -> bool:
    return _is_current(report, snapshot) or report.shape == snapshot.shape


def _is_current(report: HostReport, snapshot: Snapshot) -> bool:
    entry = snapshot.hosts.get(report.host)
    return entry is not None and entry.instance == report.instance


def _out_of_time(view: View, term: Leadership, reports: dict[str, HostReport]) -> list[str]:
    """Hosts that leave and have used up the time in which their successors could be warmed up."""
    leaving = {name for name, report in reports.items() if report.state == "leaving"}
    term.leaving = {name: term.leaving.get(name, view.now) for name in leaving}
    # A host hands over in half of its drain time-out (machine/ends.py); the moves themselves take some of it.
    return [name for name, since in term.leaving.items() if view.now - since > view.settings.drain_timeout / 4]


def _late(view: View, term: Leadership) -> frozenset[SlotId]:
    """Slots that have not given a task back in time, although their hosts live: no kill was of use, or none tried."""
    now = view.now - view.absence
    term.asked = {one: term.asked.get(one, now) for one in term.snapshot.revoking.items()}
    patience = fence_seconds(view.settings)
    late = [task for (task, _), since in term.asked.items() if now - since >= patience]
    return frozenset(SlotId.parse(term.snapshot.owners[task]) for task in late)


def _say_deaths(view: View, term: Leadership, dead: frozenset[str]) -> list[Effect]:
    """Say who is taken for dead, once, and who was so by mistake."""
    effects: list[Effect] = []
    for host in sorted(dead - term.said_dead.keys()):
        term.said_dead[host] = term.snapshot.hosts[host].instance
        seconds = view.silence(host)
        effects.append(Say("warning", f"host {host} is silent for {seconds:.1f} s: its tasks go to others"))
    for host in sorted(term.said_dead.keys() & view.heard.keys() - dead):
        if view.silence(host) >= view.settings.host_timeout:
            continue
        # A new coordinator of the name is no mistake: the one before did die.
        if term.said_dead.pop(host) == view.heard[host].report.instance:
            view.strike(host)
            effects.append(Say("info", f"host {host} is heard again"))
    term.said_dead = {host: one for host, one in term.said_dead.items() if host in dead or host in view.heard}
    return effects


def _with_lead(snapshot: Snapshot, draft: Draft, facts: PlanFacts) -> Snapshot:
    """Keep the on_leader work where it is while that place lives; else give it to a place that takes grants."""
    current = SlotId.parse(snapshot.lead) if snapshot.lead is not None else None
    if current is not None and _can_lead(draft, facts, current, must_be_ready=False):
        return snapshot
    slots = [SlotId(name, number) for name, entry in sorted(draft.hosts.items()) for number in entry.slots]
    for must_be_ready in (True, False):
        for slot in slots:
            if _can_lead(draft, facts, slot, must_be_ready=must_be_ready):
                return replace(snapshot, lead=str(slot))
    return snapshot


def _with_read(snapshot: Snapshot, rows: Iterable[HostRows]) -> Snapshot:
    """Note the topics of which every partition has a position: one that has none later has lost it."""
    sources = snapshot.shape.sources
    if all(snapshot.read.get(topic, 0) >= count for topic, count in sources.items()):
        return snapshot
    seen: dict[str, set[int]] = {}
    for row in (row for host in rows for row in host.tasks):
        for topic in row.figures.positions:
            seen.setdefault(topic, set()).add(TaskId.parse(row.task).partition)
    whole = {topic: count for topic, count in sources.items() if len(seen.get(topic, ())) >= count}
    return replace(snapshot, read={**snapshot.read, **whole}) if whole else snapshot


def _can_lead(draft: Draft, facts: PlanFacts, slot: SlotId, *, must_be_ready: bool) -> bool:
    if slot.host in facts.dead or slot.host not in draft.hosts:
        return False
    report, one = facts.reports.get(slot.host), slot_report(draft, facts, slot)
    if report is None:
        # Silent, but not yet for long.
        return not must_be_ready and slot.number in draft.hosts[slot.host].slots
    if one is None or report.state in ("leaving", "left") or is_drained(draft.drained, slot) or is_broken(one):
        return False
    return one.wanted and (one.ready or not must_be_ready)


def _begins(slot: SlotReport) -> bool:
    """Its first worker is about to begin, and fences who had the slot before; a fence of ours might be one of it."""
    return slot.wanted and not slot.fenced


def _fences(term: Leadership, draft: Draft, facts: PlanFacts, late: frozenset[SlotId]) -> Sequence[Effect]:
    """Fence the slots whose tasks are asked back and who will not give them back themselves."""
    needed: dict[SlotId, int] = {}
    for task, epoch in draft.revoking.items():
        owner = draft.owners[task]
        one, report = slot_report(draft, facts, owner), facts.reports.get(owner.host)
        is_lost = owner.host in facts.dead or owner.host not in draft.hosts
        has_left = report is not None and (report.state == "left" or one is None or (one.gone and not _begins(one)))
        if is_lost or has_left or owner in late:
            needed[owner] = max(epoch, needed.get(owner, 0))
    effects: list[Effect] = []
    for slot, epoch in sorted(needed.items()):
        if max(term.fencing.get(slot, 0), term.fenced.get(slot, 0)) < epoch:
            term.fencing[slot] = epoch
            if slot in late:
                tasks = ", ".join(str(task) for task in sorted(draft.revoking) if draft.owners[task] == slot)
                effects.append(
                    Say("warning", f"{slot} does not give back {tasks}: it is fenced, and they go elsewhere")
                )
            effects.append(FenceSlot(slot, epoch))
    return effects
