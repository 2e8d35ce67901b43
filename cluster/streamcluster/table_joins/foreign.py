"""The join of two tables by a foreign key: what each side does, and what they send each other.

A left row subscribes to the key that it names, with its version: the offset of its change. The right side answers, now
and whenever the row of that key changes, with the version of each subscriber; an answer that is not of the version that
the left row has by then is dropped. What goes between two partitions keeps its order, so the last answer of a version
is what the right row is.
"""

from __future__ import annotations

import inspect
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..codecs.ordered_keys import key_range
from ..codecs.table_coding import Pair
from ..events import Event, Message
from ..output import NOT_AT_COMMIT
from ..streams import Stream
from ..tables import Table
from ..topics import Topic
from .sides import Kept, Result, Side, time_of

# Of a left row: its time, its version, and how long its foreign key is (_NO_KEY: it has none); the key and the value.
_LEFT = struct.Struct(">qqi")
_NO_KEY = -1
# It was deleted, and is remembered for its time.
_GONE = -2
# Of a subscription: whether it begins or ends, the partition and the version of the left row, how long the foreign key
# is; then that key as the right table has it, and the left row's.
_ASK = struct.Struct(">?iqi")
# Of an answer: the version that it is for, and whether there is a right row; then its value.
_ANSWER = struct.Struct(">q?")
# Of a subscriber, behind the right key in its row's key: the partition of the left row; then its key.
_PARTITION = struct.Struct(">i")
_VERSION = struct.Struct(">q")
_SUBSCRIBED = b"s"


class LeftRow(NamedTuple):
    """A row of the left table, as the join has read it. foreign: the key that it names, as the right table has it."""

    time: int
    version: int
    foreign: bytes | None
    data: bytes | None

    def encode(self) -> bytes:
        """As the internal table has it."""
        size = _GONE if self.data is None else _NO_KEY if self.foreign is None else len(self.foreign)
        return _LEFT.pack(self.time, self.version, size) + (self.foreign or b"") + (self.data or b"")

    @classmethod
    def decode(cls, row: bytes) -> LeftRow:
        """Back from that."""
        time, version, size = _LEFT.unpack_from(row)
        if size < 0:
            return cls(time, version, None, None if size == _GONE else row[_LEFT.size :])
        middle = _LEFT.size + size
        return cls(time, version, row[_LEFT.size : middle], row[middle:])


@dataclass(slots=True, eq=False)
class ForeignKey:
    """What a row of the left table names. key_coder: makes the coder of the right table's keys, once codecs are known.

    of: from a value to the key, maybe later; None of it: it names none. kind: of what type it is declared to be.
    """

    of: Callable[[Any], Any]
    key_coder: Callable[[], Pair]
    kind: Any = None
    # Keys of the right table are of this type, though it does not say so.
    only: type | None = field(default=None, init=False)
    _coder: Pair | None = field(default=None, init=False)

    def must_be(self, kind: type) -> None:
        """No other key is ever that of a row."""
        self.only = kind

    @property
    def coder(self) -> Pair:
        """Of the right table's keys."""
        if self._coder is None:
            self._coder = self.key_coder()
        return self._coder

    async def find(self, value: Any) -> bytes | None:
        """The key that a left row names, as the right table has it."""
        found = self.of(value)
        if inspect.isawaitable(found):
            found = await found
        if self.only is not None and found is not None and type(found) is not self.only:
            raise TypeError(
                f"on= gives a {type(found).__name__}, and keys of the other table are {self.only.__name__}: give the "
                "topic that feeds it key_type=."
            )
        return None if found is None else self.coder[0](found)


@dataclass(frozen=True, slots=True, eq=False)
class LeftOfForeign:
    """In the partitions of the left table. rows: what it has read of that; asks: where subscriptions go."""

    left: Side
    right: Side
    foreign: ForeignKey
    rows: Table[bytes, bytes]
    asks: Topic
    result: Result

    async def changed(self, event: Event) -> None:
        """A row of the left table has changed."""
        message = event.message
        time = time_of(message)
        if (key := message.key) is None:
            return
        before = self._row(key)
        if before is not None and self.left.table.history_ms is not None and time < before.time:
            return
        if message.value is None and (before is None or before.data is None):
            if before is not None:
                self.rows[self.left.mark + key] = before._replace(time=time).encode()
            return
        foreign = None if message.value is None else await self.foreign.find(event.value)
        row = LeftRow(time, message.offset, foreign, message.value)
        if before is not None and before.foreign is not None and before.foreign != foreign:
            await self._ask(message, before.foreign, row, begins=False)
        if row.data is None and self.left.table.history_ms is None:
            del self.rows[self.left.mark + key]
        else:
            self.rows[self.left.mark + key] = row.encode()
        if foreign is not None:
            await self._ask(message, foreign, row, begins=True)
        else:
            value = event.value
            self.result.put(event.key, Kept(time, row.data), None, lambda: (value, None), time)

    async def _ask(self, message: Message, foreign: bytes, row: LeftRow, *, begins: bool) -> None:
        head = _ASK.pack(begins, message.partition, row.version, len(foreign))
        data = head + foreign + (message.key or b"")
        await _send(self.asks, self.foreign.coder[1](foreign), data, row.time)

    def answered(self, event: Event) -> None:
        """The right side has answered."""
        message = event.message
        time = time_of(message)
        key, answer = message.key or b"", message.value or b""
        version, is_there = _ANSWER.unpack_from(answer)
        row = self._row(key)
        if row is None or row.data is None or row.version != version:
            return
        decode = self.left.changes.coders
        mine, data = Kept(row.time, row.data), row.data
        partner = Kept(time, answer[_ANSWER.size :] if is_there else None)
        self.result.put(
            decode.decode_key(key),
            mine,
            partner,
            lambda: (decode.decode_value(data), self.right.value(partner)),
            time,
        )

    def _row(self, key: bytes) -> LeftRow | None:
        found = self.rows.get(self.left.mark + key)
        return None if found is None else LeftRow.decode(found)


@dataclass(frozen=True, slots=True, eq=False)
class RightOfForeign:
    """In the partitions of the right table. rows: what it has read of that, and the subscribers of its keys."""

    right: Side
    rows: Table[bytes, bytes]
    answers: Topic

    async def changed(self, event: Event) -> None:
        """A row of the right table has changed: all who subscribe to it are told."""
        message = event.message
        time = time_of(message)
        if (key := message.key) is None or not self.right.put(self.rows, key, time, message.value):
            return
        found = Kept(time, message.value)
        beginning, end = key_range(_SUBSCRIBED + key)
        for row_key, row in self.rows.shard_var.get().scan(beginning, end):
            subscriber = row_key[len(beginning) :]
            await self._answer(subscriber, _VERSION.unpack(row)[0], found, time)

    async def asked(self, event: Event) -> None:
        """A left row subscribes, or does so no more."""
        message = event.message
        time = time_of(message)
        data = message.value or b""
        begins, partition, version, size = _ASK.unpack_from(data)
        middle = _ASK.size + size
        key = data[_ASK.size : middle]
        subscriber = _PARTITION.pack(partition) + data[middle:]
        row_key = key_range(_SUBSCRIBED + key)[0] + subscriber
        if not begins:
            self.rows.pop(row_key, None)
            return
        self.rows[row_key] = _VERSION.pack(version)
        found = self.right.get(self.rows, key)
        if found is not None and found.data is not None:
            time = max(time, found.time)
        await self._answer(subscriber, version, found, time)

    async def _answer(self, subscriber: bytes, version: int, found: Kept | None, time: int) -> None:
        data = None if found is None else found.data
        answer = _ANSWER.pack(version, data is not None) + (data or b"")
        (partition,) = _PARTITION.unpack_from(subscriber)
        key = subscriber[_PARTITION.size :]
        await _send(self.answers, key, answer, time, partition)


async def _send(topic: Topic, key: Any, value: bytes, time: int, partition: int | None = None) -> None:
    await topic.give(topic.prepare(key, value, partition=partition, carried=time or NOT_AT_COMMIT))


def left_of(join: LeftOfForeign, answers: Topic, result: Table[Any, Any]) -> Callable[[Stream[Any]], Awaitable[None]]:
    """The body of the agent of the left side. result: named here, so that it is seen which table the agent writes."""

    async def run(stream: Stream[Any]) -> None:
        assert join.result.table is result
        async for event in stream.events():
            if event.message.topic == answers.name:
                join.answered(event)
            else:
                await join.changed(event)

    return run


def right_of(join: RightOfForeign, asks: Topic) -> Callable[[Stream[Any]], Awaitable[None]]:
    """The body of the agent of the right side."""

    async def run(stream: Stream[Any]) -> None:
        async for event in stream.events():
            if event.message.topic == asks.name:
                await join.asked(event)
            else:
                await join.changed(event)

    return run
