"""Does what a schedule says, each fault at its time, and undoes it when its time is over.

Undoing is tried again and again until it is done, so that a broker that cannot start while another is paused holds up
nothing. What a fault does to whom is decided in host_faults.py and broker_faults.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.ledger.faults import Fault
from tests.process.waiting import eventually, pause

TICK_SECONDS = 0.02


@dataclass(slots=True)
class Done:
    """A fault that was done.

    what: in words; host: that it hit as a whole; victims: processes that were hit; tasks: theirs by the last status;
    undo: tries to undo it and says whether that is done; undone_at: when it was, None when there is nothing to undo.
    """

    fault: Fault
    at: float
    what: str
    host: str = ""
    victims: frozenset[int] = frozenset()
    tasks: frozenset[str] = frozenset()
    undo: Callable[[], bool] | None = None
    undone_at: float | None = None

    @property
    def is_open(self) -> bool:
        """It is still to be undone."""
        return self.undo is not None and self.undone_at is None


# Does a fault; None: there is nothing to do it to.
Action = Callable[[Fault], Done | None]


@dataclass(slots=True)
class Chaos:
    """A schedule at work. actions: by kind; say: is told each fault; done: what was done, in order."""

    actions: Mapping[str, Action]
    say: Callable[[str], object]
    done: list[Done] = field(default_factory=list)

    def go_on(self, faults: Sequence[Fault], seconds: float, look: Callable[[], object]) -> None:
        """Do the faults; `look` is called in between, and may raise."""
        begin = time.monotonic()
        coming = list(faults)
        while (now := time.monotonic() - begin) < seconds:
            while coming and coming[0].at <= now:
                self._do(coming.pop(0))
            self._undo(time.monotonic())
            look()
            pause(TICK_SECONDS)

    def settle(self, seconds: float) -> None:
        """Undo everything that is left, and wait until it is."""

        def is_over() -> bool:
            self._undo(float("inf"))
            return not any(done.is_open for done in self.done)

        eventually(is_over, seconds, "every fault is undone", lambda: str([one for one in self.done if one.is_open]))

    def _do(self, fault: Fault) -> None:
        done = self.actions[fault.kind](fault)
        if done is None:
            self.say(f"{fault.at:7.1f} s  ({fault.kind}: nobody to do it to)")
            return
        self.done.append(done)
        self.say(f"{fault.at:7.1f} s  {done.what}")

    def _undo(self, now: float) -> None:
        for done in self.done:
            if done.is_open and done.at + done.fault.seconds <= now and done.undo is not None and done.undo():
                done.undone_at = time.monotonic()
                self.say(f"{' ':9}  undone after {done.undone_at - done.at:.1f} s: {done.what}")


def lasting(fault: Fault) -> str:
    """` for 3 s`, or nothing."""
    return f" for {fault.seconds:g} s" if fault.seconds else ""
