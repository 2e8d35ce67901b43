"""Suppress: a table that follows another one, with each key's changes held back for some event time.

    the table's changelog --> an agent --> NAME-held: the newest change of each key, and when it is let through
    that time has come, or too much is held --> the result

What is held is in an internal table, so it comes back with its order on any host, and nothing of it is only in memory.

    key: which kind, the key of the changed row    value: 8 bytes when, and the change, as joins keep it (sides.py)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from .agents import Agent
from .current import cursor_var
from .events import Event
from .indexes import Index
from .streams import Stream
from .table_joins.sides import Kept, change, time_of
from .tables import Table, bytes_table
from .times import PLACE_BYTES, Closing, place_of
from .times import time_of as time_at
from .topics import Topic

_WHEN = "when"
_ROW, _COUNT = b"r", b"c"


@dataclass(frozen=True, slots=True, eq=False)
class Suppressed:
    """As it is declared: the table that comes of it, and the agent that writes that."""

    table: Table[Any, Any]
    agent: Agent


@dataclass(frozen=True, slots=True, eq=False)
class Suppress:
    """changes: of the table; held: what is held back, so long, and in a partition at most so much; None: no bound."""

    changes: Topic
    held: Table[bytes, bytes]
    result: Table[Any, Any]
    wait_ms: int
    records_max: int | None
    bytes_max: int | None

    def changed(self, event: Event) -> None:
        """A row of the table has changed."""
        message = event.message
        shard, cursor = self.held.shard_var.get(), cursor_var.get()
        if message.key is None or shard.time is None or cursor is None:
            return
        time = time_of(message)
        key = _ROW + message.key
        before = self.held.get(key)
        when = time + self.wait_ms if before is None else time_at(before[:PLACE_BYTES])
        newest = Kept(time, message.value)
        if before is None and when <= shard.time.now(cursor):
            # No later than this event has time come so far, and rows before that are looked for by nobody.
            self._let_through(message.key, newest)
            return
        row = place_of(when) + newest.encode()
        self.held[key] = row
        shard.time.expect(when)
        self._count(before is None, len(row) - len(before or b"") + (len(key) if before is None else 0))
        while self._is_full():
            _, oldest, row = next(shard.scan_index(_WHEN, rows_max=1))
            self._release(oldest, row)

    def come(self, key: bytes, row: bytes) -> None:
        """The time of a change has come."""
        # By now it may have been let through, or be a newer one.
        newest = self.held.get(key)
        if newest is not None and newest[:PLACE_BYTES] == row[:PLACE_BYTES]:
            self._release(key, newest)

    def _release(self, key: bytes, row: bytes) -> None:
        del self.held[key]
        self._count(-1, -len(key) - len(row))
        self._let_through(key[len(_ROW) :], Kept.decode(row[PLACE_BYTES:]))

    def _let_through(self, key: bytes, newest: Kept) -> None:
        coders, data = self.changes.coders, newest.data
        value = None if data is None else partial(coders.decode_value, data)
        change(self.result, coders.decode_key(key), value, newest.time)

    def _count(self, rows: int, size: int) -> None:
        """So many more are held, of so many bytes."""
        count, total = self._counted()
        self.held[_COUNT] = place_of(count + rows) + place_of(total + size)

    def _counted(self) -> tuple[int, int]:
        found = self.held.get(_COUNT)
        return (0, 0) if found is None else (time_at(found[:PLACE_BYTES]), time_at(found[PLACE_BYTES:]))

    def _is_full(self) -> bool:
        count, total = self._counted()
        if self.records_max is not None and count > self.records_max:
            return True
        return self.bytes_max is not None and count > 0 and total > self.bytes_max


def suppressed(
    table: Table[Any, Any], name: str | None, wait_ms: int, records_max: int | None, bytes_max: int | None
) -> Suppressed:
    """Declare what `table.suppress` makes."""
    result = Table[Any, Any](
        name or f"{table.name}-suppressed",
        default=table.default,
        key_type=table.key_type,
        value_type=table.value_type,
        key_serializer=table.key_serializer,
        value_serializer=table.value_serializer,
        partitions=table.partitions,
        help=f"{table.name}, whose changes are held back",
    )
    for one in (table, result):
        one.be_stamped()
    if table.source is None:
        table.go_by_events()
    held = bytes_table(f"{result.name}-held", help=f"changes of {table.name} that {result.name} has not yet")
    suppress = Suppress(table.changes(), held, result, wait_ms, records_max, bytes_max)
    index = Index(_WHEN, PLACE_BYTES, _place)
    held.go_by(held.name, [index], [Closing(_WHEN, _releasing(suppress, result), deletes=False)])
    body = _holding(suppress, result)
    agent = Agent(
        f"{result.name}-suppress", body, suppress.changes, help=f"holds changes of {table.name} back", keeps=(held,)
    )
    return Suppressed(result, agent)


def _place(key: bytes, row: bytes) -> bytes | None:
    return row[:PLACE_BYTES] if key.startswith(_ROW) and len(row) > 2 * PLACE_BYTES else None


def _holding(suppress: Suppress, result: Table[Any, Any]) -> Callable[[Stream[Any]], Awaitable[None]]:
    """The body of the agent. result: named here, so that it is seen which table the agent writes."""

    async def run(stream: Stream[Any]) -> None:
        assert suppress.result is result
        async for event in stream.events():
            suppress.changed(event)

    return run


def _releasing(suppress: Suppress, result: Table[Any, Any]) -> Callable[[bytes, bytes], None]:
    """What is called with changes whose time has come. result: as above."""

    def release(key: bytes, row: bytes) -> None:
        assert suppress.result is result
        suppress.come(key, row)

    return release
