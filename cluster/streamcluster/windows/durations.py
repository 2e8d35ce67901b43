"""Durations as users give them, in whole milliseconds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ..checks import Seconds
from ..errors import AppError


def milliseconds(what: str, value: Seconds) -> int:
    """A duration in whole milliseconds, above 0 and any fraction of a second."""
    seconds = value if isinstance(value, (int, float)) and not isinstance(value, bool) else _seconds(what, value)
    found = round(seconds * 1000) if abs(seconds) < float("inf") else 0
    if found < 1:
        raise AppError(f"{what}={value!r}: give seconds or a timedelta, a millisecond or more.")
    return found


def _seconds(what: str, value: Any) -> float:
    try:
        return float(value.total_seconds())
    except AttributeError:
        raise AppError(f"{what}={value!r} is no duration: give a number of seconds, or a timedelta.") from None


def from_zero(what: str, value: Seconds) -> int:
    """The same, of what may be 0."""
    return 0 if value in (0, timedelta()) else milliseconds(what, value)


def at_least_zero(what: str, value: Seconds | None) -> int:
    """The same, of what may be 0 or left out."""
    return 0 if value is None else from_zero(what, value)
