"""What the control topic holds: one self-contained snapshot per epoch, of who leads and who owns which task.

JSON, so that any Kafka tool shows it, with the tasks packed (control_packing.py); no deltas, so that compaction may cut
the log anywhere (H8). It knows no client.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from streamcluster.errors import StateIncompatible
from streamcluster.ids import SlotId
from streamcluster.topology import Topology

from .control_packing import Packed, pack, unpack

FORMAT_VERSION = 3
SNAPSHOT_KEY = b"snapshot"
# What brokers take by default is 1 MB. 10,000 tasks with standbys have 110 kB; more than this is refused with a reason.
SNAPSHOT_BYTES_MAX = 900_000
MOVES_KEPT = 16
ANSWERS_KEPT = 16
# Coordinators of a host that were replaced by a newer one of the same name, and are not listened to any more.
SUPERSEDED_KEPT = 8


class Leader(msgspec.Struct, frozen=True, kw_only=True):
    """Who leads: a host's name, the coordinator process on it, and where that runs."""

    host: str
    instance: str
    pid: int = 0
    machine: str = ""


class HostEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A host that may own tasks. slots: numbers of its slots; superseded: earlier coordinators of that name.

    pid, machine: where its coordinator runs, for people; 0 and "" when the record's writer did not say.
    """

    instance: str
    slots: tuple[int, ...]
    pid: int = 0
    machine: str = ""
    rack: str | None = None
    superseded: tuple[str, ...] = ()

    def in_place_of(self, before: HostEntry | None) -> HostEntry:
        """This entry where its name had `before`: another coordinator there is superseded by this one."""
        if before is None:
            return self
        superseded = before.superseded
        if before.instance != self.instance:
            superseded = (*superseded, before.instance)[-SUPERSEDED_KEPT:]
        return msgspec.structs.replace(self, superseded=superseded)


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """A task that changed hands, for people. source, target: slots as text, "" for none."""

    epoch: int
    task: str
    source: str
    target: str
    reason: str


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What all hosts must agree on: partitions of what is read, and where each table's shards and changelog are."""

    sources: dict[str, int] = {}
    tables: dict[str, tuple[str, int]] = {}

    def difference(self, other: Shape) -> list[str]:
        """What `other` has that this one does not, and the reverse, a line each; empty: the same."""
        return [
            *_differences("topic", self.sources, other.sources),
            *_differences("table", self.tables, other.tables),
        ]


def _differences(kind: str, ours: Mapping[str, object], theirs: Mapping[str, object]) -> Iterable[str]:
    for name in sorted({**ours, **theirs}):
        if ours.get(name) != theirs.get(name):
            yield f"{kind} {name}: {ours.get(name, 'absent')} here, {theirs.get(name, 'absent')} there"


def shape_of(topology: Topology) -> Shape:
    """The part of a topology that decides tasks and state. Agents may differ: that is what a rolling upgrade is for."""
    return Shape(
        sources={t.name: t.partitions for t in topology.topics if t.role in ("source", "repartition")},
        tables={table.name: (table.changelog, table.group) for table in topology.tables},
    )


class Roll(msgspec.Struct, frozen=True, kw_only=True):
    """A rolling restart of all hosts' workers: the hosts still to come, the one whose turn it is first in line."""

    number: int
    waiting: tuple[str, ...]


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One epoch. epoch: grows by one with each record; term: by one with each new leader.

    owners: task -> slot. revoking: task -> epoch at which it was asked back; it is still its owner's.
    standbys: task -> slots. successor: who is to lead next, when leader is None.
    lead: the slot that runs what is marked on_leader. drained: hosts and slots that get no task. pins: by hand.
    answers: request id -> what became of it, newest last.
    """

    epoch: int
    term: int
    leader: Leader | None
    cluster_id: str
    topic_id: str
    shape: Shape
    hosts: dict[str, HostEntry] = {}
    owners: dict[str, str] = {}
    revoking: dict[str, int] = {}
    standbys: dict[str, tuple[str, ...]] = {}
    lead: str | None = None
    successor: str | None = None
    drained: tuple[str, ...] = ()
    pins: dict[str, str] = {}
    moves: tuple[Move, ...] = ()
    answers: dict[str, str] = {}
    roll: Roll | None = None
    format_version: int = FORMAT_VERSION


class _Version(msgspec.Struct):
    format_version: int = 0


def control_topic(app_id: str) -> str:
    """The topic's name."""
    return f"{app_id}-ctl"


def status_topic(app_id: str) -> str:
    """The topic that all hosts write their reports to."""
    return f"{app_id}-status"


def slot_transactional_id(app_id: str, slot: SlotId) -> str:
    """The transactional id of a slot: who owns it is the only one that can commit for the slot."""
    return f"{slot_prefix(app_id)}{slot.host}-{slot.number}"


def slot_prefix(app_id: str) -> str:
    """How the transactional ids of an app's slots begin."""
    return f"{app_id}-slot-"


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """The record's value. Raises StateIncompatible when it is larger than a broker takes by default (H8)."""
    plain = msgspec.structs.replace(snapshot, owners={}, standbys={})
    packed = pack(snapshot.owners, snapshot.standbys)
    fields = {name: getattr(one, name) for one in (plain, packed) for name in one.__struct_fields__}
    value = msgspec.json.encode(fields)
    if len(value) > SNAPSHOT_BYTES_MAX:
        raise StateIncompatible(
            f"the assignment of {len(snapshot.owners)} tasks has {len(value)} bytes, more than the "
            f"{SNAPSHOT_BYTES_MAX} that a record may have: use fewer partitions, or fewer agents in one app."
        )
    return value


def decode_snapshot(value: bytes, *, topic: str) -> Snapshot:
    """Read a record. Raises StateIncompatible when another version of streamcluster wrote it (the operator)."""
    try:
        version = msgspec.json.decode(value, type=_Version).format_version
        if version == FORMAT_VERSION:
            owners, standbys = unpack(msgspec.json.decode(value, type=Packed))
            plain = msgspec.json.decode(value, type=Snapshot)
            return msgspec.structs.replace(plain, owners=owners, standbys=standbys)
    except (msgspec.MsgspecError, IndexError) as error:
        raise StateIncompatible(
            f"topic {topic!r} holds what no coordinator writes ({error}). Is it another app's topic? Choose another id."
        ) from error
    raise StateIncompatible(
        f"topic {topic!r} was written by another version of streamcluster (format {version}, this one knows "
        f"{FORMAT_VERSION}). Run that version, or upgrade this one."
    )


def check_origin(last: Snapshot | None, cluster_id: str, topic_id: str, *, topic: str) -> None:
    """Raise StateIncompatible when the control topic was copied from another cluster or made anew (H17)."""
    if last is None:
        return
    if last.cluster_id != cluster_id:
        raise StateIncompatible(
            f"topic {topic!r} is about Kafka cluster {last.cluster_id}, but this is {cluster_id}: it was copied from "
            "there. Delete it here, and make sure that the app does not run on both."
        )
    if last.topic_id != topic_id:
        raise StateIncompatible(
            f"topic {topic!r} was made anew (its id was {last.topic_id} and is {topic_id}), with records of the old "
            "one in it. Stop every coordinator, delete the topic, and start again."
        )
