"""Pacing: when the next commit is due. Pure: time comes in.

Under low load a commit follows the last one after commit_interval_min; a loop that is never idle doubles the interval
up to commit_interval_max, so that the cost of a commit is spread over more events. A fixed commit_interval fixes it.
"""

from __future__ import annotations

from ..settings import Settings

# What grows where the minimum is nothing.
FIRST_SECONDS = 0.001


class Pacing:
    """The time of the next commit."""

    __slots__ = ("_fixed", "_interval", "_last_end", "_maximum", "_minimum")

    def __init__(self, settings: Settings, now: float) -> None:
        self._fixed = settings.commit_interval
        self._minimum = settings.commit_interval_min
        self._maximum = max(settings.commit_interval_max, self._minimum)
        self._interval = self._minimum if self._fixed is None else self._fixed
        self._last_end = now

    def due(self) -> float:
        """When the next commit may start."""
        return self._last_end + self._interval

    def committed(self, now: float) -> None:
        """A commit has ended."""
        self._last_end = now

    def loaded(self, *, saturated: bool) -> None:
        """One turn of the loop: saturated when it consumed as much as it may at once."""
        if self._fixed is None:
            if saturated:
                wanted = 2.0 * max(self._interval, FIRST_SECONDS)
            else:
                wanted = self._interval / 2.0 if self._interval > FIRST_SECONDS else 0.0
            self._interval = min(self._maximum, max(self._minimum, wanted))
