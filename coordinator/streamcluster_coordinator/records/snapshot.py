"""What the control topic holds: one self-contained snapshot per epoch, of who leads and who owns which task.

JSON, so that any Kafka tool shows it, with the tasks packed (records/packing.py); no deltas, so that compaction may cut
the log anywhere (H8). What decodes can be used: ids are ids, numbers and names are bounded, and what is asked back has
an owner. It knows no client.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from streamcluster.errors import StateIncompatible
from streamcluster.ids import Count, HostName, SlotId, SlotName, SlotNumber, TaskName
from streamcluster.outside import Unreadable, parse
from streamcluster.topology import Topology

from .packing import Packed, pack, unpack

FORMAT_VERSION = 3
SNAPSHOT_KEY = b"snapshot"
# What brokers take by default is 1 MB. 10,000 tasks with standbys have 110 kB; more than this is refused with a reason.
SNAPSHOT_BYTES_MAX = 900_000
MOVES_KEPT = 16
ANSWERS_KEPT = 16
# They are sentences that name hosts, all of them at times; each is in every snapshot for a while.
ANSWER_CHARS_MAX = 2_000
# Coordinators of a host that were replaced by a newer one of the same name, and are not listened to any more.
SUPERSEDED_KEPT = 8
# Slots of all hosts: more are made up. Their numbers have 120 kB in a snapshot.
PLACES_MAX = 20_000
# What machines, racks and addresses are called: a name in DNS has at most 253 characters.
NAME_CHARS_MAX = 300
Name = Annotated[str, Meta(max_length=NAME_CHARS_MAX)]
# Names of coordinators that they give themselves.
Instance = Annotated[str, Meta(max_length=64)]
ProcessId = Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]


class Leader(msgspec.Struct, frozen=True, kw_only=True):
    """Who leads: a host's name, the coordinator process on it, and where that runs."""

    host: HostName
    instance: Instance
    pid: ProcessId = 0
    machine: Name = ""


class HostEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A host that may own tasks. slots: numbers of its slots; superseded: earlier coordinators of that name.

    pid, machine: where its coordinator runs, for people; 0 and "" when the record's writer did not say.
    """

    instance: Instance
    slots: tuple[SlotNumber, ...]
    pid: ProcessId = 0
    machine: Name = ""
    rack: Name | None = None
    superseded: tuple[Instance, ...] = ()

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

    epoch: Count
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

    def has_grown_from(self, other: Shape) -> bool:
        """Whether it is `other` with more partitions of what is read, and the same tables."""
        same = self.tables == other.tables and self.sources.keys() >= other.sources.keys()
        return self != other and same and all(self.sources[name] >= count for name, count in other.sources.items())


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

    number: Count
    waiting: tuple[HostName, ...]


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One epoch. epoch: grows by one with each record; term: by one with each new leader.

    owners: task -> slot. revoking: task -> epoch at which it was asked back; it is still its owner's.
    standbys: task -> slots. successor: who is to lead next, when leader is None.
    lead: the slot that runs what is marked on_leader. drained: hosts and slots that get no task. pins: by hand.
    answers: request id -> what became of it, newest last.
    begun: topic -> partitions that it had when the app began to read it; later ones were added, and are read from their
    beginning. read: topic -> partitions in which the app has had a position. left: topics of earlier versions of the
    app that an operator wants left alone.
    """

    epoch: Count
    term: Count
    leader: Leader | None
    cluster_id: str
    topic_id: str
    shape: Shape
    hosts: dict[HostName, HostEntry] = {}
    owners: dict[str, str] = {}
    revoking: dict[TaskName, Count] = {}
    standbys: dict[str, tuple[str, ...]] = {}
    lead: SlotName | None = None
    successor: HostName | None = None
    drained: tuple[str, ...] = ()
    pins: dict[TaskName, SlotName] = {}
    moves: tuple[Move, ...] = ()
    answers: dict[str, str] = {}
    roll: Roll | None = None
    begun: dict[str, Count] = {}
    read: dict[str, Count] = {}
    left: tuple[str, ...] = ()
    format_version: int = FORMAT_VERSION


def begun_of(last: Snapshot | None, shape: Shape) -> dict[str, int]:
    """How many partitions each topic of `shape` had when the app began to read it, by the newest snapshot."""
    before = {**last.shape.sources, **last.begun} if last is not None else {}
    return {topic: min(count, before.get(topic, count)) for topic, count in shape.sources.items()}


class _Version(msgspec.Struct):
    format_version: Count = 0


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


_version_decoder = msgspec.json.Decoder(_Version)
_packed_decoder = msgspec.json.Decoder(Packed)
_snapshot_decoder = msgspec.json.Decoder(Snapshot)


def decode_snapshot(value: bytes) -> Snapshot:
    """Read a record. Raises Unreadable: no coordinator of this version wrote it; the text says what it is."""
    return parse(_decode, value, SNAPSHOT_BYTES_MAX)


def _decode(value: bytes) -> Snapshot:
    version = _version_decoder.decode(value).format_version
    if version != FORMAT_VERSION:
        raise Unreadable(
            f"another version of streamcluster wrote it (format {version:.0f}, this one knows {FORMAT_VERSION}): run "
            "that version, or upgrade this one"
        )
    owners, standbys = unpack(_packed_decoder.decode(value))
    plain = _snapshot_decoder.decode(value)
    if lost := sorted(plain.revoking.keys() - owners.keys()):
        raise Unreadable(f"task {lost[0]} is asked back, and nobody has it")
    return msgspec.structs.replace(plain, owners=owners, standbys=standbys)


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
