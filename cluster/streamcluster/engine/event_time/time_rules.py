"""TimeRules: what all operators of a task share, and what each of its partitions begins with by that."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from ..clock import Clock
from .producers import Producers
from .time_row import TimeRow
from .watermarks import Mark, PartitionTime, TimeBounds


@dataclass(frozen=True, slots=True)
class TimeRules:
    """What all operators of a task share.

    bounds: of a topic; producers: the names of those who say in a topic how far they are, empty: nobody does.
    ages: of topics that the app writes (`InputState.age`). idle_after: see `OperatorTime`; marks_interval: see
    `Sending`, in seconds.
    """

    bounds: Callable[[str], TimeBounds]
    producers: Callable[[str], Collection[str]]
    ages: Mapping[str, int]
    idle_after: int | None
    marks_interval: float


def partition_time(topic: str, rules: TimeRules, rows: Collection[TimeRow | None], clock: Clock) -> PartitionTime:
    """Of one partition of that topic, as the committed rows have it."""
    marks = [row.mark(topic) for row in rows if row is not None]
    base = max(marks, key=lambda mark: mark.watermark, default=Mark())
    producers = None
    if names := rules.producers(topic):
        times: dict[str, int] = {}
        for row in rows:
            times |= {} if row is None else row.producers.get(topic, {})
        producers = Producers(names, base.watermark, times, clock)
    return PartitionTime(rules.bounds(topic), base, clock, producers)
