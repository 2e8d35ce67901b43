"""Changelogs: where the replay of one starts, how far it is, and its records as rows.

It decides what a store and a log make of each other (`course_of`); it opens no client and knows no thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from streamcluster import dates
from streamcluster.batch import Batch
from streamcluster.batch_end import BatchEnd
from streamcluster.ids import TP, TaskId
from streamcluster.kafka.opening import Consumer, KafkaError, TopicPartition, find_leaders
from streamcluster.stores import TaskStore

_log = logging.getLogger("streamcluster.restore")
# Nearer than this to the end, what comes is no restore: the store is tuned for reads.
NEAR_RECORDS = 10_000
# A store that cannot get on is put off for twice as long each time.
PAUSE_SECONDS = (0.1, 10.0)


@dataclass(frozen=True, slots=True)
class Course:
    """Where the replay of one log starts and ends; forget: a reason to empty the shard first, or None."""

    first_offset: int
    end_offset: int
    forget: str | None = None


def course_of(stored_next_offset: int | None, begin_offset: int, end_offset: int) -> Course:
    """Decide the replay of one log.

    Args:
        stored_next_offset: what the store says; None: it has nothing.
        begin_offset: the first offset the log still has.
        end_offset: its end, READ_UNCOMMITTED, asked after the fence.
    """
    if stored_next_offset is None:
        return Course(begin_offset, end_offset)
    if stored_next_offset < begin_offset:
        reason = f"the changelog begins at {begin_offset}, after {stored_next_offset}, where the store is"
        return Course(begin_offset, end_offset, reason)
    if stored_next_offset > end_offset:
        reason = (
            f"the changelog ends at {end_offset}, before {stored_next_offset}, where the store is: a new topic, or a "
            "position that was set back?"
        )
        return Course(begin_offset, end_offset, reason)
    return Course(stored_next_offset, end_offset)


@dataclass(slots=True)
class Log:
    """One changelog partition being read into a shard."""

    table: str
    tp: TP
    # Where this replay started, where it is (next offset to read), and where it ends.
    first_offset: int = 0
    next_offset: int = 0
    end_offset: int = 0
    # The consumer that reads this partition does so for this replay, as it was planned last.
    assigned: bool = False
    # What the client cannot unpack at `next_offset`, while the first offset behind it is looked for.
    packed: BatchEnd | None = None

    @property
    def read_offset(self) -> int:
        """Where to read next."""
        return self.next_offset if self.packed is None else self.packed.offset

    def meets_packed(self, offset: int) -> int | None:
        """The client cannot unpack what begins at `offset`. Returns the first offset behind it, once that is known."""
        if self.packed is None:
            self.packed = BatchEnd(offset)
        elif offset <= self.packed.inside:
            self.packed.is_inside()
        else:
            self.packed.is_behind(offset)
        return self._look_on()

    def meets_other(self) -> int | None:
        """While that is looked for something else came."""
        assert self.packed is not None
        self.packed.is_behind()
        return self._look_on()

    def _look_on(self) -> int | None:
        assert self.packed is not None
        self.assigned = False
        if not self.packed.is_found:
            return None
        behind, self.packed = self.packed.behind, None
        return behind

    @property
    def finished(self) -> bool:
        """Whether the end is reached."""
        return self.next_offset >= self.end_offset


@dataclass(slots=True)
class StoreReplay:
    """One store that is brought to the ends of its changelogs. Only the thread changes it, under its `Replay.lock`."""

    task: TaskId
    logs: list[Log]
    store: TaskStore | None = None
    # The store is being opened, by the thread.
    opening: bool = False
    # Where the logs begin and end was asked, and the store fits.
    planned: bool = False
    # Not ours any more: its store may not be touched.
    gone: bool = False
    # It was near the end: its store is tuned for reads, and stays so.
    near: bool = False
    # Why it does not get on, None while it does; and time.monotonic() before which it is not tried again.
    error: str | None = None
    due: float = 0.0
    # How often it began again because its log was cut, and for how long it is put off next.
    restarts: int = 0
    pause: float = PAUSE_SECONDS[0]
    # time.monotonic() when its logs were last asked for their ends.
    asked: float = 0.0

    @classmethod
    def of(cls, task: TaskId, logs: Iterable[tuple[str, str, int]], store: TaskStore | None = None) -> StoreReplay:
        """Nothing is read yet. logs: (table, changelog topic, partition)."""
        return cls(task, [Log(table, TP(topic, partition)) for table, topic, partition in logs], store)

    def lag(self) -> int:
        """How many offsets it is behind the ends."""
        return sum(max(0, log.end_offset - log.next_offset) for log in self.logs)

    def ask_now(self) -> None:
        """Its logs are about to be asked for their ends."""
        self.asked = time.monotonic()

    def count_restart(self) -> None:
        """Its log was cut, and it begins again."""
        self.restarts += 1

    def look(self, ends: Mapping[TP, int]) -> None:
        """Its logs have grown to these ends. Once it is near, it stays so."""
        for log in self.logs:
            log.end_offset = max(log.end_offset, ends.get(log.tp, 0))
        self.near = self.near or self.lag() <= NEAR_RECORDS

    def opens(self) -> None:
        """Its store is being opened from now on."""
        self.opening = True

    def opened(self, store: TaskStore | None) -> None:
        """That is over; None: it could not be."""
        self.opening = False
        if store is not None:
            self.store = store

    def lose_store(self) -> None:
        """Its store is closed, and is to be opened anew."""
        self.store = None

    def leave(self) -> None:
        """It is not ours any more."""
        self.gone = True

    def next_pause(self) -> float:
        """For how long to put it off now, in seconds; twice as long the next time."""
        pause, self.pause = self.pause, min(PAUSE_SECONDS[1], 2 * self.pause)
        return pause

    def wait(self, error: str | None, seconds: float) -> None:
        """Try again after so long, for this reason."""
        self.error = error
        self.due = time.monotonic() + seconds

    def begin_anew(self, error: str | None, seconds: float) -> None:
        """As `wait`, and then from where its logs begin and end by then."""
        self.planned = False
        self.wait(error, seconds)

    def set_course(self, begins: Mapping[TP, int], ends: Mapping[TP, int]) -> None:
        """Its store is open, and its logs begin and end there."""
        assert self.store is not None
        set_course(self.task, self.store, self.logs, begins, ends)
        self.near = self.lag() <= NEAR_RECORDS
        self.planned = True
        self.asked = time.monotonic()

    def apply(self, log: Log, rows: Iterable[tuple[bytes, bytes | None]], next_offset: int) -> None:
        """Put what came of a log into the store: it gets on."""
        assert self.store is not None
        if self.near:
            self.store.write({log.table: dict(rows)}, {log.table: next_offset})
        else:
            self.store.restore(log.table, rows, next_offset)
        log.next_offset = next_offset
        self.error = None
        self.pause = PAUSE_SECONDS[0]

    def is_at_end(self) -> bool:
        """Whether the ends that it was planned for are reached."""
        return self.planned and all(log.finished for log in self.logs)


def set_course(
    task: TaskId, store: TaskStore, logs: Iterable[Log], begins: Mapping[TP, int], ends: Mapping[TP, int]
) -> None:
    """Plan each log of a task, and empty the shards that must start anew."""
    for log in logs:
        stored = store.changelog_next_offset(log.table)
        course = course_of(stored, begins[log.tp], ends[log.tp])
        if course.forget is not None:
            _log.warning("Task %s, table %s: restored from the start: %s", task, log.table, course.forget)
            store.forget(log.table)
            stored = None
        log.first_offset = log.next_offset = course.first_offset
        log.end_offset = course.end_offset
        log.assigned, log.packed = False, None
        if stored is None and log.finished:
            # An empty log: say so in the store, whose rows would not be trusted without an offset.
            store.restore(log.table, (), log.next_offset)


def assign_only(consumer: Consumer, logs: Iterable[Log]) -> None:
    """Have `consumer` read these and no others; those that it does not read for this replay yet, from where it is."""
    present = {TP(entry.topic, entry.partition) for entry in consumer.assignment()}
    wanted = {log.tp: log for log in logs}
    # What an earlier replay of the same partition has taken from the consumer it may not have applied.
    kept = {tp for tp in present if tp in wanted and wanted[tp].assigned}
    gone, new = sorted(present - kept), sorted(wanted.keys() - kept)
    if gone:
        consumer.incremental_unassign([TopicPartition(tp.topic, tp.partition) for tp in gone])
    if new:
        find_leaders(consumer, sorted({tp.topic for tp in new}))
        consumer.incremental_assign([TopicPartition(tp.topic, tp.partition, wanted[tp].read_offset) for tp in new])
    for log in wanted.values():
        log.assigned = True


def is_cut(error: KafkaError) -> bool:
    """Whether the log lost the offset that is read next: it was trimmed, or made anew."""
    return error.name() in ("_AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE")


def rows_of(batch: Batch, *, is_dated: bool = False) -> Iterable[tuple[bytes, bytes | None]]:
    """Keys and values; a record without a key cannot have come from a table and is left out."""
    keys = list(batch.keys)
    rows: Iterable[tuple[bytes | None, bytes | None]] = zip(keys, batch.values, strict=True)
    if is_dated:
        rows = dates.rows_of(rows, batch.timestamps)
    # Quicker than to look for None; an empty key only makes it slow.
    if not all(keys):
        return [(key, value) for key, value in rows if key is not None]
    return cast(Iterable[tuple[bytes, bytes | None]], rows)
