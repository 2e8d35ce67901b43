"""Keys of windowed tables on a command line: KEY --window START, or START,END."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from streamcluster.errors import ConfigurationError
from streamcluster.tables import Table


def has_windows(table: Table[Any, Any]) -> bool:
    """Its rows are of a key and a window."""
    return table.key_coding is not None


def window_keys(table: Table[Any, Any], keys: Sequence[str], window: str) -> list[str]:
    """The JSON texts of the rows of these keys, which are JSON texts too, in one window.

    Raises:
        ConfigurationError: the table has no windows, or `window` is none of it.
    """
    if not has_windows(table):
        raise ConfigurationError(f"table {table.name!r} has no windows: leave --window out.")
    start, end = _span(table, window)
    return [f"[{key},[{start!r},{end!r}]]" for key in keys]


def _span(table: Table[Any, Any], window: str) -> tuple[float, float]:
    first, comma, last = window.partition(",")
    start, size = _seconds(table, first), table.definition.get("size")
    if comma:
        return start, _seconds(table, last)
    if not isinstance(size, int) or "tz" in table.definition:
        raise ConfigurationError(f"table {table.name!r}: its windows are of any length: --window START,END.")
    return start, start + size / 1000


def _seconds(table: Table[Any, Any], text: str) -> float:
    """Since 1970, of a number or a time."""
    try:
        found = float(text)
    except ValueError:
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            found = float("nan")
        else:
            found = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
    if not isfinite(found):
        raise ConfigurationError(
            f"table {table.name!r}: --window {text!r}: give seconds since 1970, or a time as 2026-11-29T12:00:00, "
            "which is UTC unless it says +01:00."
        )
    return found
