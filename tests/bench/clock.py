"""Lets time pass. A bench samples at intervals and paces by the clock, which tests must not do: hence one place."""

from __future__ import annotations

import time


def pause(seconds: float) -> None:
    """Wait until the next sample, or for the next piece of a fixed rate."""
    time.sleep(seconds)
