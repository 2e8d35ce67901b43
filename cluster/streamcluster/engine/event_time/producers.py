"""Producers: the watermark of one partition of a repartition topic, by the marks of the tasks that write it.

    watermark = the least T of all producers that are not idle

So a task that is slow, or has stopped, holds the time back behind it. Timestamps of the records there do not count: the
fastest producer's would be ahead of what the others have still to send. The producers are known at the start, one for
each task that reads a source of the topic, and one that was never heard of is waited for.

That a producer is idle is believed for a while only, and it says so again and again. So nobody relies on what one said
that has stopped since, or on what was read before a restart.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ...batch import Column
from ...times import NO_TIME
from ..clock import Clock
from .least import Awaited, awaited, time_of_inputs
from .marks import ProducerMark

# An idle producer says so again after so long: a reader that has moved or begun anew waits no longer for it.
RENEW_SECONDS = 10.0
# Three times that, since a commit may be late: then it is waited for, as one that has stopped.
BELIEVED_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class _Producer:
    """time: its T; idle_at: since when it is idle, of the engine's clock; heard_at: when it last said so."""

    time: int = NO_TIME
    idle_at: float | None = None
    heard_at: float = 0.0

    def is_idle(self, now: float) -> bool:
        return self.idle_at is not None and now <= self.heard_at + BELIEVED_SECONDS


@dataclass(frozen=True, slots=True)
class _Step:
    """Behind the mark at this offset: what is known of its producer, and the partition's watermark."""

    offset: int
    name: str
    producer: _Producer
    watermark: int


class Producers:
    """Of one partition in one task.

    names: of all producers. watermark, times: as of the committed position, with each producer's T.
    """

    __slots__ = ("_base", "_clock", "_front", "_names", "_steps", "_watermark")

    def __init__(self, names: Collection[str], watermark: int, times: Mapping[str, int], clock: Clock) -> None:
        self._names = sorted(names)
        self._clock = clock
        self._watermark = watermark
        self._base = {name: _Producer(times[name]) if name in times else _Producer() for name in self._names}
        # Behind the last mark that was read.
        self._front = dict(self._base)
        self._steps: deque[_Step] = deque()

    @property
    def watermark(self) -> int:
        """Behind the last mark that was read."""
        return self._steps[-1].watermark if self._steps else self._watermark

    def heard(self, offset: int, mark: ProducerMark) -> None:
        """This mark was read."""
        before = self._front.get(mark.producer)
        if before is None:
            # Of a task that there is no more.
            return
        now = self._clock.now()
        idle_at = None if mark.idle_ms is None else now - mark.idle_ms / 1000
        producer = _Producer(max(mark.time, before.time), idle_at, now)
        self._front[mark.producer] = producer
        known = [(one.time, one.is_idle(now)) for one in self._front.values()]
        self._steps.append(_Step(offset, mark.producer, producer, time_of_inputs(self.watermark, known)))

    def rewind(self) -> None:
        """What is not committed comes again."""
        self._steps.clear()
        self._front = dict(self._base)

    def committed(self, position: int) -> None:
        """What is before this offset does not come again."""
        while self._steps and self._steps[0].offset < position:
            step = self._steps.popleft()
            self._base[step.name] = step.producer
            self._watermark = step.watermark

    def raise_to(self, watermark: int) -> None:
        """Somebody who knows says that no earlier record is to come; nothing is uncommitted."""
        self._watermark = max(watermark, self._watermark)

    def watermark_at(self, position: int) -> int:
        """Behind all marks before this offset."""
        return next((step.watermark for step in reversed(self._steps) if step.offset < position), self._watermark)

    def watermarks_at(self, offsets: Column[int]) -> list[int]:
        """The same of each of these, which rise."""
        found: list[int] = []
        watermark = self._watermark
        for step in self._steps:
            found += [watermark] * (bisect_right(offsets, step.offset) - len(found))
            watermark = step.watermark
        return found + [watermark] * (len(offsets) - len(found))

    def times_at(self, position: int) -> dict[str, int]:
        """The T of each producer that was heard of before this offset."""
        found = self._base | {step.name: step.producer for step in self._steps if step.offset < position}
        return {name: producer.time for name, producer in found.items() if producer.time != NO_TIME}

    def idle_since(self) -> float | None:
        """Since when all are idle; None: one is not."""
        now = self._clock.now()
        since = [one.idle_at for one in self._front.values() if one.idle_at is not None and one.is_idle(now)]
        return max(since) if since and len(since) == len(self._front) else None

    def awaited(self) -> Awaited[str] | None:
        """The one that lets the watermark go on next, with its T; None: all are idle."""
        now = self._clock.now()
        return awaited(self.watermark, {name: (one.time, one.is_idle(now)) for name, one in self._front.items()})
