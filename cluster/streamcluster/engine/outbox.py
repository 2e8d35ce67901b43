"""Outbox: the records that a coroutine, a task or the worker's own functions sent since the last cut, per topic."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from typing import NoReturn

from ..errors import TooLate
from ..output import BY_KEY, OutputColumns, OutputRecord

logger = logging.getLogger("streamcluster")
Outputs = dict[str, OutputColumns]


class _Ended:
    """In the place of `Outbox.topics`, so that a send pays nothing for the question whether it comes too late."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False

    def values(self) -> tuple[()]:
        """Nothing waits."""
        return ()

    def __getitem__(self, topic: str) -> NoReturn:
        error = TooLate(topic)
        # Nobody may look at what a task raises that was started and forgotten.
        logger.error("%s", error)
        raise error


# The records of a topic are looked into when there are so many, and each time they have doubled; 16 of them, 2 us.
FIRST_LOOK_RECORDS = 8
SAMPLE_RECORDS = 16
# A record in the outbox: two bytes objects, an int, a slot in five lists that have room to grow.
OUTPUT_OVERHEAD_BYTES = 200


class OutputRoom:
    """What all outboxes of a worker may hold together, in bytes, and what a record of theirs takes.

    Args:
        bytes_max: asked at each look; None: no bound.
        count: how many records all hold, as far as that is known.
    """

    __slots__ = ("_bytes_max", "_count", "record_bytes")

    def __init__(self, bytes_max: Callable[[], int] | None = None, count: Callable[[], int] = lambda: 0) -> None:
        self._bytes_max = bytes_max
        self._count = count
        # As of the last look at one of them.
        self.record_bytes = OUTPUT_OVERHEAD_BYTES

    def is_over(self, columns: OutputColumns) -> bool:
        """Whether this topic of an outbox takes more than it may: all that there is, or a quarter when all is taken."""
        if self._bytes_max is None or not columns:
            return False
        bytes_max = self._bytes_max()
        self.record_bytes = max(record_size(columns), self.record_bytes * 3 // 4)
        size = self.record_bytes * len(columns)
        return size > bytes_max or (size > bytes_max // 4 and self.record_bytes * self._count() > bytes_max)


class Outbox:
    """Output records by topic.

    Args:
        records_max: bound per topic (I7): a sender that awaits is held up above it, until there is room again.
        on_full: called when a sender is held up.
        room_for: bounds the bytes too, over all outboxes.
        behind: the outbox that this one is moved into; what waits there counts too.
    """

    __slots__ = (
        "_behind",
        "_look_again_at",
        "_on_full",
        "_records_max",
        "_room_for",
        "_waiting",
        "has_ended",
        "look_at",
        "topics",
    )

    def __init__(
        self,
        records_max: int,
        on_full: Callable[[], None],
        room_for: OutputRoom | None = None,
        behind: Outbox | None = None,
    ) -> None:
        self.topics: Outputs = {}
        self.has_ended = False
        self._records_max = records_max
        # How many records a topic may have before it is looked at: a comparison for each record, and no more.
        self.look_at = min(records_max, FIRST_LOOK_RECORDS)
        # How many of a topic may wait here before somebody who asks has them looked at again.
        self._look_again_at: dict[str, int] = {}
        self._on_full = on_full
        self._room_for = room_for or OutputRoom()
        self._behind = behind
        self._waiting: list[asyncio.Future[None]] = []

    def lift(self) -> None:
        """Bound nothing, for an event that must be done in one go."""
        self._records_max = self.look_at = sys.maxsize

    def bound_again(self) -> None:
        """As the outbox behind it, after `lift`."""
        assert self._behind is not None
        self._records_max = self._behind._records_max
        self.look_at = min(self._records_max, FIRST_LOOK_RECORDS)

    def append(self, topic: str, record: OutputRecord) -> bool:
        """Add one record of any kind; True when the sender had better wait for `room`."""
        try:
            columns = self.topics[topic]
        except KeyError:
            return self._begin(topic, record)
        columns.append(record)
        return len(columns) > self.look_at and self.is_over(columns)

    def add(self, topic: str, key: bytes | None, value: bytes | None, timestamp: int) -> bool:
        """As `append`, of a record without partition and headers: there may be one for each event."""
        try:
            columns = self.topics[topic]
        except KeyError:
            return self._begin(topic, (key, value, BY_KEY, timestamp, None))
        columns.keys.append(key)
        values = columns.values
        values.append(value)
        columns.timestamps.append(timestamp)
        return len(values) > self.look_at and self.is_over(columns)

    def _begin(self, topic: str, record: OutputRecord) -> bool:
        columns = self.topics[topic] = OutputColumns()
        columns.append(record)
        if self._records_max < sys.maxsize:
            self.look_at = min(self._records_max, FIRST_LOOK_RECORDS)
        # What is behind grows when this is moved there, and then this begins anew: no need to ask at each record.
        return self._records_max < 1 or (self._behind is not None and self._behind.is_crowded(topic))

    def is_over(self, columns: OutputColumns) -> bool:
        """More than `look_at` wait for a topic: whether the sender had better wait for `room`."""
        if len(columns) > self._records_max:
            return True
        is_over = self._room_for.is_over(columns)
        # Who does not await goes on, and is not to pay for a look at each record.
        self.look_at = min(self._records_max, len(columns) + FIRST_LOOK_RECORDS if is_over else 2 * len(columns))
        return is_over

    def is_crowded(self, topic: str) -> bool:
        """More waits for `topic` than may."""
        columns = self.topics.get(topic)
        if self._records_max == sys.maxsize or not columns:
            return False
        if len(columns) > self._records_max:
            return True
        if len(columns) < self._look_again_at.get(topic, 1):
            return False
        is_over = self._room_for.is_over(columns)
        # Coroutines that await settle into it event by event, and each of them asks.
        self._look_again_at[topic] = len(columns) if is_over else 2 * len(columns)
        return is_over

    async def room(self) -> None:
        """Wait until what is here has been taken out, or more may wait."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._on_full()
        await waiter

    def is_full(self) -> bool:
        """A sender is held up."""
        return any(not waiter.done() for waiter in self._waiting)

    def extend(self, topic: str, columns: OutputColumns) -> None:
        """Add many records, that nobody else adds to; of one event each, whose sender need not wait for room."""
        try:
            self.topics[topic].extend(columns)
        except KeyError:
            self.topics[topic] = columns

    def end(self) -> None:
        """No commit will take anything from here: who sends is told so."""
        self.has_ended = True
        self.topics = _Ended()  # type: ignore[assignment]  # It is asked for one topic, and that is all.

    def count(self) -> int:
        """Records waiting, over all topics."""
        return sum(map(len, self.topics.values()))

    def swap(self) -> Outputs:
        """Take everything out."""
        if self.has_ended:
            return {}
        taken, self.topics = self.topics, {}
        self._look_again_at.clear()
        self.let_go_on()
        return taken

    def let_go_on(self) -> None:
        """Let senders go on that are held up, unless too much waits here itself."""
        if any(map(self.is_crowded, self.topics)):
            return
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()


def record_size(columns: OutputColumns) -> int:
    """What one of these takes, on average, by a sample. Headers are not looked at: they are few and short."""
    step = len(columns) // SAMPLE_RECORDS + 1
    values = columns.values[::step]
    size = sum([len(data or b"") for data in [*columns.keys[::step], *values]])
    return size // len(values) + OUTPUT_OVERHEAD_BYTES


def merge(into: Outputs, outputs: Outputs) -> None:
    """Add the records of `outputs` to those of `into`, topic by topic; nobody may add to `outputs` any more."""
    for topic, columns in outputs.items():
        if topic in into:
            into[topic].extend(columns)
        else:
            into[topic] = columns
