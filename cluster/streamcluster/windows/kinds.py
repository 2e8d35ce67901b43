"""Which windows a timestamp is in, and when they are over: values, in whole milliseconds since the epoch.

tumbling, hopping, days    [start, end)     over when T >= end + grace
session                    [first, last]    over when T > last + gap + grace
sliding                    [start, end]     over when T > end + grace
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import ClassVar, NamedTuple
from zoneinfo import ZoneInfo

from ..errors import AppError

Span = tuple[int, int]
# Windows that close at a time, of all keys.
_WINDOWS = 4096
DAY_MS = 86_400_000


class Window(NamedTuple):
    """A window as users see it, in seconds since the epoch. The ends of sessions and sliding windows belong to them."""

    start: float
    end: float


def window_of(span: Span) -> Window:
    """The same in seconds."""
    return Window(span[0] / 1000, span[1] / 1000)


@lru_cache(_WINDOWS)
def window_between(start: int, end: int) -> Window:
    """The same of bounds that come again and again: one object for all."""
    return window_of((start, end))


@dataclass(frozen=True, slots=True)
class Hopping:
    """Windows of `size` that begin each `step`, counted from `offset` on; tumbling when both are the same."""

    size: int
    step: int
    offset: int = 0
    end_belongs: ClassVar[bool] = False
    reach: ClassVar[int] = 0

    def spans(self, at: int) -> Sequence[Span]:
        """The windows of a timestamp, oldest first. After 1970 none begins before that, unless it is the only one."""
        size, step = self.size, self.step
        if size == step:
            last = at - (at - self.offset) % step
            return ((last, last + size),)
        first, last = self.first_and_last(at)
        return [(start, start + size) for start in range(first, last + 1, step)]

    def first_and_last(self, at: int) -> Span:
        """Where the first and the last of them begin."""
        size, step = self.size, self.step
        last = at - (at - self.offset) % step
        first = last - (last - at + size - 1) // step * step
        if at >= 0:
            first = min(last, first + -(-max(0, -first) // step) * step)
        return first, last

    def current(self, at: int) -> Span:
        """The newest of them."""
        last = at - (at - self.offset) % self.step
        return last, last + self.size


@dataclass(frozen=True, slots=True)
class Days:
    """Windows of whole days of a time zone, of 23 to 25 hours. offset: so long after midnight they begin."""

    days: int
    zone: ZoneInfo
    offset: int = 0
    end_belongs: ClassVar[bool] = False
    reach: ClassVar[int] = 0

    def spans(self, at: int) -> Sequence[Span]:
        """The window of a timestamp.

        Raises:
            AppError: it is in no year that the calendar has.
        """
        try:
            return (self._span(at),)
        except (ValueError, OverflowError) as error:
            raise AppError(
                f"the time {at} ms is on no day of {self.zone.key}: the calendar has the years 1 to 9999. Timestamps "
                "are milliseconds since 1970: look whether the sender has another unit."
            ) from error

    def _span(self, at: int) -> Span:
        local = datetime.fromtimestamp(at / 1000, self.zone).replace(tzinfo=None)
        day = (local - timedelta(milliseconds=self.offset)).toordinal() - _EPOCH
        day -= day % self.days
        # Where the clock is put back over midnight, a day has times on both sides of its begin.
        while at < self._begin(day):
            day -= self.days
        while at >= self._begin(day + self.days):
            day += self.days
        return self._begin(day), self._begin(day + self.days)

    def current(self, at: int) -> Span:
        """The same."""
        return self.spans(at)[0]

    def _begin(self, day: int) -> int:
        midnight = datetime.combine(date.fromordinal(day + _EPOCH), datetime.min.time())
        local = midnight + timedelta(milliseconds=self.offset)
        return round(local.replace(tzinfo=self.zone).timestamp() * 1000)


_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class Session:
    """Events of a key that are no more than `gap` apart."""

    gap: int
    end_belongs: ClassVar[bool] = True

    @property
    def reach(self) -> int:
        """How long after its end a session may still grow."""
        return self.gap


@dataclass(frozen=True, slots=True)
class Sliding:
    """Events of a key that are no more than `size` apart: see `sliding.py`."""

    size: int
    end_belongs: ClassVar[bool] = True
    reach: ClassVar[int] = 0

    def current(self, at: int) -> Span:
        """The window of what came up to a time."""
        return at - self.size, at

    @property
    def kept(self) -> int:
        """How long windows are kept when they are over: others may be made of them."""
        return self.size + 1


Kind = Hopping | Days | Session | Sliding


def is_single(kind: Kind) -> bool:
    """Each time is in one window, which it does not change."""
    return not isinstance(kind, (Session, Sliding)) and (not isinstance(kind, Hopping) or kind.size == kind.step)


def span_of(kind: Kind) -> int:
    """So long before its end may the newest event of a window be, in ms."""
    match kind:
        case Hopping() | Sliding():
            return kind.size
        case Days():
            # When the clock is put back the last one has an hour more.
            return kind.days * DAY_MS + DAY_MS // 24
        case Session():
            return 0


def definition_of(kind: Kind) -> dict[str, int | str]:
    """What makes it what it is, by the names of the arguments, in ms."""
    match kind:
        case Hopping():
            return {"size": kind.size, "step": kind.step, "offset": kind.offset}
        case Days():
            return {"size": kind.days * DAY_MS, "tz": kind.zone.key or "", "offset": kind.offset}
        case Session():
            return {"gap": kind.gap}
        case Sliding():
            return {"sliding": kind.size}


# Clocks of time zones differ by whole quarters of an hour.
_QUARTER_MS = 900_000


def is_nested(inner: Mapping[str, int | str], outer: Mapping[str, int | str]) -> bool:
    """No window of `outer` ends within one of `inner`; both as `definition_of` has them, empty where there are none."""
    if not {"size", "gap", "sliding"} & outer.keys():
        return True
    size, offset = inner.get("size"), inner.get("offset")
    if "size" not in outer or not isinstance(size, int) or not isinstance(offset, int):
        return False
    ends = [outer["size"], outer.get("step", 0), int(outer["offset"]) - offset]
    if "tz" in inner:
        # Days of another zone, or from another time on, end at other times.
        return outer.get("tz") == inner["tz"] and all(int(end) % size == 0 for end in ends)
    if inner.get("step") != size:
        return False
    return all(int(end) % size == 0 for end in (*ends, *((_QUARTER_MS, offset) if "tz" in outer else ())))


def is_over(kind: Kind, end: int, grace: int, now: int) -> bool:
    """A window that ends there takes no event any more when the operator's time is `now`."""
    over = end + kind.reach + grace
    return over < now if kind.end_belongs else over <= now
