"""MemoryPool: what table entries, records that wait, and output may take together, and how much of it each may.

Whoever keeps within a quarter is never held up by the others. Beyond that, the cache of table entries takes what
records leave, since it can be given back at any time; records take what it leaves.
When the process has more memory than was estimated (what user code holds, what allocators keep), `squeeze` makes
everything smaller until it fits.

It knows no process, no clock and no partition: it is told what there is.
"""

from __future__ import annotations

from ..memory import Shares

# Parts of the pool.
LEAST_PART = 4
CACHE_MOST = 3 / 4
OUTPUT_PART = 8
# What one step may read into the cache, and what may be written and not committed, as parts of what entries in use may
# take. It cannot be evicted until it is in a transaction.
STEP_PART = 8
UNCOMMITTED_PART = 4
# The least that is left of the pool, and the steps towards it and back.
SCALE_LEAST = 1 / 8
SCALE_DOWN = 0.8
SCALE_UP = 1.05
# Of what the worker may take: above the first all shares shrink, below the second they grow again.
HIGH = 0.92
LOW = 0.85


class MemoryPool:
    """The pool of one worker. The sizes of its parts change; whoever uses them asks each time."""

    __slots__ = ("_pool", "_shares", "cache_bytes", "output_bytes", "record_bytes", "scale")

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._pool = shares.pool
        # 1 while everything fits.
        self.scale = 1.0
        # What was held when it was last looked at.
        self.cache_bytes = 0
        self.record_bytes = 0
        self.output_bytes = 0

    @property
    def cache_bytes_max(self) -> int:
        """What decoded table entries may take. An explicit setting is the most; it does shrink with the rest."""
        if self._shares.table_cache is not None:
            return int(self._shares.table_cache * self.scale)
        left = self._pool - self.record_bytes - self.output_bytes
        return int(min(self._pool * CACHE_MOST, max(self._pool // LEAST_PART, left)) * self.scale)

    @property
    def records_bytes_max(self) -> int:
        """What records may take that wait for agents, with their decoded values."""
        if self._shares.records is not None:
            return int(self._shares.records * self.scale)
        left = self._pool - self.cache_bytes - self.output_bytes
        return int(max(self._pool // LEAST_PART, min(self._pool // 2, left)) * self.scale)

    @property
    def output_bytes_max(self) -> int:
        """What agents may have sent that Kafka's client has not been given."""
        part = self._shares.outbox if self._shares.outbox is not None else self._pool // OUTPUT_PART
        return int(part * self.scale)

    @property
    def _in_use_max(self) -> int:
        """What entries may take that are in use. However small a cache is set, work goes on in batches."""
        return max(self.cache_bytes_max, int(self._pool // LEAST_PART * self.scale))

    @property
    def step_bytes_max(self) -> int:
        """What one step may bring into the cache."""
        return self._in_use_max // STEP_PART

    @property
    def uncommitted_bytes_max(self) -> int:
        """How much may be changed in the cache before a commit is due."""
        return self._in_use_max // UNCOMMITTED_PART

    def squeeze(self, resident_bytes: int) -> bool:
        """So much memory the process has: whether that is too much, and something must go."""
        if resident_bytes > HIGH * self._shares.worker:
            self.scale = max(SCALE_LEAST, self.scale * SCALE_DOWN)
            return True
        if resident_bytes < LOW * self._shares.worker:
            self.scale = min(1.0, self.scale * SCALE_UP)
        return False

    @property
    def is_least(self) -> bool:
        """Nothing is left to give back."""
        return self.scale <= SCALE_LEAST
