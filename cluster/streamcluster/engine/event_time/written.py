"""Written: when the entries of a table that expire were written, noted at the cut that has them."""

from __future__ import annotations

from ...times import NO_TIME, place_of
from ..rows import DELETED, Changes
from ..shards import CachedShard
from .operator_time import OperatorTime


class Written:
    """Of one table in one task. times: the shard with a time for each row key."""

    __slots__ = ("_operator", "table", "times")

    def __init__(self, table: str, times: CachedShard, operator: OperatorTime) -> None:
        self.table = table
        self.times = times
        self._operator = operator

    def note(self, changes: Changes, wall: int) -> Changes:
        """These rows are in the next cut: what that has of their times."""
        at = self._now(wall)
        times, place = self.times, place_of(at)
        for key, value in changes.items():
            if value is None:
                times.memory.forget(key)
                times.deleted.add(key)
                times.dirty[key] = DELETED
            else:
                times.deleted.discard(key)
                times.values[key] = times.dirty[key] = place
        self._operator.expect(at)
        return times.encoded_changes()

    def _now(self, wall: int) -> int:
        """The latest that an input is at: T may be far behind, and an entry is not to go as soon as it comes up.

        Where no record has moved time yet, that is the time of day.
        """
        latest = self._operator.latest()
        return wall if latest == NO_TIME else latest
