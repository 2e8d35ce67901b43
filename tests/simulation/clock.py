"""Virtual time: what is to happen, in order. Ties are broken by the order in which things were planned."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from streamcluster_coordinator.records.report import HostReport


@dataclass(slots=True)
class Clock:
    """For one world. publish, announce: how a host's records reach all others; the world sets them."""

    random: random.Random
    now: float = 1000.0
    planned: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    numbers: itertools.count[int] = field(default_factory=itertools.count)
    publish: Callable[[HostReport], None] = lambda _: None
    announce: Callable[[], None] = lambda: None

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Do it then."""
        heapq.heappush(self.planned, (self.now + seconds, next(self.numbers), act))

    def run_until(self, end: float) -> None:
        """Let everything happen that is due before `end`."""
        while self.planned and self.planned[0][0] <= end:
            self.now, _, act = heapq.heappop(self.planned)
            act()
        self.now = end
