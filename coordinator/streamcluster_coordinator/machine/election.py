"""Who is to lead: when a host claims the leadership, and what it writes first.

Kafka's fence on the control log's transactional id makes any claim safe: the one who claimed last leads, whatever
others believe. So an election is only about not leading too seldom or too often, and needs no group: all hosts hear
the same reports, and the first by name that hears no leader claims first.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from streamcluster.ids import TaskId

from ..records.snapshot import HostEntry, Leader, Shape, Snapshot, begun_of, check_origin
from .view import View

# So long the next in line waits for the one before it.
RANK_SECONDS = 0.25
# After a claim that was lost, the winner gets this long to be heard.
LOST_SECONDS = 1.0


class Identity(msgspec.Struct, frozen=True):
    """Who this coordinator is, and where it works. tasks: all of the app; stateless: those without tables.

    left: topics of earlier versions of the app that the operator wants left alone.
    """

    host: str
    instance: str
    pid: int
    machine: str
    cluster_id: str
    topic_id: str
    control_topic: str
    shape: Shape
    tasks: tuple[TaskId, ...]
    stateless: frozenset[TaskId]
    rack: str | None = None
    peer: str | None = None
    left: tuple[str, ...] = ()


def should_claim(view: View, identity: Identity) -> bool:
    """Whether to claim now. Asked with every tick and every piece of news, while we do not lead."""
    snapshot = view.snapshot
    if snapshot is None:
        # The log was read to its end before the first question: nobody has ever led.
        return True
    leader = snapshot.leader
    if snapshot.shape != identity.shape and _may_run(view, identity, snapshot):
        return False
    if leader is not None and leader.host == identity.host:
        # It was this host: either we have taken its place, or we lead by the log, and a claim that came to nothing has
        # fenced us.
        return True
    if leader is None:
        waited = view.now - view.leader_at
        return snapshot.successor == identity.host or waited >= RANK_SECONDS * (1 + _rank(view, identity))
    if view.is_cut_off():
        return False
    silence = view.now - max(view.leader_at, view.started_at)
    return silence > view.settings.host_timeout + RANK_SECONDS * _rank(view, identity)


def _may_run(view: View, identity: Identity, snapshot: Snapshot) -> bool:
    """Whether hosts of the log's version are there, or might be: they are not heard before they report (H18)."""
    is_new = view.now - view.started_at <= view.settings.host_timeout
    # Those that join tell their shape: of our version each waits for the other otherwise.
    ours = {report.host for report in view.fresh() if report.shape == identity.shape}
    return bool(set(_others(view, identity)) - ours) or (is_new and bool(snapshot.hosts.keys() - {identity.host}))


def _others(view: View, identity: Identity) -> list[str]:
    return [report.host for report in view.fresh() if report.host != identity.host]


def _rank(view: View, identity: Identity) -> int:
    """How many hosts come before us, the silent leader not counted."""
    leader = view.snapshot.leader if view.snapshot is not None else None
    others = set(_others(view, identity)) - ({leader.host} if leader is not None else set())
    return sum(host < identity.host for host in others)


def first_snapshot(last: Snapshot | None, identity: Identity, slots: tuple[int, ...]) -> Snapshot:
    """What a new leader writes: itself, with everything else as it was.

    Raises:
        StateIncompatible: the log is another cluster's, or the topic was made anew (H17).
    """
    check_origin(last, identity.cluster_id, identity.topic_id, topic=identity.control_topic)
    leader = Leader(host=identity.host, instance=identity.instance, pid=identity.pid, machine=identity.machine)
    if last is None:
        last = Snapshot(
            epoch=0,
            term=0,
            leader=None,
            cluster_id=identity.cluster_id,
            topic_id=identity.topic_id,
            shape=identity.shape,
        )
    known = {str(task) for task in identity.tasks}
    entry = HostEntry(
        instance=identity.instance, slots=slots, pid=identity.pid, machine=identity.machine, rack=identity.rack
    ).in_place_of(last.hosts.get(identity.host))
    return replace(
        last,
        epoch=last.epoch + 1,
        term=last.term + 1,
        leader=leader,
        successor=None,
        shape=identity.shape,
        begun=begun_of(last, identity.shape),
        read={topic: count for topic, count in last.read.items() if topic in identity.shape.sources},
        left=_left(last, identity),
        hosts={**last.hosts, identity.host: entry},
        owners={task: slot for task, slot in last.owners.items() if task in known},
        revoking={task: at for task, at in last.revoking.items() if task in known},
        standbys={task: at for task, at in last.standbys.items() if task in known},
    )


def _left(last: Snapshot, identity: Identity) -> tuple[str, ...]:
    """What is declared again is not left alone any more."""
    changelogs = {changelog for changelog, _ in identity.shape.tables.values()}
    return tuple(sorted({*last.left, *identity.left} - identity.shape.sources.keys() - changelogs))


def abdication(snapshot: Snapshot, successor: str | None) -> Snapshot:
    """The last record of a leader that leaves. successor: who is to claim at once; None: nobody is there."""
    return replace(snapshot, epoch=snapshot.epoch + 1, leader=None, successor=successor)
