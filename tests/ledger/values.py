"""The values of the ledger: what its topics hold, and everything that was seen of a run. No Kafka, no process, no rule.

App, generator and checks share these; what is right is decided in checks.py.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from tests.ledger.values_timed import INTERNAL_TABLES, TIMED_OUTPUTS, TIMED_TABLES
from tests.process.checker import Row

WINDOW_SECONDS = 10
PARTITIONS = 4
# Another count than the input's, so that the repartitioned half is other tasks, perhaps of other workers.
GROUPED_PARTITIONS = 6
PLAIN_TABLES = ("sums", "windows", "profiles", "recent", "orders")
TABLES = (*PLAIN_TABLES, *TIMED_TABLES)
# The first part of a task's name -> what is in its store.
TABLES_OF = {
    str(PARTITIONS): [name for name in (*TABLES, *INTERNAL_TABLES) if name != "orders"],
    str(GROUPED_PARTITIONS): ["orders"],
}
OUTPUTS = ("out1", "out2", "out3", "out4", "out5", "flood", *TIMED_OUTPUTS)
# What agent `post` writes for each event, all in one transaction, on the event's own partition.
POSTED = ("out1", "out3", "out4", "out5", "marked")
# Table `recent` has so many of an account's newest movements, in a list that is changed in place.
RECENT = 3


BAD_ORDER = "bad order"


class Movement(msgspec.Struct, frozen=True, omit_defaults=True):
    """An input. id: unique in the run; seq: counts per account from 1; at: seconds of the sender's monotonic clock.

    do: what else its processing does: `bad WHERE`, `hang WHERE SECONDS` or `hang flooded SECONDS RECORDS`. ts: the
    record's timestamp, in ms.
    """

    id: int
    seq: int
    order: int
    amount: int
    at: float
    do: str = ""
    ts: int = 0

    @property
    def is_bad(self) -> bool:
        """Agent `post` must fail on it."""
        return self.do.startswith("bad ") and self.do != BAD_ORDER

    @property
    def flood(self) -> int:
        """So many records it sends before it hangs."""
        return int(self.do.rpartition(" ")[2]) if self.do.startswith("hang flooded ") else 0

    @property
    def is_bad_order(self) -> bool:
        """Agent `take_first` must fail on it."""
        return self.do == BAD_ORDER


class Posted(msgspec.Struct, frozen=True):
    """What the outputs say of one movement; each has the fields that it needs. by: a process id."""

    id: int
    total: int = 0
    at: float = 0.0
    by: int = 0
    window: str = ""
    count: int = 0
    version: int = 0


def window_key(account: str, at: float) -> str:
    """The key of a window of 10 s: its account and the second at which it starts."""
    return f"{account}|{int(at // WINDOW_SECONDS) * WINDOW_SECONDS}"


@dataclass(slots=True)
class Log:
    """One partition as a reader of committed records sees it: lists of one length, in offset order. times: in ms."""

    offsets: list[int] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)
    times: list[int] = field(default_factory=list)

    def add(self, offset: int, key: str, value: bytes | None, time: int = 0) -> None:
        """One record more."""
        self.offsets.append(offset)
        self.keys.append(key)
        self.values.append(value)
        self.times.append(time)

    def __len__(self) -> int:
        return len(self.offsets)

    def count_before(self, offset: int) -> int:
        """How many records have a smaller offset."""
        return bisect_left(self.offsets, offset)

    def end(self) -> int:
        """The offset after the last record; 0 without one."""
        return self.offsets[-1] + 1 if self.offsets else 0

    def row_at(self, offset: int) -> tuple[str, bytes | None] | None:
        """The record at an offset; None: there is none."""
        at = self.count_before(offset)
        found = at < len(self) and self.offsets[at] == offset
        return (self.keys[at], self.values[at]) if found else None

    def rows(self) -> list[tuple[str, bytes | None]]:
        """Keys with their values."""
        return list(zip(self.keys, self.values, strict=True))


Logs = Mapping[int, Log]


@dataclass(frozen=True, slots=True)
class Cut:
    """What counted at one moment at which every process was dead and every transaction over.

    posted: input partition -> where agent `post` was, by the committed offset and its metadata; ends: (topic,
    partition) -> last stable offset. Topics are named without the prefix, changelogs `changelog:TABLE`.
    """

    name: str
    posted: Mapping[int, int]
    ends: Mapping[tuple[str, int], int]


@dataclass(frozen=True, slots=True)
class StoreCopy:
    """One shard as it lay on a host's disk after the end. next_offset None: it says nothing of its changelog."""

    host: str
    task: str
    partition: int
    table: str
    next_offset: int | None
    rows: Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter. id: of its movement; agent: short name; topic, partition, offset: where its record is."""

    at: int
    id: int
    agent: str
    topic: str
    partition: int
    offset: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class Damage:
    """Files of a task's store were damaged by a fault. at: seconds of the monotonic clock."""

    at: float
    host: str
    task: str


@dataclass(slots=True)
class Sight:
    """What a concurrent reader saw of one partition: offsets in the order of their arrival, and hashes of the rows."""

    offsets: list[int] = field(default_factory=list)
    digests: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Claim:
    """A record of the control topic. strict: its epoch must be larger than that of the record before."""

    term: int
    epoch: int
    instance: str
    strict: bool = False


@dataclass(frozen=True, slots=True)
class CommitSeen:
    """A committed offset in its topic's history. posted: where agent `post` was by its metadata."""

    offset: int
    posted: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Memory and descriptors of a process at one moment, seconds of the monotonic clock."""

    at: float
    rss_bytes: int
    descriptors: int


@dataclass(frozen=True, slots=True)
class Restored:
    """One start of a task where its store was: records replayed, and how many could be missing at most.

    at: when it ran first, or was begun, if it never ran. is_excused: the store's files had been damaged before.
    """

    host: str
    task: str
    pid: int
    restored: int
    tail_max: int
    at: float = 0.0
    ran: bool = True
    is_excused: bool = False


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that was seen. Outputs and changelogs by name without the prefix, then by partition.

    acked: (partition, offset) -> row of the input, as acknowledged. tables: as the app told them before its end, JSON
    by JSON key. faults: when each began and was undone. caught_up_seconds None: it never did. exit_codes: of the last,
    orderly end, by host.
    """

    acked: Mapping[tuple[int, int], Row]
    inputs: Logs
    names: Logs
    paid: Logs
    grouped: Logs
    outputs: Mapping[str, Logs]
    letters: Sequence[Letter]
    letters_log: Log
    changelogs: Mapping[str, Logs]
    tables: Mapping[str, Mapping[str, str]]
    stores: Sequence[StoreCopy]
    cuts: Sequence[Cut]
    sights: Mapping[tuple[str, int], Sight]
    ends: Mapping[tuple[str, int], tuple[int, int]]
    claims: Sequence[Claim]
    commits: Mapping[tuple[str, int], Sequence[CommitSeen]]
    usage: Mapping[str, Sequence[Usage]]
    faults: Sequence[tuple[float, float]]
    restores: Sequence[Restored]
    caught_up_seconds: float | None
    catch_up_seconds_max: float
    exit_codes: Mapping[str, int]


def digest(key: str, value: bytes | None) -> int:
    """A hash that is good within one process."""
    return hash((key, value))


def text_of_key(key: bytes) -> str:
    """Keys of internal tables are no texts, and stay what they are."""
    return key.decode(errors="surrogateescape")


def key_of_text(text: str) -> bytes:
    """The other way."""
    return text.encode(errors="surrogateescape")
