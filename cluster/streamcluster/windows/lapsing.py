"""Windows that were over before a commit wrote them, and that nobody is to be told of: they need not be written.

What an agent catches up with comes so fast that most windows open and close between two commits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from .. import dated_rows
from ..operated import Lapsed
from ..times import Closing
from .keys import by_tails, end_of
from .kinds import Kind, Session, Sliding


def lapsing(kind: Kind, closings: Sequence[Closing]) -> Lapsed | None:
    """As `Operated.lapsed` has it, of rows of these windows with which this is done; None: all are to be written."""
    if len(closings) > 1 or closings[0].handler is not None or isinstance(kind, (Session, Sliding)):
        return None
    return partial(_lapsed, closings[0])


def _lapsed(closing: Closing, rows: Mapping[Any, Any], now: int) -> list[Any]:
    bound = now - closing.delay_ms + closing.is_inclusive
    found = dated_rows.due(rows, lambda tail: end_of(tail) < bound)
    if found is not None:
        return found
    # What was deleted has no value and time.
    keys = [key for key, written in rows.items() if type(written) is tuple]
    return [key for key, end in zip(keys, by_tails(keys, end_of), strict=True) if end < bound]
