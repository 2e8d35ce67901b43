"""Lapsing: rows of one table in one task that nobody needs any more before they were written. Each cut forgets them.

Where very many events come at once, as after a stop, that is most of them: neither the changelog nor the store is ever
given what would be deleted a moment later.
"""

from __future__ import annotations

from collections.abc import Collection

from ...operated import Lapsed
from ..shards import CachedShard
from .due import DueSource
from .operator_time import OperatorTime


class Lapsing:
    """lapsed: which those are (`Operated.lapsed`); operator: by whose time; sources: where the others come due.

    Who writes rows that have dates tells of each (`OperatorTime.expect`); of the others the cut tells.
    """

    __slots__ = ("_lapsed", "_sources", "operator", "shard")

    def __init__(
        self, shard: CachedShard, lapsed: Lapsed, operator: OperatorTime, sources: Collection[DueSource]
    ) -> None:
        self.shard = shard
        self.operator = operator
        self._lapsed = lapsed
        self._sources = sources

    def forget(self, last: int) -> None:
        """At a cut. last: the operator's time as of the one before."""
        shard, operator = self.shard, self.operator
        now = operator.finished
        if not shard.dated:
            shard.lapse(self._lapsed, now)
            if shard.dirty:
                operator.expect(last)
        elif any(source.waits(now, uncut=True) for source in self._sources):
            operator.lapsed_total += shard.lapse(self._lapsed, now)
