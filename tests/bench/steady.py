"""Arithmetic of the measurements: rates between commits, percentiles. Pure: samples in, numbers out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

# (time, a value that grows).
Points = list[tuple[float, float]]


@dataclass(slots=True)
class Progress:
    """What was sampled while a work ran. Times are seconds of the monotonic clock."""

    # Per place (topic, partition): (time, next offset) at each sample that saw a new committed offset.
    steps: dict[tuple[str, int], list[tuple[float, int]]] = field(default_factory=dict)
    # (time, CPU seconds of all processes of the work so far), at every sample.
    cpu: list[tuple[float, float]] = field(default_factory=list)

    def note(self, at: float, cpu_s: float, committed: Mapping[tuple[str, int], int]) -> None:
        """Add one sample."""
        self.cpu.append((at, cpu_s))
        for place, offset in committed.items():
            steps = self.steps.setdefault(place, [])
            if not steps or steps[-1][1] != offset:
                steps.append((at, offset))


@dataclass(frozen=True, slots=True)
class Steady:
    """The steady part of a work. begin, seconds: when it was; whole: too short a work to leave its ends out."""

    events: float
    begin: float
    seconds: float
    cpu_s: float
    whole: bool

    @property
    def events_per_second(self) -> float:
        """Events per second of wall time."""
        return self.events / self.seconds

    @property
    def cpu_us_per_event(self) -> float:
        """Microseconds of CPU, of all processes together, per event."""
        return self.cpu_s / self.events * 1e6


def steady_part(progress: Progress, topics: Sequence[str], *, warm_up_s: float) -> Steady:
    """The part between warm-up and the moment when the first partition of the last topic runs dry.

    Commits come once a second, so committed offsets are stairs: between two commits of a partition its progress is
    taken as linear, which makes start and end free to choose. An event counts once it has passed all `topics`; the
    mean over the topics is used, so that one stage that runs ahead of another does not count as a finished event.

    Args:
        progress: samples until everything was processed.
        topics: what an event passes, source first.
        warm_up_s: seconds to leave out after the first commit.

    Raises:
        ValueError: nothing was committed at all.
    """
    moves = {place: steps for place, steps in progress.steps.items() if len(steps) > 1}
    if not moves:
        raise ValueError("no commit was seen, so there is nothing to measure.")
    start = min(steps[1][0] for steps in moves.values()) + warm_up_s
    # The step before the last is the latest moment at which a partition surely still had work.
    end = min(steps[-2][0] for place, steps in moves.items() if place[0] == topics[-1])
    whole = end - start < warm_up_s
    if whole:
        start = min(steps[0][0] for steps in moves.values())
        end = max(steps[-1][0] for steps in moves.values())
    events = sum(at(steps, end) - at(steps, start) for steps in moves.values()) / len(topics)
    cpu_s = at(progress.cpu, end) - at(progress.cpu, start)
    return Steady(events=events, begin=start, seconds=end - start, cpu_s=cpu_s, whole=whole)


def at(points: Sequence[tuple[float, float]], time: float) -> float:
    """The value at `time`, linear between points, constant outside of them."""
    if time <= points[0][0]:
        return points[0][1]
    for (t0, v0), (t1, v1) in pairwise(points):
        if time <= t1:
            return v0 + (v1 - v0) * (time - t0) / (t1 - t0)
    return points[-1][1]


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` percent of `values` do not exceed (nearest rank)."""
    if not values:
        raise ValueError("no values, so no percentile.")
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(int(rank), 1) - 1]
