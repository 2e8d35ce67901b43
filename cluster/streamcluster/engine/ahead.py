"""ReadAhead: which keys the events behind the current one will probably read, for a table that is keyed as its stream.

A read that memory cannot answer costs RocksDB 6 us; of thousands of keys at once, in order, each costs 3 to 4 us. The
keys of a run are known beforehand. So when an event reads the entry of its own key and memory does not have it, those
of the next events are read with it. How many depends on what came of the last time, down to none: for a table whose
entries are mostly in memory, or not there yet, looking ahead costs more than it saves. What was read for nothing is
evicted as everything else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..current import cursor_var
from ..ids import TP

# So many keys are looked at, at first and at most. Each is an entry of the table cache until the next commit.
FIRST_KEYS = 64
KEYS_MAX = 4096
# Of those that were looked at, so many must have been worth it.
WORTH_PART = 1 / 4
# After so many reads without it, looking ahead is tried again.
PAUSE_READS = 1000


class ReadAhead:
    """For one shard."""

    __slots__ = ("_count", "_pause", "_tp", "_upto")

    def __init__(self) -> None:
        self._count = FIRST_KEYS
        # Reads to come before another try.
        self._pause = 0
        # The partition that was looked at last, and up to which record.
        self._tp: TP | None = None
        self._upto = 0

    def keys(self, key: Any, identity_of: Callable[[Any], Any]) -> list[Any]:
        """The identities of the next events' keys, when `key` is the current event's."""
        if self._pause:
            self._pause -= 1
            return []
        cursor = cursor_var.get()
        run = cursor.run if cursor is not None else None
        at = cursor.index() if cursor is not None else None
        if run is None or at is None or (run.tp == self._tp and run.offset(at) <= self._upto):
            return []
        found: list[Any] = []
        try:
            if identity_of(run.key(at)) != key:
                self._pause = PAUSE_READS
                return []
            last = min(at + self._count, len(run.values) - 1)
            self._tp, self._upto = run.tp, run.offset(last)
            for index in range(at + 1, last + 1):
                found.append(identity_of(run.key(index)))
        except Exception:  # noqa: BLE001 (codecs are user code; the event whose key it is will be told)
            return found
        return found

    def learn(self, looked_at: int, worth: int) -> None:
        """Of so many keys, so many were not in memory and in the store."""
        if worth >= looked_at * WORTH_PART:
            self._count = min(KEYS_MAX, self._count * 2)
        elif self._count > FIRST_KEYS:
            self._count //= 2
        else:
            self._pause = PAUSE_READS
