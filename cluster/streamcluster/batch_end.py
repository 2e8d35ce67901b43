"""Where a batch that the Kafka client cannot unpack ends: the search for the first offset behind it. Pure.

Brokers take batches by their packed size and the client refuses those that unpack to more than its bound, again at
each try and from each offset in them. It says where such a batch begins and not where it ends. So offsets further and
further behind are asked for, until one gives something else, and then those in between; others ask, and tell what came.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class BatchEnd:
    """inside: the last offset that is known to be in it; behind: the first that is known to be behind it."""

    inside: int
    behind: int | None = None
    _step: int = 1

    @property
    def is_found(self) -> bool:
        """`behind` is the first offset behind it."""
        return self.behind == self.inside + 1

    @property
    def offset(self) -> int:
        """To read from next: while it is not found, what comes from there goes to `is_inside` or `is_behind`."""
        if self.behind is None:
            return self.inside + self._step
        return self.behind if self.is_found else (self.inside + self.behind) // 2

    def is_inside(self) -> None:
        """Reading from `offset` met this batch again."""
        self.inside = self.offset
        self._step *= 2

    def is_behind(self, other: int | None = None) -> None:
        """Reading from `offset` did not meet it. other: where another such batch begins that it met instead."""
        self.behind = self.offset if other is None else max(self.inside + 1, min(self.offset, other))
