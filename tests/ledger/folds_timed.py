"""What windows, joins and the like must give, computed from the logs of the inputs alone, record by record. Pure.

A partition's time at a record is the largest timestamp up to and with it; it names no violation.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from operator import itemgetter

import msgspec

from tests.ledger.folds import movements_of
from tests.ledger.values import Log, Movement
from tests.ledger.values_timed import (
    AFTER,
    BEFORE,
    GAP,
    GAP_GRACE,
    HISTORY,
    JOIN_GRACE,
    SPAN,
    SPAN_GRACE,
    WITHIN,
    Closed,
    Pair,
    Payment,
)

decode_closed = msgspec.json.Decoder(Closed).decode
decode_pair = msgspec.json.Decoder(Pair).decode
_decode_payment = msgspec.json.Decoder(Payment).decode
# Account, start and end.
Place = tuple[str, int, int]


@dataclass(slots=True)
class Windows:
    """Of one partition: what is over with its movements, what is open, and who came too late."""

    closed: dict[Place, list[int]] = field(default_factory=dict)
    open: dict[Place, list[int]] = field(default_factory=dict)
    late: list[int] = field(default_factory=list)


def dated(log: Log) -> Iterator[tuple[str, Movement, int]]:
    """Each movement with its account and the partition's time at it."""
    movements = movements_of(log)
    yield from zip(log.keys, movements, accumulate((movement.ts for movement in movements), max), strict=True)


def spans_of(log: Log) -> Windows:
    """Windows of 5 s. A movement that must be refused moves time, and is in none."""
    found, time = Windows(), 0
    all_: dict[Place, list[int]] = {}
    for account, movement, time in dated(log):
        if movement.is_bad:
            continue
        start = movement.ts // SPAN * SPAN
        if start + SPAN + SPAN_GRACE <= time:
            found.late.append(movement.id)
        else:
            all_.setdefault((account, start, start + SPAN), []).append(movement.id)
    for place, ids in all_.items():
        (found.closed if place[2] + SPAN_GRACE <= time else found.open)[place] = ids
    return found


def visits_of(log: Log) -> Windows:
    """Sessions; what is over is joined by nothing. Their movements are sorted."""
    found, time = Windows(), 0
    sessions: defaultdict[str, list[tuple[int, int, list[int]]]] = defaultdict(list)
    for account, movement, time in dated(log):
        if movement.is_bad:
            continue
        at = movement.ts
        kept: list[tuple[int, int, list[int]]] = []
        near: list[tuple[int, int, list[int]]] = []
        for session in sessions[account]:
            first, last, _ = session
            joins = first - GAP <= at <= last + GAP and time <= last + GAP + GAP_GRACE
            (near if joins else kept).append(session)
        if not near and at + GAP + GAP_GRACE < time:
            found.late.append(movement.id)
            continue
        first, last = min([at, *(one[0] for one in near)]), max([at, *(one[1] for one in near)])
        ids = [movement.id, *(id for one in near for id in one[2])]
        sessions[account] = [*kept, (first, last, ids)]
    for account, ones in sessions.items():
        for first, last, ids in ones:
            is_over = last + GAP + GAP_GRACE < time
            (found.closed if is_over else found.open)[account, first, last] = sorted(ids)
    return found


def closed_of(log: Log) -> list[tuple[Place, list[int]]]:
    """What a topic says of windows that are over."""
    told = [(key, decode_closed(value)) for key, value in log.rows() if value is not None]
    return [((key, one.start, one.end), one.ids) for key, one in told]


def rows_of_windows(rows: Mapping[str, str]) -> dict[Place, list[int]]:
    """A windowed table, from its rows in JSON."""
    found: dict[Place, list[int]] = {}
    for key, value in rows.items():
        account, (start, end) = json.loads(key)
        found[account, round(start * 1000), round(end * 1000)] = json.loads(value)
    return found


def payments_of(log: Log) -> list[tuple[str, Payment]]:
    """Accounts and decoded values."""
    return [(key, _decode_payment(value)) for key, value in log.rows() if value is not None]


def accepted(log: Log) -> list[int]:
    """Numbers of the payments that are the first with their id within the interval."""
    seen: dict[tuple[str, int], list[int]] = {}
    passed: list[int] = []
    time = 0
    for account, payment in payments_of(log):
        time = max(time, payment.ts)
        # Those of whom nobody knows any more, once time is beyond the interval behind them.
        firsts = [first for first in seen.get((account, payment.id), []) if first + WITHIN >= time]
        if not any(abs(first - payment.ts) <= WITHIN for first in firsts):
            passed.append(payment.number)
            seen[account, payment.id] = [*firsts, payment.ts]
    return passed


@dataclass(slots=True)
class Partners:
    """Of one partition: the pairs that must be, those that may be because one of the two came late, and who is over.

    over: movements that have come out by now, alone if with nobody.
    """

    must: Counter[tuple[int, int]] = field(default_factory=Counter)
    may: Counter[tuple[int, int]] = field(default_factory=Counter)
    over: set[int] = field(default_factory=set)
    all: set[int] = field(default_factory=set)


def partners_of(movements: Log, payments: Log) -> Partners:
    """The left join. Its time is the smaller one of both inputs', and how far one was at a record of the other is not
    in the logs: so a record counts as in time when it is even if the other one was far ahead.
    """
    found = Partners()
    rights: defaultdict[str, list[tuple[int, int, int]]] = defaultdict(list)
    right_time = left_time = 0
    for account, payment in payments_of(payments):
        right_time = max(right_time, payment.ts)
        rights[account].append((payment.ts, payment.number, right_time))
    for paid in rights.values():
        paid.sort()
    lefts = [*dated(movements)]
    left_time = lefts[-1][2] if lefts else 0
    end = min(left_time, right_time)
    for account, movement, time in lefts:
        found.all.add(movement.id)
        until = movement.ts + AFTER + JOIN_GRACE
        if until < end:
            found.over.add(movement.id)
        paid = rights[account]
        first = bisect_left(paid, movement.ts - BEFORE, key=itemgetter(0))
        for paid_at, number, paid_time in paid[first : bisect_right(paid, movement.ts + AFTER, key=itemgetter(0))]:
            both_until = min(until, paid_at + BEFORE + JOIN_GRACE)
            is_sure = max(time, paid_time) <= both_until
            (found.must if is_sure else found.may)[movement.id, number] += 1
    return found


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a movement may have been told of its profile's version; is_over: it has come out by now."""

    versions: frozenset[int]
    is_over: bool


def remembered(movements: Log, names: Log) -> dict[int, Remembered]:
    """Of one partition, by id: the newest version not later than the movement, or one that came out of order.

    0: none.
    """
    versions: defaultdict[str, list[tuple[int, int, bool]]] = defaultdict(list)
    names_time = 0
    for (account, value), at in zip(names.rows(), names.times, strict=True):
        is_late, names_time = at < names_time, max(at, names_time)
        versions[account].append((at, int((value or b"").split(b" ", 1)[0]), is_late))
    lefts = [*dated(movements)]
    end = min(lefts[-1][2] if lefts else 0, names_time)
    found: dict[int, Remembered] = {}
    for account, movement, time in lefts:
        is_old = movement.ts + HISTORY < time
        of_its_time = [one for one in versions[account] if one[0] <= movement.ts]
        # Of those of one moment the last.
        sure = max((at for at, _, is_late in of_its_time if not is_late), default=0)
        right = {number for at, number, is_late in of_its_time if is_late and at >= sure}
        in_order = [number for at, number, is_late in of_its_time if not is_late and at == sure]
        right |= {*(in_order[-1:] or [0])}
        if is_old:
            # It met the newest of the moment at which it came, unless that was later; or its own, as time was then.
            right |= {0, *(number for at, number, _ in of_its_time if at >= sure)}
        found[movement.id] = Remembered(frozenset(right), movement.ts <= end)
    return found
