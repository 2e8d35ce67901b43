"""Where the running code stands: which event, which task, and where its sends go.

The engine sets these context variables for every coroutine that it runs; declarations (topics, tables, events) read
them. Neither imports the other.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol

from .batch import Batch, Column, KafkaRecord
from .errors import AppError
from .headers import pairs_of
from .ids import TP, TaskId
from .output import AT_COMMIT, NOT_AT_COMMIT, OutputRecord, Pairs


class Run:
    """Consecutive records of one partition with their decoded values: those of `batch` from `start` on.

    values: this run's own; next_offset: where the partition goes on after it; decode_key: bytes -> key, for `items()`
    and events; before: what is done, instead of handing out an event, when the run is reached; False means that the
    coroutine must not go past this run.
    """

    __slots__ = ("batch", "before", "decode_key", "next_offset", "start", "task", "tp", "values")

    def __init__(
        self,
        task: TaskId,
        batch: Batch,
        values: list[Any],
        next_offset: int,
        decode_key: Any,
        before: Callable[[], bool] | None = None,
        start: int = 0,
    ) -> None:
        self.task = task
        self.tp = batch.tp
        self.batch = batch
        self.start = start
        self.values = values
        self.next_offset = next_offset
        self.decode_key = decode_key
        self.before = before

    def offset(self, index: int) -> int:
        """The offset of the record at `index`."""
        return self.batch.offsets[self.start + index]

    def split(self, count: int) -> Run:
        """Take out the first `count` events, as a run of their own, of one that nobody has in hand.

        Of thousands that wait a few are taken at a time, so what is left is not copied, as `cut` does.
        """
        first = Run(
            self.task,
            self.batch,
            self.values[:count],
            self.offset(count),
            self.decode_key,
            self.before,
            start=self.start,
        )
        del self.values[:count]
        self.start += count
        self.before = None
        return first

    def cut(self, count: int) -> Run:
        """Keep the first `count` events and return a run with the others."""
        rest = Run(
            self.task, self.batch, self.values[count:], self.next_offset, self.decode_key, start=self.start + count
        )
        self.next_offset = rest.offset(0)
        del self.values[count:]
        return rest

    def key(self, index: int) -> Any:
        """The decoded key of the record at `index`; None when it has none."""
        data = self.batch.keys[self.start + index]
        return None if data is None else self.decode_key(data)

    def timestamp(self, index: int) -> int:
        """The timestamp of the record at `index` in ms, as what is sent of it gets it."""
        return self.batch.timestamps[self.start + index] or NOT_AT_COMMIT

    def headers(self, index: int) -> Pairs | None:
        """The headers of the record at `index`, None when there are none.

        Raises:
            UnreadableHeaders: the client cannot read them.
        """
        headers = self.batch.headers
        return None if headers is None else pairs_of(headers[self.start + index])

    def read_keys(self, decode: Callable[[bytes], Any]) -> None:
        """Have its keys decoded by that."""
        self.decode_key = decode

    def record(self, index: int) -> KafkaRecord:
        """All of the record at `index`."""
        return self.batch.record(self.start + index)

    def records(self) -> Batch:
        """The records, without their decoded values."""
        return self.batch.part(self.start, self.start + len(self.values))


class Kept:
    """Events that take() has buffered: not finished, in the order of arrival. handed_out: the batch is in the body.

    latest, ends: of the batch that is handed out, once somebody asked: each write to a table asks.
    bonds: tasks whose events were in one finished batch, so that what it did counts only if all of them are committed.
    enter: called with the task of a batch's last event when the batch is handed out: there its body writes.
    """

    __slots__ = ("bonds", "ends", "enter", "events", "handed_out", "latest")

    def __init__(self, enter: Callable[[TaskId], None] | None = None) -> None:
        self.enter = enter
        self.events: list[tuple[Run, int]] = []
        self.handed_out = False
        self.bonds: list[frozenset[TaskId]] = []
        self.latest: int | None = None
        self.ends: list[tuple[Run, int]] = []

    def add(self, run: Run, index: int) -> None:
        """Buffer the event at `index` of `run`: the committable position stays before it."""
        self.events.append((run, index))

    def hand_out(self) -> None:
        """The batch goes to the body."""
        self.handed_out = True
        if self.enter is not None:
            self.enter(self.events[-1][0].task)

    def clear(self) -> None:
        """The batch was delivered and finished, or is forgotten."""
        if self.handed_out:
            tasks = {run.task for run, _ in self.events}
            if len(tasks) > 1:
                self.bonds.append(frozenset(tasks))
        self.events.clear()
        self.handed_out = False
        self.latest = None
        self.ends = []

    def time(self) -> int:
        """The latest timestamp of the batch in ms, as Kafka Streams has it for what it makes of several events."""
        if self.latest is None:
            self.latest = max([run.batch.timestamps[run.start + index] for run, index in self.events])
        return self.latest

    def last_of_each(self) -> list[tuple[Run, int]]:
        """The last event of each partition: none before it had a later watermark there."""
        if not self.ends:
            self.ends = [*{run.tp: (run, index) for run, index in self.events}.values()]
        return self.ends

    def offsets(self) -> list[tuple[TP, int]]:
        """Where the buffered events stand."""
        return [(run.tp, run.offset(index)) for run, index in self.events]


class Cursor:
    """The event that a coroutine is at: the run in hand, and the iterator over its values.

    The position is derived from how much the iterator has left, so the hot loop stores nothing per event.
    """

    __slots__ = ("_buffer", "_timestamps", "iterator", "kept", "owner", "run", "task")

    def __init__(self, owner: str, task: TaskId | None) -> None:
        self.owner = owner
        self.task = task
        # What take() has buffered, or handed out.
        self.kept = Kept()
        self.run: Run | None = None
        # Over a list or a tuple: it knows how much is left.
        self.iterator: Any = iter(())
        # The timestamps of the batch in hand, once one of them was asked for: as it has them, and as ints.
        self._buffer: Column[int] | None = None
        self._timestamps: list[int] = []

    def consumed_count(self) -> int:
        """How many values of the run were handed out; the current event is the last of them."""
        if self.run is None:
            return 0
        left: int = self.iterator.__length_hint__()
        return len(self.run.values) - left

    def index(self) -> int | None:
        """The index of the current event in its run, None between events."""
        count = self.consumed_count()
        return count - 1 if count else None

    def timestamp(self) -> int:
        """What is sent now is of this time, in ms: the current event's, the latest of a batch, else of the commit."""
        if self.kept.handed_out:
            return self.kept.time() or NOT_AT_COMMIT
        run = self.run
        if run is None:
            return AT_COMMIT
        # In place, since this is done for each record that is sent.
        buffer = run.batch.timestamps
        times = self._timestamps if buffer is self._buffer else self.timestamps(run.batch)
        count = len(run.values) - self.iterator.__length_hint__()
        return (times[run.start + count - 1] or NOT_AT_COMMIT) if count else AT_COMMIT

    def carry(self, time: int) -> None:
        """What is sent at the current event is of this time, in ms, and not of the event's own."""
        run, index = self.run, self.index()
        assert run is not None
        assert index is not None
        self.timestamps(run.batch)[run.start + index] = time

    def timestamps(self, batch: Batch) -> list[int]:
        """Those of the batch in hand; a buffer makes an int each time that it is asked."""
        if batch.timestamps is not self._buffer:
            self._buffer, self._timestamps = batch.timestamps, [*batch.timestamps]
        return self._timestamps


class OutboxLike(Protocol):
    """Where sends go until the commit that carries them."""

    def append(self, topic: str, record: OutputRecord) -> bool:
        """Add one record for `topic`; True when the sender had better wait for `room`."""
        ...

    def add(self, topic: str, key: bytes | None, value: bytes | None, timestamp: int) -> bool:
        """As `append`, of a record without partition and headers."""
        ...

    async def room(self) -> None:
        """Wait until what is here has been taken out."""
        ...


cursor_var: ContextVar[Cursor | None] = ContextVar("streamcluster_cursor", default=None)
outbox_var: ContextVar[OutboxLike | None] = ContextVar("streamcluster_outbox", default=None)


def current_outbox() -> OutboxLike:
    """The outbox of the running code.

    Raises:
        AppError: nothing runs the app here (a plain script, or import time).
    """
    outbox = outbox_var.get()
    if outbox is None:
        raise AppError(
            "send() works in agents, tasks, timers and signal handlers of a running app. "
            "From outside use `streamcluster send`, or a Kafka producer."
        )
    return outbox
