"""Waiting for conditions: until one holds, at most so long, with a message that says what did not come true."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
# At first; what takes long is looked at less often, since each look costs CPU time, the app's too.
LOOK_EVERY_SECONDS = 0.05
LOOK_EVERY_SECONDS_MAX = 0.2
_LOOKS = 20
_NEVER = threading.Event()


def pause(seconds: float) -> None:
    """Between two looks at a condition, or two faults."""
    _NEVER.wait(seconds)


def eventually(
    condition: Callable[[], T], seconds: float, what: str, told: Callable[[], str] = lambda: "", every: float = 0
) -> T:
    """Ask until the answer is true, and return it.

    Args:
        condition: asked again and again.
        seconds: after so many the test fails.
        what: what should have come true, for the message.
        told: more for the message, for example the end of a log.
        every: seconds between two questions, for what may pass; 0: as usual.
    """
    begin = time.monotonic()
    deadline = begin + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"within {seconds:.0f} s it did not come true that {what}. {told()}"
        usual = min(max((time.monotonic() - begin) / _LOOKS, LOOK_EVERY_SECONDS), LOOK_EVERY_SECONDS_MAX)
        pause(every or usual)
