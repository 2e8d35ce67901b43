"""The dates of a dated shard's rows, until they are in bytes with them (see `dates.py`).

What was written is (value, time of the event) in the `dirty` of views and of the shard. A row's date is the largest of
those and of what it had, which `ShardMemory.dates` knows of every entry that is in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from .. import dated_rows
from ..times import NO_TIME, PLACE, ZERO
from .cache_budget import ShardMemory
from .rows import DELETED, Changes, RowCoder


def encoded(coder: RowCoder, dirty: Mapping[Any, Any], dates: Mapping[Any, int]) -> Changes:
    """What was written, as rows. Raises anything."""
    if coder.part is not None:
        found = dated_rows.encoded(dirty, dates, coder.encode, DELETED, writes_numbers=int in coder.values_as_json)
        if found is not None:
            return found
    encode, pack = coder.encode, PLACE.pack
    changes: Changes = {}
    for data, (key, pair) in zip(coder.row_keys([*dirty]), dirty.items(), strict=True):
        if pair is DELETED:
            changes[data] = None
            continue
        value, at = pair
        if dates and (before := dates.get(key, at)) > at:
            at = before
        # As `place_of`.
        changes[data] = pack(at + ZERO) + encode(value)
    return changes


def latest(dates: Mapping[Any, int], handed: Mapping[Any, int | None], key: Any) -> int:
    """The date of an entry that was changed in place by whom it was handed to."""
    at = handed.get(key)
    before = dates.get(key, NO_TIME)
    return before if at is None or at < before else at


class Writer(Protocol):
    """What is looked at of a view."""

    dirty: dict[Any, Any]


class DatedShard(Protocol):
    """And of a shard."""

    dirty: dict[Any, Any]
    memory: ShardMemory

    @property
    def views(self) -> Sequence[Writer]: ...


def of(shard: DatedShard, key: Any) -> int:
    """The date of an entry that was read or written: the latest that anybody has given it."""
    found = shard.memory.dates.get(key, NO_TIME)
    for one in (shard, *shard.views):
        if (pair := one.dirty.get(key)) is not None and pair is not DELETED and pair[1] > found:
            found = pair[1]
    return found


def uncut(shard: DatedShard, keys: list[Any]) -> list[Any]:
    """Those of these keys, which were written since the last cut, whose rows are in no cut before, nor in the store.

    The others have dates. No view has such a one in hand that is not finished.
    """
    dates, held = shard.memory.dates, [view.dirty for view in shard.views if view.dirty]
    if dates:
        keys = [key for key in keys if key not in dates]
    return [key for key in keys if not any(key in dirty for dirty in held)] if held else keys


def merge(handed: dict[Any, int | None], more: Mapping[Any, int | None]) -> None:
    """What was handed out, to some and then to others: the latest of each counts."""
    for key, at in more.items():
        before = handed.get(key)
        handed[key] = at if before is None or (at is not None and before < at) else before


def note(dates: dict[Any, int], dirty: Mapping[Any, Any], deleted: set[Any]) -> None:
    """What was written is in a cut: its rows have these dates from now on."""
    if dated_rows.note(dates, dirty, DELETED, deleted):
        return
    known = dates.get
    for key, pair in dirty.items():
        if pair is not DELETED and known(key, NO_TIME) < pair[1] and not (deleted and key in deleted):
            dates[key] = pair[1]
