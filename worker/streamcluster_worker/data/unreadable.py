"""PackedBatch: one that the client cannot unpack, and what becomes of its place in the order. Pure."""

from __future__ import annotations

import msgspec

from streamcluster.batch_end import BatchEnd
from streamcluster.errors import UnreadableBatch
from streamcluster.ids import TP


class PackedBatch(msgspec.Struct):
    """A batch of `tp` that begins at `first`. why: what the client says of it; end: the search for what is behind."""

    tp: TP
    first: int
    why: str
    end: BatchEnd

    @classmethod
    def at(cls, tp: TP, first: int, why: str) -> PackedBatch:
        """One that was just met."""
        return cls(tp, first, why, BatchEnd(first))

    def error(self) -> UnreadableBatch:
        """What becomes of the batch's place in the order."""
        last = (self.end.behind or self.end.inside + 1) - 1
        return UnreadableBatch(f"the records at offsets {self.first} to {last} cannot be unpacked: {self.why}")

    def __str__(self) -> str:
        return f"{self.tp}@{self.first}: the records from here on cannot be unpacked: {self.why}"
