"""Reads everything back after a run: topics, the group's history of commits, the control topic, stores on disk.

It knows where things are and how they are encoded, and nothing of what is right.
"""

from __future__ import annotations

import struct
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from confluent_kafka import KafkaException, Message
from confluent_kafka.admin import AdminClient

from streamcluster.ahead import short_name
from streamcluster.ids import TaskId
from streamcluster.windows.keys import END_ORDER
from streamcluster_coordinator.records.snapshot import control_topic
from streamcluster_worker.state.memory import Memory
from streamcluster_worker.state.record import identity
from streamcluster_worker.state.rocks import RocksStore
from tests.ledger.folds import decode_movement
from tests.ledger.hosts import Host
from tests.ledger.values import OUTPUTS, TABLES, Claim, CommitSeen, Cut, Letter, Log, StoreCopy, text_of_key
from tests.ledger.values_timed import AGENTS_WITH_TABLES, INTERNAL_TABLES
from tests.process.records import REQUEST_SECONDS, Reader, headers_of

SCAN_SECONDS = 300.0
OFFSETS_TOPIC = "__consumer_offsets"
# A shard that is only read needs little.
_STORE_BYTES = 8 * 1024 * 1024
_ASK_SECONDS = 2.0
ERROR_CHARACTERS = 500


class _Claimed(msgspec.Struct):
    """What control records of one host and of many (those have a term) have in common, as far as it matters."""

    epoch: int
    term: int | None = None
    instance: str = ""
    leader: dict[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Names:
    """Topics of a run by their names in the ledger."""

    prefix: str
    app_id: str

    def topic(self, name: str) -> str:
        """Where the ledger's `in`, `names`, `out1` ..., `grouped`, `dead` and `changelog:TABLE` are."""
        if name == "grouped":
            return f"{self.prefix}take_first-{self.prefix}in-order-repartition"
        if name == "dead":
            return f"{self.app_id}-dead-letter"
        if name.startswith("changelog:"):
            return f"{self.app_id}-{self.table(name.removeprefix('changelog:'))}-changelog"
        return f"{self.prefix}{name.replace(' ', '-')}"

    def table(self, name: str) -> str:
        """The app's own name of a table: those of agents begin with the agents' names."""
        return f"{self.prefix}{name}" if name.startswith(AGENTS_WITH_TABLES) else name

    @property
    def written(self) -> list[str]:
        """What the app writes in transactions."""
        return ["grouped", "dead", *OUTPUTS, *(f"changelog:{table}" for table in (*TABLES, *INTERNAL_TABLES))]

    @property
    def read(self) -> list[str]:
        """What the app reads and commits offsets of."""
        return ["in", "names", "paid", "grouped"]


def logs_of(reader: Reader, topic: str) -> dict[int, Log]:
    """Every committed record of a topic, by partition."""
    logs = {number: Log() for number in range(reader.partitions(topic))}

    def take(partition: int, message: Message) -> None:
        key, offset = message.key(), message.offset()
        assert offset is not None
        text = "" if key is None else sys.intern(text_of_key(key))
        logs[partition].add(offset, text, message.value(), message.timestamp()[1])

    reader.scan(topic, take, SCAN_SECONDS)
    return logs


def letters_of(reader: Reader, names: Names) -> list[Letter]:
    """Every dead letter, by what it says of itself."""
    found: list[Letter] = []
    ours = {names.topic(name): name for name in names.read}

    def take(_: int, message: Message) -> None:
        headers, value, at = headers_of(message), message.value(), message.offset()
        assert at is not None
        topic = headers["dead-letter-topic"].decode()
        found.append(
            Letter(
                at=at,
                id=decode_movement(value).id if value is not None else -1,
                agent=headers["dead-letter-agent"].decode().removeprefix(names.prefix),
                topic=ours.get(topic, topic),
                partition=int(headers["dead-letter-partition"]),
                offset=int(headers["dead-letter-offset"]),
                error=headers["dead-letter-error"].decode()[:ERROR_CHARACTERS],
            )
        )

    reader.scan(names.topic("dead"), take, SCAN_SECONDS)
    return found


def cut_of(reader: Reader, names: Names, name: str) -> Cut:
    """What counts now; no process is there to change it, and no transaction is open."""
    committed = reader.committed(names.app_id, names.topic("in"))
    posted = {
        partition: offset + ahead_of(reader.metadata(names.app_id, names.topic("in"), partition), f"{names.prefix}post")
        for partition, offset in committed.items()
    }
    ends = {
        (topic, partition): stable
        for topic in names.written
        for (_, partition), (stable, _) in reader.ends([names.topic(topic)]).items()
    }
    return Cut(name, posted, ends)


def ahead_of(metadata: str, agent: str) -> int:
    """How far an agent was ahead of the committed offset; the worker notes it in the offset's metadata."""
    # A commit without metadata arrives at the brokers as one zero byte (librdkafka 2.16).
    text = metadata.strip("\0")
    found = msgspec.json.decode(text, type=dict[str, int]) if text else {}
    return found.get(short_name(agent), 0)


class Commits:
    """The history of the group's committed offsets, from the topic in which the brokers keep them.

    A thread reads it while the run goes on: brokers keep the last commit only.
    """

    def __init__(self, bootstrap: str, names: Names) -> None:
        self._app_id, self._agent = names.app_id, f"{names.prefix}post"
        self._ours = {names.topic(name): name for name in names.read}
        self._next: dict[int, int] = {}
        self._seen: dict[tuple[str, int], list[CommitSeen]] = {}
        self._reader = Reader(bootstrap)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="commits", daemon=True)

    def start(self) -> None:
        """Follow it from now on; the topic must be there."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
        self._thread.join()

    def all(self, reader: Reader) -> dict[tuple[str, int], list[CommitSeen]]:
        """Everything up to the last stable offset, by topic and partition."""
        self.stop()
        reader.scan(OFFSETS_TOPIC, self._take, SCAN_SECONDS, self._next)
        return self._seen

    def _follow(self) -> None:
        self._reader.follow(OFFSETS_TOPIC, self._take, self._ended)

    def _take(self, partition: int, message: Message) -> None:
        key, value, at = message.key(), message.value(), message.offset()
        assert at is not None
        self._next[partition] = at + 1
        place = decode_offset_key(key) if key is not None else None
        if place is None or value is None or place[0] != self._app_id or place[1] not in self._ours:
            return
        offset, metadata = decode_offset_value(value)
        commit = CommitSeen(offset, offset + ahead_of(metadata, self._agent))
        self._seen.setdefault((self._ours[place[1]], place[2]), []).append(commit)


def decode_offset_key(key: bytes) -> tuple[str, str, int] | None:
    """Group, topic and partition of a key of the offsets topic (OffsetCommitKey, versions 0 and 1); None: another's."""
    (version,) = struct.unpack_from(">h", key)
    if version > 1:
        return None
    group, at = _text(key, 2)
    topic, at = _text(key, at)
    (partition,) = struct.unpack_from(">i", key, at)
    return group, topic, partition


def decode_offset_value(value: bytes) -> tuple[int, str]:
    """Offset and metadata (OffsetCommitValue, versions 0 to 4)."""
    version, offset = struct.unpack_from(">hq", value)
    # From version 3 on the leader's epoch is between the two; version 4 is flexible, and its texts are compact.
    at = 14 if version >= 3 else 10
    return offset, _compact_text(value, at) if version >= 4 else _text(value, at)[0]


def _text(data: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from(">h", data, at)
    return data[at + 2 : at + 2 + length].decode(), at + 2 + length


def _compact_text(data: bytes, at: int) -> str:
    """A text behind its length plus one, as an unsigned varint."""
    length = shift = 0
    while True:
        part = data[at]
        length |= (part & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if part < 0x80:
            return data[at : at + length - 1].decode()


def claims_of(reader: Reader, names: Names) -> list[Claim]:
    """Who led, by the control topic; compaction leaves the segment that is written to alone."""
    found: list[Claim] = []

    def take(_: int, message: Message) -> None:
        value = message.value()
        if value is not None:
            found.append(claim_of(value))

    reader.scan(control_topic(names.app_id), take, SCAN_SECONDS)
    return found


def claim_of(value: bytes) -> Claim:
    """A record of the control topic. One host writes one of the same epoch again when its number of slots changes."""
    record = msgspec.json.decode(value, type=_Claimed)
    leader = record.instance if record.leader is None else str(record.leader["instance"])
    term = record.epoch if record.term is None else record.term
    return Claim(term, record.epoch, leader, strict=record.term is not None)


def stores_of(hosts: Sequence[Host], names: Names, cluster_id: str, tables_of: dict[str, list[str]]) -> list[StoreCopy]:
    """Every shard on the hosts' disks. tables_of: the first part of a task's name -> its tables."""
    found: list[StoreCopy] = []
    memory = Memory(_STORE_BYTES, _STORE_BYTES)
    for host in hosts:
        for path in sorted((host.run.state_dir / names.app_id / "tasks").glob("*_*")):
            group, _, partition = path.name.partition("_")
            if not partition.isdigit():
                # Set aside because it was corrupt.
                continue
            owner = identity(names.app_id, cluster_id, TaskId(int(group), int(partition)))
            own = {names.table(table): table for table in tables_of[group]}
            store = RocksStore.open(path, [*own], memory, owner, indexes={names.table("spans"): (END_ORDER,)})
            try:
                found += [
                    StoreCopy(host.name, path.name, int(partition), table, store.changelog_next_offset(name), rows)
                    for name, table in own.items()
                    for rows in [dict(store.shard(name).scan(rows_max=sys.maxsize))]
                ]
            finally:
                store.close()
    return found


def brokers_of(bootstrap: str) -> list[int]:
    """The brokers that name themselves to a new client; none while nobody answers."""
    try:
        return sorted(AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=_ASK_SECONDS).brokers)
    except KafkaException:
        return []


def cluster_id_of(bootstrap: str) -> str:
    """The id of the Kafka cluster, which stores carry."""
    return str(AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=REQUEST_SECONDS).cluster_id)
