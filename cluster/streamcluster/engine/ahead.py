"""ReadAhead: which keys the events behind the current one will probably read, for a table that is keyed as its stream.

The keys of a run are known beforehand, and to look at many of them costs a fraction of what one costs that an event
comes upon: one call of the store for all (RocksDB: 0.9 us for a row that is not there and 3.4 us for one that is,
where a call for each costs 1.8 and 5 us), and none of the frames and exceptions on the way there. So when an event
reads the entry of its own key and memory cannot answer, it is asked what memory lacks of the next events' keys. How
many of them depends on what came of the last time, down to none: for a table whose entries are mostly in memory,
looking ahead costs more than it saves. What was read for nothing is evicted as everything else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..current import cursor_var
from ..ids import TP
from ..tables import SIMPLE_KEYS

# So many keys are looked at, at first and at most. Not more, since what was looked up is to be in the processor's cache
# still when its event comes: of 512 it was not (a count of 3 million keys took 8 % more CPU). RocksDB itself takes 32
# keys at a time. Each is an entry of the table cache until the next commit.
FIRST_KEYS = 64
KEYS_MAX = 128
# Memory must have lacked so many of those that were looked at: one costs 0.2 us, and saves 2 us.
WORTH_PART = 1 / 8
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
        """The identities of the current event's key, if that is `key`, and of the next events'."""
        if self._pause:
            self._pause -= 1
            return []
        cursor = cursor_var.get()
        run = cursor.run if cursor is not None else None
        at = cursor.index() if cursor is not None else None
        if run is None or at is None or (run.tp == self._tp and run.offset(at) <= self._upto):
            return []
        count = min(self._count, len(run.values) - at)
        if count == 1:
            return []
        try:
            if identity_of(run.key(at)) != key:
                self._pause = PAUSE_READS
                return []
            self._tp, self._upto = run.tp, run.offset(at + count - 1)
            decode, first = run.decode_key, run.start + at
            found = [None if data is None else decode(data) for data in run.batch.keys[first : first + count]]
            return found if SIMPLE_KEYS.issuperset(map(type, found)) else [*map(identity_of, found)]
        except Exception:  # noqa: BLE001 (codecs are user code; the event whose key it is will be told)
            self._pause = PAUSE_READS
            return []

    def learn(self, looked_at: int, lacked: int) -> None:
        """Of so many keys, memory lacked so many."""
        if lacked >= looked_at * WORTH_PART:
            self._count = min(KEYS_MAX, self._count * 2)
        elif self._count > FIRST_KEYS:
            self._count //= 2
        else:
            self._pause = PAUSE_READS
