"""RestingView: what a coroutine's shard is while it is at no event, for what it has started beside its events.

An asyncio task or a thread that an agent starts has the agent's context, and goes on when the event is finished. What
it would write then belongs to no event, so no commit could carry it with the position of one: it is refused, and said.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, NoReturn

from ..current import cursor_var
from ..errors import NoEventInHand
from ..tables import IMMUTABLE
from .shard_view import ShardView

logger = logging.getLogger("streamcluster")


class RestingView:
    """A ShardView becomes one, and is one again at its coroutine's next event, by its class alone.

    So that a write at an event pays nothing for this.
    """

    __slots__ = ShardView.__slots__
    is_at_event = False
    versions = None
    _shard: Any

    # What a table calls

    def read(self, key: Any) -> Any:
        """A copy of the value of `key`, as outside of agents; KeyError when there is none."""
        value = self._shard.stored(key)
        return value if type(value) in IMMUTABLE else self._shard.copy(key, value)

    stored = read

    def is_new(self, _key: Any, _index: str, _place: int) -> bool:
        """It is not written here."""
        return False

    def write(self, key: Any, value: Any) -> None:
        """Refused."""
        self._refuse(key)

    def write_at(self, key: Any, _value: Any, _at: int) -> None:
        """Refused."""
        self._refuse(key)

    def scan_dated(self, *arguments: Any, **options: Any) -> NoReturn:
        """Refused: who asks for it is about to write."""
        self._refuse(arguments)

    def hand(self, _key: Any, _at: int) -> None:
        """It is a copy."""

    def delete(self, key: Any) -> None:
        """Refused."""
        self._refuse(key)

    def delete_range(self, start: bytes | None = None, end: bytes | None = None, *, rows_max: int | None = None) -> int:
        """Refused."""
        self._refuse("(a range)")

    def lend(self, key: Any, value: Any) -> None:
        """A default that is changed in place outside of an event stays what it is: a value of its own."""

    def rows(self) -> Iterator[tuple[Any, Any]]:
        """Every entry."""
        return iter(self._shard.rows())

    def _refuse(self, key: Any) -> NoReturn:
        cursor = cursor_var.get()
        owner = cursor.owner if cursor is not None else "an agent"
        error = NoEventInHand(self._shard.name, key, owner)
        # Nobody may look at what such a task raises.
        logger.error("%s", error)
        raise error

    # What the engine calls

    settle = ShardView.settle
    has_written = ShardView.has_written
    check = ShardView.check
    forget = ShardView.forget


def rest(view: ShardView) -> None:
    """Its coroutine is at no event."""
    view.__class__ = RestingView  # type: ignore[assignment]  # The same slots, so it is the same object.


def wake(view: ShardView) -> None:
    """Its coroutine is at an event."""
    view.__class__ = view.awake
