"""ReadingView: a shard as agents have it that may not write the table: its topic is all that it is made of.

Such a table has no changelog beside its topic, so what anybody else wrote would be lost with the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from ..errors import ReadOnlyTable
from .shard_view import ShardView


class ReadingView:
    """What the view of an agent that does not write the table is at an event. Values that it changes are refused."""

    __slots__ = ShardView.__slots__
    # The table asks us for each write.
    is_at_event = False
    versions = None
    _shard: Any

    read = ShardView.read
    stored = ShardView.stored
    is_new = ShardView.is_new
    copy = ShardView.copy
    lend = ShardView.lend
    rows = ShardView.rows
    row_key = ShardView.row_key
    scan = ShardView.scan
    scan_index = ShardView.scan_index
    _value = ShardView._value

    def write(self, key: Any, value: Any) -> None:
        """Refused."""
        self._refuse(key)

    def delete(self, key: Any) -> None:
        """Refused."""
        self._refuse(key)

    def discard(self, key: Any) -> None:
        """Refused."""
        self._refuse(key)

    def discard_all(self, keys: Sequence[Any]) -> None:
        """Refused."""
        self._refuse(keys)

    def delete_range(self, start: bytes | None = None, end: bytes | None = None, *, rows_max: int | None = None) -> int:
        """Refused."""
        self._refuse("(a range)")

    def _refuse(self, key: Any) -> NoReturn:
        raise ReadOnlyTable(self._shard.name, key)

    # What the engine calls

    settle = ShardView.settle
    has_written = ShardView.has_written
    check = ShardView.check
    forget = ShardView.forget
