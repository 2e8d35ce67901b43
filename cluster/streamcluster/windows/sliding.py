"""Sliding windows: each set of events of a key that are no more than the size apart is what one window holds.

    for an event at t    [t - size, t]             "left": it and what was before
                         [t + 1, t + 1 + size]     "right": what came within the size after it, if anything did

Both ends belong to them. Only windows are kept, and no events: what a new one holds is what another holds already.

    left     of those that end before t, the last holds all of [t - size, t), and nothing else that is older
    right    of those that hold t, the last holds all of (t, t + 1 + size], before t is put in

That is so if all windows are there, also those that were over when an event came that belongs into them. These are
kept beside the table, since they are no results, as long as an event may come that needs them; and of what is older
than that nothing is looked at, since some of it is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .kinds import Span
from .ports import PLAIN, Shard, Windows, begin_of, own_of
from .sessions import Written, ending

# An event of the middle of things changes as many windows as there were events in the last `size`.
_ROWS = 16


class Held(NamedTuple):
    """A window that is there. date: of the last event in it."""

    value: Any
    date: int


def add(of: Windows, shard: Shard, key: Any, at: int, now: int, fun: Callable[[Any, Any], Any], other: Any) -> Written:
    """The event changes all windows that it is in, and begins up to three; those of them that are open."""
    size, edge = of.kind.size, now - of.grace
    if at + size < edge:
        of.late(at, (at, at + size), now)
        return []
    beside = of.beside_shard()
    before = _last(shard, beside, key, max(at, edge) - size - 1, at - 1)
    there: dict[int, Held] = {}
    for one in (shard, beside):
        there |= {
            span[1]: Held(value, date) for span, value, date in ending(one, key, at, at + 1 + size, rows_max=_ROWS)
        }
    held = {end: one for end, one in there.items() if end <= at + size}
    after = at + 1 + size
    changes: dict[int, tuple[Any, int]] = {}
    if held and after not in there:
        last = held[max(held)]
        if last.date > at:
            # Before the event is put in.
            changes[after] = _copy(shard, key, last.value), last.date
    for end, window in held.items():
        value = window.value if end >= edge else _copy(shard, key, window.value)
        changes[end] = fun(value, other), max(window.date, at)
    if at not in held:
        holds = before is not None and before.date >= at - size
        value = _copy(shard, key, before.value) if before is not None and holds else begin_of(of, key)
        changes[at] = fun(value, other), at
    earlier = max(
        [window.date for window in (*held.values(), before) if window is not None and window.date < at],
        default=at - size - 2,
    )
    right = earlier + 1 + size
    if at < right and right not in there:
        changes[right] = fun(begin_of(of, key), other), at
    return _write(shard, beside, key, changes, size, edge)


def value_at(of: Windows, shard: Shard, key: Any, at: int) -> Any:
    """What [at - size, at] holds, a copy."""
    size = of.kind.size
    last = _last(shard, of.beside_shard(), key, at - size, at)
    if last is None or last.date < at - size:
        return begin_of(of, key)
    return _copy(shard, key, last.value)


def _last(shard: Shard, beside: Shard, key: Any, first: int, last: int) -> Held | None:
    """Of the windows that end there the last; one that was kept beside the table is newer than the same in it."""
    found: tuple[int, Held] | None = None
    for one in (shard, beside):
        for span, value, date in ending(one, key, first, last, reverse=True, rows_max=1):
            if found is None or span[1] >= found[0]:
                found = span[1], Held(value, date)
            break
    return None if found is None else found[1]


def _write(shard: Shard, beside: Shard, key: Any, changes: dict[int, tuple[Any, int]], size: int, edge: int) -> Written:
    written: Written = []
    all_written: Written = []
    for end, (value, date) in sorted(changes.items()):
        span: Span = end - size, end
        to = shard if end >= edge else beside
        if shard.time is not None:
            shard.time.expect(end)
        identity = to.identity((key, *span))
        own = own_of(to, identity, value, all_written)
        all_written.append((span, own))
        to.write_at(identity, own, date)
        if to is shard:
            written.append((span, own))
    return written


def _copy(shard: Shard, key: Any, value: Any) -> Any:
    """The value for another window: changing that changes this one not."""
    return value if type(value) in PLAIN else shard.copy(shard.identity((key, 0, 0)), value)
