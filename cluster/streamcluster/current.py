"""Where the running code stands: which event, which task, and where its sends go.

The engine sets these context variables for every coroutine that it runs; declarations (topics, tables, events) read
them. Neither imports the other.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol

from .errors import AppError
from .ids import TP, TaskId
from .output import AT_COMMIT, NOT_AT_COMMIT, OutputRecord


class KafkaRecord(Protocol):
    """A consumed record, as confluent-kafka gives it and the test driver makes it."""

    def topic(self) -> Any: ...
    def partition(self) -> Any: ...
    def offset(self) -> Any: ...
    def key(self) -> Any: ...
    def value(self) -> Any: ...
    # Ask `headers.headers_of` instead.
    def headers(self) -> Any: ...
    def set_headers(self, headers: Any) -> Any: ...
    def timestamp(self) -> Any: ...


def time_of(record: KafkaRecord) -> int:
    """The record's timestamp in ms, as one that is sent of it gets it."""
    milliseconds: int = record.timestamp()[1]
    return milliseconds or NOT_AT_COMMIT


class Run:
    """Consecutive records of one partition with their decoded values.

    records and values have the same length, and are this run's own; next_offset: where the partition goes
    on after this run; decode_key: bytes -> key, for `items()` and events; before: what is done, instead of handing out
    an event, when the run is reached; False means that the coroutine must not go past this run; has_headers: whether
    any record has one, once somebody has asked (`headers.headers_at`).
    """

    __slots__ = ("before", "decode_key", "has_headers", "next_offset", "records", "task", "tp", "values")

    def __init__(
        self,
        task: TaskId,
        tp: TP,
        records: list[KafkaRecord],
        values: list[Any],
        next_offset: int,
        decode_key: Any,
        before: Callable[[], bool] | None = None,
    ) -> None:
        self.task = task
        self.tp = tp
        self.records = records
        self.values = values
        self.next_offset = next_offset
        self.decode_key = decode_key
        self.before = before
        self.has_headers: bool | None = None

    def offset(self, index: int) -> int:
        """The offset of the record at `index`."""
        offset: int = self.records[index].offset()
        return offset

    def cut(self, count: int) -> Run:
        """Keep the first `count` events and return a run with the others."""
        rest = Run(self.task, self.tp, self.records[count:], self.values[count:], self.next_offset, self.decode_key)
        self.next_offset = rest.offset(0)
        del self.records[count:], self.values[count:]
        return rest

    def key(self, index: int) -> Any:
        """The decoded key of the record at `index`; None when it has none."""
        data = self.records[index].key()
        return None if data is None else self.decode_key(data)


class Kept:
    """Events that take() has buffered: not finished, in the order of arrival. handed_out: the batch is in the body.

    latest: the latest timestamp of the batch that is handed out, once somebody asked.
    bonds: tasks whose events were in one finished batch, so that what it did counts only if all of them are committed.
    enter: called with the task of a batch's last event when the batch is handed out: there its body writes.
    """

    __slots__ = ("bonds", "enter", "events", "handed_out", "latest")

    def __init__(self, enter: Callable[[TaskId], None] | None = None) -> None:
        self.enter = enter
        self.events: list[tuple[Run, int]] = []
        self.handed_out = False
        self.bonds: list[frozenset[TaskId]] = []
        self.latest: int | None = None

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

    def timestamp(self) -> int:
        """The latest timestamp of the batch, as Kafka Streams has it for what it makes of several events."""
        if self.latest is None:
            self.latest = max([run.records[index].timestamp()[1] for run, index in self.events]) or NOT_AT_COMMIT
        return self.latest

    def offsets(self) -> list[tuple[TP, int]]:
        """Where the buffered events stand."""
        return [(run.tp, run.offset(index)) for run, index in self.events]


class Cursor:
    """The event that a coroutine is at: the run in hand, and the iterator over its values.

    The position is derived from how much the iterator has left, so the hot loop stores nothing per event.
    """

    __slots__ = ("iterator", "kept", "owner", "run", "task")

    def __init__(self, owner: str, task: TaskId | None) -> None:
        self.owner = owner
        self.task = task
        # What take() has buffered, or handed out.
        self.kept = Kept()
        self.run: Run | None = None
        # Over a list or a tuple: it knows how much is left.
        self.iterator: Any = iter(())

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
            return self.kept.timestamp()
        if self.run is None:
            return AT_COMMIT
        try:
            # In one step, since this is done for each record that is sent: as many are left behind it.
            record = self.run.records[~self.iterator.__length_hint__()]
        except IndexError:
            # Nothing of the run was handed out.
            return AT_COMMIT
        return record.timestamp()[1] or NOT_AT_COMMIT


class OutboxLike(Protocol):
    """Where sends go until the commit that carries them."""

    def append(self, topic: str, record: OutputRecord) -> bool:
        """Add one record for `topic`; True when the sender had better wait for `room`."""
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
