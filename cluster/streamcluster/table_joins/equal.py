"""The join of two tables by equal keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ..events import Event
from ..streams import Stream
from ..tables import Table
from .sides import Kept, Result, Side, time_of


class Joined(Protocol):
    """What follows the changes of two tables."""

    @property
    def result(self) -> Result: ...

    def changed(self, event: Event) -> None:
        """A row of either table has changed."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class EqualJoin:
    """rows: what it has read of both sides."""

    left: Side
    right: Side
    rows: Table[bytes, bytes]
    result: Result

    def changed(self, event: Event, time: int | None = None) -> None:
        """A row of either table has changed. time: of which time that is, in ms; None: as the changelog says."""
        message = event.message
        time = time_of(message) if time is None else time
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


def joining(join: Joined, result: Table[Any, Any]) -> Callable[[Stream[Any]], Awaitable[None]]:
    """The body of its agent. result: named here, so that it is seen which table the agent writes."""

    async def run(stream: Stream[Any]) -> None:
        assert join.result.table is result
        async for event in stream.events():
            join.changed(event)

    return run
