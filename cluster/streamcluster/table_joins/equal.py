"""The join of two tables by equal keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from ..events import Event
from ..streams import Stream
from ..tables import Table
from .sides import Kept, Result, Side, time_of


@dataclass(frozen=True, slots=True, eq=False)
class EqualJoin:
    """rows: what it has read of both sides."""

    left: Side
    right: Side
    rows: Table[bytes, bytes]
    result: Result

    def changed(self, event: Event) -> None:
        """A row of either table has changed."""
        message = event.message
        time = time_of(message)
        is_left = message.topic == self.left.changes.name
        own, other = (self.left, self.right) if is_left else (self.right, self.left)
        if (key := message.key) is None or not own.put(self.rows, key, time, message.value):
            return
        mine, partner = Kept(time, message.value), other.get(self.rows, key)
        if partner is not None and partner.data is not None:
            time = max(time, partner.time)
        value = event.value
        if is_left:
            self.result.put(event.key, mine, partner, lambda: (value, other.value(partner)), time)
        else:
            self.result.put(event.key, partner, mine, lambda: (other.value(partner), value), time)


def joining(join: EqualJoin, result: Table[Any, Any]) -> Callable[[Stream[Any]], Awaitable[None]]:
    """The body of its agent. result: named here, so that it is seen which table the agent writes."""

    async def run(stream: Stream[Any]) -> None:
        assert join.result.table is result
        async for event in stream.events():
            join.changed(event)

    return run
