"""The two loops that every event passes through: in C where cluster/native/loop.c was built, else in Python.

Both ways give the same; what stands in Python is beside each call. Which one it is holds for the whole process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from types import AsyncGeneratorType
from typing import Any

from .current import Cursor, Run
from .events import Event

_in_c = True
try:
    from ._loop import Gathered, Values
except ImportError:
    _in_c = False


def is_in_c() -> bool:
    """Whether the loops of this process are in C."""
    return _in_c


def use_python() -> None:
    """Have the loops that begin from now on in Python."""
    global _in_c
    _in_c = False


def values_of_runs(next_run: Callable[[], Awaitable[Run | None]], cursor: Cursor) -> Values | None:
    """The values of the runs that come, over the iterator that the cursor has then; None: it is for Python to do."""
    return Values(next_run, cursor) if _in_c else None


def gathered(
    values: AsyncIterator[Any], cursor: Cursor, encode: Callable[[Any], bytes | None], bytes_max: int
) -> Gathered | None:
    """These values but for those that it keeps; None: it is for Python to do, as whatever is no generator."""
    if not _in_c or type(values) is not AsyncGeneratorType:
        return None
    return Gathered(values, cursor, encode, Event, bytes_max)
