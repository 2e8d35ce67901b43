"""Waiting for conditions: until one holds, at most so long, with a message that says what did not come true."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
LOOK_EVERY_SECONDS = 0.05
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
        every: seconds between two questions; 0: as usual.
    """
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"within {seconds:.0f} s it did not come true that {what}. {told()}"
        pause(every or LOOK_EVERY_SECONDS)
