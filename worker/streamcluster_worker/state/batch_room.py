"""How many records a thread takes from a consumer at once, so that they are of so many bytes at most."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from streamcluster.batch import Batch

# The first batch, whose records nobody has seen; and of how many of a batch the size is looked at.
_RECORDS_FIRST = 64
_SAMPLE_RECORDS = 16
# A message of the client beside its key and value.
_RECORD_OVERHEAD_BYTES = 400


class BatchRoom:
    """For one consumer. records_max, bytes_max: of one batch."""

    __slots__ = ("_bytes_max", "_record_bytes", "_records_max")

    def __init__(self, records_max: int, bytes_max: int) -> None:
        self._records_max = records_max
        self._bytes_max = bytes_max
        # The average record of the last batch, or more where one before it had larger ones; 0 before the first.
        self._record_bytes = 0

    def records(self) -> int:
        """How many to take: one at least."""
        if not self._record_bytes:
            return min(self._records_max, _RECORDS_FIRST)
        return max(1, min(self._records_max, self._bytes_max // self._record_bytes))

    def took(self, batches: Sequence[Batch]) -> None:
        """This is what came."""
        step = sum(len(batch.values) for batch in batches) // _SAMPLE_RECORDS + 1
        columns = (column[::step] for batch in batches for column in (batch.keys, batch.values))
        sample = [len(data or b"") for data in chain.from_iterable(columns)]
        if sample:
            # Each record is in it with its key and with its value.
            average = 2 * sum(sample) // len(sample) + _RECORD_OVERHEAD_BYTES
            self._record_bytes = max(average, self._record_bytes * 7 // 8)
