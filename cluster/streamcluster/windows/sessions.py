"""Sessions: an event joins those of its key that are no further away than the gap, and makes one of them.

They are found in order by an index of (key, end), so an event reads those that it touches, however many are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import Any

from ..times import FOREVER
from .keys import BY_KEY, prefix_of, within
from .kinds import Span, is_over
from .ports import Shard, Windows, begin_of, take_back

# An event touches one session, as a rule, and sees from the next that there is no more.
_ROWS = 2
Written = list[tuple[Span, Any]]


def add(of: Windows, shard: Shard, key: Any, at: int, now: int, fun: Callable[[Any, Any], Any], other: Any) -> Written:
    """The event changes the session that it is in; what was written, None for those that are a part of it now."""
    gap = of.kind.gap
    # Not those that are over; the others begin in the order in which they end.
    open_ones = ending(shard, key, max(at - gap, now - gap - of.grace))
    near = [(span, value) for span, value, _ in takewhile(lambda row: row[0][0] - gap <= at, open_ones)]
    span = min([at, *(one[0] for one, _ in near)]), max([at, *(one[1] for one, _ in near)])
    if is_over(of.kind, span[1], of.grace, now):
        of.late(at, span, now)
        return []
    value = near[0][1] if near else begin_of(of, key)
    for _, more in near[1:]:
        value = of.merged(value, more)
    value = fun(value, other)
    for one, _ in near:
        if one != span:
            take_back(of, shard, shard.identity((key, *one)), one)
    if shard.time is not None:
        shard.time.expect(span[1])
    shard.write_at(shard.identity((key, *span)), value, span[1])
    # As a change of a key that was (start, end): also of a session whose bounds are the same, if it had two.
    return [*((one, None) for one, _ in near if span != (at, at)), (span, value)]


def ending(
    shard: Shard,
    key: Any,
    first: int,
    last: int = FOREVER,
    *,
    reverse: bool = False,
    rows_max: int = _ROWS,
    index: str = BY_KEY,
) -> Iterator[tuple[Span, Any, int]]:
    """Windows of a key whose ends are in [first, last], in their order, with values and dates. index: or its starts."""
    row_key = shard.row_key((key, 0, 0))
    start, end = within(row_key, first, last)
    prefix = prefix_of(row_key)
    for row, value, at in shard.scan_dated(index, start, end, prefix, reverse=reverse, rows_max=rows_max):
        yield (row[1], row[2]), value, at
