"""Clock: where the engine's time comes from: the loop's, or the test driver's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Alarm(Protocol):
    """A scheduled call."""

    def cancel(self) -> None:
        """Do not call any more."""
        ...


class Clock(Protocol):
    """Monotonic time in seconds, the time of day, and calls at a time."""

    def now(self) -> float: ...

    def wall(self) -> float:
        """Seconds since the epoch."""
        ...

    def call_later(self, seconds: float, fun: Callable[[], object]) -> Alarm: ...


class LoopClock:
    """The running loop's clock."""

    __slots__ = ()

    def now(self) -> float:
        """Monotonic seconds."""
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def call_later(self, seconds: float, fun: Callable[[], object]) -> Alarm:
        """Call `fun` in `seconds`."""
        return asyncio.get_running_loop().call_later(max(0.0, seconds), fun)


async def sleep(clock: Clock, seconds: float) -> None:
    """Wait on `clock`."""
    done = asyncio.get_running_loop().create_future()

    def wake() -> None:
        if not done.done():
            done.set_result(None)

    alarm = clock.call_later(seconds, wake)
    try:
        await done
    finally:
        alarm.cancel()
