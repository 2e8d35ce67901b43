"""The bounds of a join of two streams, as users give them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ..checks import Seconds
from ..errors import AppError
from ..tables import Table
from ..topics import Topic
from .joining import AsOf, Span


@dataclass(frozen=True, slots=True)
class Bounds:
    """As they were given."""

    within: Seconds | None = None
    before: Seconds | None = None
    after: Seconds | None = None
    grace: Seconds | None = None
    late: Topic | None = None


def span_of(what: str, bounds: Bounds, keeps_left: bool, keeps_right: bool) -> Span:
    """The same in milliseconds.

    Raises:
        AppError: what would lose data by a default is left out, or they contradict each other.
    """
    if bounds.late is not None and not isinstance(bounds.late, Topic):
        raise AppError(f"{what}: late={bounds.late!r} is no topic: give app.topic(...).")
    if bounds.within is not None:
        if bounds.before is not None or bounds.after is not None:
            raise AppError(f"{what}: give within=, or before= and after=.")
        before = after = _ms(f"{what}: within", bounds.within)
        if before < 0:
            raise AppError(f"{what}: within={bounds.within!r} is negative.")
    elif bounds.before is None or bounds.after is None:
        raise AppError(f"{what}: say how far apart two events may be: within=, or before= and after=, in seconds.")
    else:
        before, after = _ms(f"{what}: before", bounds.before), _ms(f"{what}: after", bounds.after)
        if before + after < 0:
            raise AppError(f"{what}: nothing is between before={bounds.before!r} and after={bounds.after!r}.")
    if bounds.grace is None and (keeps_left or keeps_right):
        raise AppError(
            f"{what}: say how late an event may come, grace=, in seconds: what has found no partner comes out that "
            "much later, and is final."
        )
    grace = 0 if bounds.grace is None else _ms(f"{what}: grace", bounds.grace)
    if grace < 0:
        raise AppError(f"{what}: grace={bounds.grace!r} is negative.")
    return Span(before, after, grace, keeps_left, keeps_right)


def as_of_bounds(what: str, table: Table[Any, Any], bounds: Bounds, keeps_left: bool) -> tuple[Topic, AsOf]:
    """The topic whose versions a join with this table meets, and how.

    Raises:
        AppError: it keeps none, or bounds in time were given that mean nothing here.
    """
    if table.source is None or table.history_ms is None:
        raise AppError(
            f"{what}({table.name!r}, as_of=True): the table keeps no versions: declare it with source= (its topic) and "
            "history= (for how many seconds)."
        )
    if bounds != Bounds(grace=bounds.grace):
        raise AppError(f"{what}(table): it takes no bounds in time: history= of the table says how far back it goes.")
    grace = 0 if bounds.grace is None else _ms(f"{what}: grace", bounds.grace)
    if not 0 <= grace <= table.history_ms:
        raise AppError(
            f"{what}({table.name!r}, as_of=True): grace={bounds.grace!r}: events can wait no longer than the table's "
            f"history= of {table.history_ms / 1000:g} s."
        )
    return table.source, AsOf(table.history_ms, keeps_left, grace)


def _ms(what: str, value: object) -> int:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not abs(seconds) < 1e12:
        raise AppError(f"{what}={value!r} is no duration: give a number of seconds, or a timedelta.")
    return round(seconds * 1000)
