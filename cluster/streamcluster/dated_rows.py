"""What is done for each row of a commit and for each timestamp, in C where cluster/native/rows.c was built.

Both ways give the same; what stands in Python is here, or beside the call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate, islice
from typing import Any

from .loops import is_in_c as are_loops_in_c

_in_c = True
try:
    from ._rows import columns as split
    from ._rows import due as due_of
    from ._rows import encoded as encode_all
    from ._rows import forget as forget_in
    from ._rows import note as note_all
    from ._rows import running_max as running
    from ._rows import without as without_in
except ImportError:
    _in_c = False


def is_in_c() -> bool:
    """Whether this process has it in C."""
    return _in_c and are_loops_in_c()


def encoded(
    dirty: Mapping[Any, Any],
    dates: Mapping[Any, int],
    encode: Callable[[Any], bytes],
    deleted: object,
    *,
    writes_numbers: bool,
) -> dict[bytes, bytes | None] | None:
    """What was written, as rows, where keys are those of rows. deleted: what stands for a row that is gone.

    writes_numbers: `encode` makes of whole numbers what JSON has. Raises what that raises.
    """
    if not (is_in_c() and type(dirty) is dict and type(dates) is dict):
        return None
    return encode_all(dirty, dates, encode, writes_numbers, deleted)


def note(dates: dict[Any, int], dirty: Mapping[Any, Any], marker: object, deleted: set[Any]) -> bool:
    """Note the dates of what was written, but for `marker` and what is in `deleted`. False: it is for Python to do."""
    return is_in_c() and type(dirty) is dict and note_all(dates, dirty, marker, deleted)


def columns(
    changes: Mapping[bytes, bytes | None], deleted: Callable[[list[bytes]], list[int]]
) -> tuple[list[bytes | None], list[bytes | None], list[int]] | None:
    """Keys, values and times of rows. deleted: the times of those that are gone, by their keys."""
    found = split(changes) if is_in_c() and type(changes) is dict else None
    if found is None:
        return None
    keys, values, times, gone, places = found
    if len(gone) == len(keys):
        return keys, values, deleted(gone)
    for place, at in zip(places, deleted(gone) if gone else (), strict=True):
        times[place] = at
    return keys, values, times


def running_max(times: list[int], first: int) -> list[int]:
    """The largest of `first` and all up to each."""
    found = running(times, first) if is_in_c() else None
    return list(islice(accumulate(times, max, initial=first), 1, None)) if found is None else found


def due(dirty: Mapping[Any, Any], is_due: Callable[[bytes], bool]) -> list[Any] | None:
    """The keys of rows that were written and not deleted, whose windows are due. is_due: by what a key ends in."""
    return due_of(dirty, is_due) if is_in_c() and type(dirty) is dict else None


def without(written: dict[Any, Any], gone: Sequence[Any]) -> dict[Any, Any]:
    """The same but for these keys, in another dict. gone: in the dict's order, and the objects that are its keys."""
    if len(gone) == len(written):
        return {}
    if is_in_c() and type(gone) is list:
        return without_in(written, gone)
    left, rest = {}, iter(gone)
    following = next(rest, None)
    for key, value in written.items():
        if key is following:
            following = next(rest, None)
        else:
            left[key] = value
    return left


def forget(entries: dict[Any, Any], keys: Iterable[Any]) -> None:
    """Delete what is there of these."""
    if is_in_c() and type(keys) is list:
        forget_in(entries, keys)
        return
    pop = entries.pop
    for key in keys:
        pop(key, None)
