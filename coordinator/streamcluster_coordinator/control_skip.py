"""Where a batch that the client cannot unpack ends: offsets after it are tried, in growing steps, then by halves.

Kafka takes batches by their packed size and librdkafka refuses those that unpack to more than its bound, again at each
try and from each offset in them. How many offsets they have is not told. Pure: it says what to try, others try it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Skip:
    """bad: the newest offset that is known to be in it; good: the oldest that is known not to be."""

    bad: int
    good: int | None = None
    step: int = 1
    # To be tried now.
    offset: int = 0

    def __post_init__(self) -> None:
        self.offset = self.bad + self.step

    def fails(self) -> None:
        """`offset` cannot be unpacked either: another one is to be tried."""
        self.bad = max(self.bad, self.offset)
        self.step *= 2
        # Rounded up: what is right behind the last bad one is the first good one, once both are known.
        self.offset = self.bad + self.step if self.good is None else (self.bad + self.good + 1) // 2

    def works(self) -> bool:
        """There is something else at `offset`. False: it may not be the first; another one is to be tried."""
        self.good = self.offset
        self.offset = (self.bad + self.good) // 2
        if self.good - self.bad > 1:
            return False
        self.offset = self.good
        return True
