"""What a snapshot of the control log means to one host: what its slots get, and whether it has a place there at all."""

from __future__ import annotations

from streamcluster.ids import Slot, SlotId, TaskId

from ..records.snapshot import HostEntry, Snapshot
from .election import Identity
from .events import Assigned
from .view import View


def assigned(view: View, identity: Identity, snapshot: Snapshot, *, was_registered: bool) -> Assigned:
    """The part of a snapshot that is about the slots of this host.

    was_registered: the log had us before, so our workers are there; one that has us no more gives them nothing.
    """
    mine = identity.host
    entry = snapshot.hosts.get(mine)
    is_registered = entry is not None and entry.instance == identity.instance
    roll = snapshot.roll
    turn = roll.number if roll is not None and roll.waiting and roll.waiting[0] == mine else 0
    others = _has_others(view, identity, snapshot)
    if not is_registered:
        return Assigned(snapshot.epoch, {}, registered=was_registered, others=others)
    known = {str(task) for task in identity.tasks}
    owned = {task: slot for task, slot in snapshot.owners.items() if task in known and task not in snapshot.revoking}
    followed = {
        task: slot
        for task, slots in snapshot.standbys.items()
        for slot in slots
        if _is_ours(slot, mine) and task in known
    }
    leads = SlotId.parse(snapshot.lead) if snapshot.lead is not None else None
    return Assigned(
        epoch=snapshot.epoch,
        tasks={TaskId.parse(task): _number(slot) for task, slot in owned.items() if _is_ours(slot, mine)},
        standbys={TaskId.parse(task): _number(slot) for task, slot in followed.items()},
        lead=Slot(leads.number) if leads is not None and leads.host == mine else None,
        registered=True,
        others=others,
        roll=turn,
    )


def _is_ours(slot: str, host: str) -> bool:
    return SlotId.parse(slot).host == host


def _number(slot: str) -> Slot:
    return Slot(SlotId.parse(slot).number)


def _has_others(view: View, identity: Identity, snapshot: Snapshot) -> bool:
    """Whether another host could take our tasks."""
    fresh = {report.host: report for report in view.fresh()}
    return any(
        name != identity.host
        and name in fresh
        and fresh[name].instance == entry.instance
        and fresh[name].state in ("joining", "member")
        for name, entry in snapshot.hosts.items()
    )


def is_led(view: View, snapshot: Snapshot) -> bool:
    """Whether the leader of a snapshot has been heard: what it leads is the cluster."""
    leader = snapshot.leader
    heard = view.heard.get(leader.host) if leader is not None else None
    return heard is not None and leader is not None and heard.report.instance == leader.instance


def superseded_text(app_id: str, host: str, entry: HostEntry) -> str:
    """Why the coordinator of `host` ends: another one has its name. entry: that of the other one."""
    other = f" (pid {entry.pid} on {entry.machine})" if entry.machine else ""
    return (
        f"another coordinator of {app_id} took over the name {host!r}{other}. This one "
        "ends; to run both, give each its own --host"
    )


def refused_text(view: View, identity: Identity, snapshot: Snapshot) -> str:
    """Why this coordinator may not take part: it would do other work than the cluster."""
    leader = snapshot.leader.host if snapshot.leader is not None else "nobody"
    lines = "; ".join(identity.shape.difference(snapshot.shape))
    return (
        f"the hosts that run {view.settings.app_id} now (leader {leader}) have other tasks or tables: {lines}. "
        "Stop all hosts before you start a version with other tasks, or give it another id"
    )
