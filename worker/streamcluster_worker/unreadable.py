"""Batch: one that the client cannot unpack, and the search for the first offset behind it. Pure.

The client says where such a batch begins and not where it ends, and asking for any offset in it gives the same error.
So offsets further and further behind are asked for, until one gives something else, and then those in between.
"""

from __future__ import annotations

from dataclasses import dataclass

from streamcluster.errors import UnreadableBatch
from streamcluster.ids import TP


@dataclass(slots=True)
class Batch:
    """A batch of `tp` that begins at `first`. why: what the client says of it."""

    tp: TP
    first: int
    why: str
    # The last offset that is known to be in it, and the first that is known to be behind it.
    inside: int
    behind: int | None = None
    _step: int = 1

    @classmethod
    def at(cls, tp: TP, first: int, why: str) -> Batch:
        """One that was just met."""
        return cls(tp, first, why, inside=first)

    @property
    def asked(self) -> int:
        """The offset to read from next; the answer goes to `is_inside` or `is_behind`."""
        return self.inside + self._step if self.behind is None else (self.inside + self.behind) // 2

    @property
    def is_found(self) -> bool:
        """`behind` is the first offset behind it."""
        return self.behind == self.inside + 1

    def is_inside(self) -> None:
        """Reading from `asked` met this batch again."""
        self.inside = self.asked
        self._step *= 2

    def is_behind(self, other: int | None = None) -> None:
        """Reading from `asked` did not meet it. other: where another such batch begins that it met instead."""
        asked = self.asked
        self.behind = asked if other is None else max(self.inside + 1, min(asked, other))

    def error(self) -> UnreadableBatch:
        """What becomes of the batch's place in the order."""
        last = (self.behind or self.inside + 1) - 1
        return UnreadableBatch(f"the records at offsets {self.first} to {last} cannot be unpacked: {self.why}")

    def __str__(self) -> str:
        return f"{self.tp}@{self.first}: the records from here on cannot be unpacked: {self.why}"
