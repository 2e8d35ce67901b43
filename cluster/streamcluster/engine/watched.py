"""Watched: copies of a table's values, handed to events that must not change them: who does so is told of, once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..errors import UnencodableEntry
from .rows import RowCoder


class Watched:
    """Those of one coroutine, until the events that have them are finished. coder: of the table."""

    __slots__ = ("_coder", "_found", "_told")

    def __init__(self, coder: RowCoder) -> None:
        self._coder = coder
        # Keys and copies, what these were, where the event is, and who is told.
        self._found: list[tuple[Any, Any, bytes, object, Callable[[], None]]] = []
        # The event that was told of last.
        self._told: object = None

    def __bool__(self) -> bool:
        return bool(self._found) or self._told is not None

    def copy(self, key: Any, value: Any, place: object, changed: Callable[[], None]) -> Any:
        """A copy for the event at `place`: `changed` is called, once for an event, when it has changed one in place."""
        if self._found and self._found[-1][3] != place:
            self.finish()
        encoded = self._coder.encode_of(key, value)
        handed = self._coder.decode(self._coder.key_bytes(key), encoded)
        self._found.append((key, handed, encoded, place, changed))
        return handed

    def finish(self) -> None:
        """The event is finished."""
        found, self._found = self._found, []
        for key, value, before, _, changed in found:
            encoded = None
            # What cannot be encoded has changed, and is written nowhere.
            with suppress(UnencodableEntry):
                encoded = self._coder.encode_of(key, value)
            if encoded != before:
                changed()
                break
        self._told = None

    def is_first(self, place: object) -> bool:
        """Whether this is the first that is told of the event there, which may write several windows."""
        if self._found and self._found[-1][3] != place:
            self.finish()
        if place is not None and place == self._told:
            return False
        self._told = place
        return True

    def forget(self) -> None:
        """A rollback: the events come again."""
        self._found.clear()
        self._told = None
