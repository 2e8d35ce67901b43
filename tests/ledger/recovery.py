"""How long a fault was felt: six times for each, in seconds from the fault, None where it did not come or was not seen.

T_detect: until a status shows one of the affected tasks not running where it was, or the coordinator not answering, or
    the broker as down. Statuses are asked for every 50 ms.
T_fence: until every affected task has an owner that is none of the victims; a new owner has joined, and so has fenced
    them, before the status shows it.
T_restore: until every affected task runs at such an owner (of faults without victims: runs again).
T_first_output: until every affected partition has shown a result, to a concurrent reader of committed records, of a
    movement that was sent after the fault; after a kill, by a process that is none of the victims.
T_95: until the results of one second on the affected partitions are 95 % of what is sent to them in one.
T_lag: until, from T_first_output on, no result of one second on the affected partitions is later than usual: the
    latest of the three seconds before the fault, and at least 0.25 s, at most 1 s.

Pure: looks and arrivals in, numbers out.
"""

from __future__ import annotations

import statistics
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from tests.ledger.chaos import Done
from tests.ledger.values import PARTITIONS
from tests.ledger.watching import Arrivals, Look

TIMES = ("detect", "fence", "restore", "first_output", "to_95", "lag")
USUAL_SECONDS = 3.0
USUAL_AGE_MIN, USUAL_AGE_MAX = 0.25, 1.0
WINDOW_SECONDS = 1.0
STEP_SECONDS = 0.05
# Longer than that is the liveness check's matter.
HORIZON_SECONDS = 120.0


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """One fault's times. overlapped: an earlier one was still felt; next_fault: seconds until the next one began."""

    kind: str
    what: str
    at: float
    overlapped: bool
    next_fault: float
    detect: float | None
    fence: float | None
    restore: float | None
    first_output: float | None
    to_95: float | None
    lag: float | None


@dataclass(frozen=True, slots=True)
class Seen:
    """What the measurements are made from. looks: of all hosts, by time; rate: movements a second; end: of watching."""

    looks: Sequence[Look]
    arrivals: Mapping[int, Arrivals]
    rate: float
    begin: float
    end: float


def recoveries(done: Sequence[Done], seen: Seen) -> list[Recovery]:
    """Each fault's times, in the order of the faults."""
    found: list[Recovery] = []
    felt_until = 0.0
    for index, one in enumerate(done):
        moments = _moments(one, seen)
        following = done[index + 1].at if index + 1 < len(done) else seen.end
        found.append(
            Recovery(
                kind=one.fault.kind,
                what=one.what,
                at=round(one.at - seen.begin, 3),
                overlapped=one.at < felt_until,
                next_fault=round(following - one.at, 3),
                **{name: _since(one, at) for name, at in moments.items()},
            )
        )
        # A backlog that is still worked off makes the next fault's lag longer, and nothing else. What was paused need
        # not get another owner; when it does later on, that is another fault's doing.
        names = ("first_output",) if one.fault.kind.startswith("pause") else TIMES[:4]
        back = [at for name in names if (at := moments[name]) is not None]
        felt_until = max([felt_until, *back, one.undone_at or 0.0])
    return found


def _since(done: Done, at: float | None) -> float | None:
    return None if at is None else round(at - done.at, 3)


def _moments(done: Done, seen: Seen) -> dict[str, float | None]:
    """Each time as a moment of the monotonic clock."""
    looks = [look for look in seen.looks if done.at < look.at < done.at + HORIZON_SECONDS]
    places = sorted(int(task.partition("_")[2]) for task in done.tasks if task.partition("_")[0] == str(PARTITIONS))
    arrivals = [seen.arrivals[place] for place in places if place in seen.arrivals]
    first = _first_output(done, arrivals)
    return {
        "detect": next((look.at for look in looks if _shows_it(look, done)), None),
        "fence": _when_all(done, looks, running=False),
        "restore": _when_all(done, looks, running=True),
        "first_output": first,
        "to_95": _back_to_speed(arrivals, first, seen) if first is not None else None,
        # Not before the first output: where nothing comes nothing is late.
        "lag": _back_to_usual(done, arrivals, first, seen) if first is not None else None,
    }


def _shows_it(look: Look, done: Done) -> bool:
    if look.host == done.host and not look.owners:
        return True
    if not done.host and not done.victims:
        return bool(look.owners) and not look.broker_up
    owners = (look.owners[task] for task in done.tasks if task in look.owners)
    return any(owner.state != "running" or owner.pid not in done.victims for owner in owners)


def _when_all(done: Done, looks: Sequence[Look], *, running: bool) -> float | None:
    """When every affected task first has an owner that is no victim; None when one of them never lost its own."""
    if not done.tasks or not done.victims:
        return None
    left = {*done.tasks}
    for look in looks:
        for task in sorted(left):
            owner = look.owners.get(task)
            if owner is None or owner.pid is None or owner.pid in done.victims:
                continue
            if not running or owner.state == "running":
                left.discard(task)
        if not left:
            return look.at
    return None


def _first_output(done: Done, arrivals: Iterable[Arrivals]) -> float | None:
    moments: list[float] = []
    # What is paused goes on by itself.
    killed = frozenset() if done.fault.kind.startswith("pause") else done.victims
    for one in arrivals:
        begin = bisect_left(one.seen_at, done.at)
        moment = next(
            (
                one.seen_at[index]
                for index in range(begin, len(one.seen_at))
                if one.sent_at[index] >= done.at and one.by[index] not in killed
            ),
            None,
        )
        if moment is None:
            return None
        moments.append(moment)
    return max(moments, default=None)


def _steps(begin: float, seen: Seen) -> Iterator[float]:
    """Moments from `begin` on after which there is a whole second that was watched."""
    at = begin
    while at + WINDOW_SECONDS <= seen.end and at < begin + HORIZON_SECONDS:
        yield at
        at += STEP_SECONDS


def _back_to_speed(arrivals: Sequence[Arrivals], first: float, seen: Seen) -> float | None:
    wanted = 0.95 * seen.rate * WINDOW_SECONDS * len(arrivals) / PARTITIONS
    for at in _steps(first, seen):
        came = sum(bisect_left(one.seen_at, at + WINDOW_SECONDS) - bisect_left(one.seen_at, at) for one in arrivals)
        if came >= wanted:
            return at
    return None


def _back_to_usual(done: Done, arrivals: Sequence[Arrivals], first: float, seen: Seen) -> float | None:
    before = [age for one in arrivals for age in _ages(one, done.at - USUAL_SECONDS, done.at)]
    usual = min(max(before, default=USUAL_AGE_MIN), USUAL_AGE_MAX)
    for at in _steps(first, seen):
        ages = [_ages(one, at, at + WINDOW_SECONDS) for one in arrivals]
        if ages and all(part and max(part) <= max(usual, USUAL_AGE_MIN) for part in ages):
            return at
    return None


def _ages(one: Arrivals, begin: float, end: float) -> list[float]:
    first, last = bisect_left(one.seen_at, begin), bisect_left(one.seen_at, end)
    return [one.seen_at[index] - one.sent_at[index] for index in range(first, last)]


def distribution(found: Sequence[Recovery]) -> dict[str, dict[str, dict[str, float]]]:
    """Kind -> time -> count, p50, p95 and max, of the times within which no other fault was felt."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    for kind in dict.fromkeys(one.kind for one in found):
        alone = [one for one in found if one.kind == kind and not one.overlapped]
        for name in TIMES:
            times = ((getattr(one, name), one.next_fault) for one in alone)
            values = sorted(value for value, next_fault in times if value is not None and value <= next_fault)
            if values:
                table.setdefault(kind, {})[name] = {
                    "count": len(values),
                    "p50": statistics.median(values),
                    "p95": values[min(len(values) - 1, int(0.95 * len(values)))],
                    "max": values[-1],
                }
    return table
