"""What all processes of a simulated host share: its name, its disk, its time, and the way to the brokers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from streamcluster.ids import TaskId

from .clock import Clock
from .kafka import Brokers

# A socket between two processes keeps the order of what is sent.
SOCKET_SECONDS = 0.0005


@dataclass(slots=True, eq=False)
class Line:
    """For one coordinator and its workers. dead, paused, cut: what has befallen all of them."""

    name: str
    brokers: Brokers
    clock: Clock
    # Tasks whose state the disk has in full.
    disk: set[TaskId]
    # See that nothing unsafe is so.
    check: Callable[[], None]
    dead: bool = False
    paused: bool = False
    cut: bool = False
    # What waits until the brokers can be reached again, in order.
    waiting: list[Callable[[], None]] = field(default_factory=list)

    def later(self, act: Callable[[], None], least: float = 0.002, most: float = 0.03) -> None:
        """After a while of this host's own."""
        self.clock.after(self.clock.random.uniform(least, most), lambda: None if self.dead else act())

    def soon(self, act: Callable[[], None]) -> None:
        """As a message between its processes: after the effects at hand, in order."""
        self.later(act, SOCKET_SECONDS, SOCKET_SECONDS)

    def through(self, act: Callable[[], None], least: float = 0.002, most: float = 0.03) -> None:
        """After a while, and only when the brokers can be reached."""

        def go() -> None:
            if self.cut:
                self.waiting.append(go)
            else:
                act()

        self.later(go, least, most)

    def heal(self) -> None:
        """The brokers can be reached again."""
        self.cut = False
        waiting, self.waiting = self.waiting, []
        for act in waiting:
            self.later(act)

    def is_gone(self) -> bool:
        """Whether its processes are gone."""
        return self.dead
