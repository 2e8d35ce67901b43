"""Keys of windowed tables on a command line: KEY --window START, or START,END."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from streamcluster.errors import ConfigurationError
from streamcluster.tables import Table
from streamcluster.times import MS_MAX
from streamcluster.windows.kinds import definition_of


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


def moment_of(table: Table[Any, Any], text: str) -> int:
    """In ms, when a row of a table is meant.

    Raises:
        ConfigurationError: the table keeps no versions, or `text` is no time.
    """
    if table.history_ms is None:
        raise ConfigurationError(f"table {table.name!r} keeps no versions: --as-of is for tables with history=.")
    return round(_seconds(table, text, "--as-of") * 1000)


def _span(table: Table[Any, Any], window: str) -> tuple[float, float]:
    first, comma, last = window.partition(",")
    definition = table.definition if table.windows is None else definition_of(table.windows.kind)
    start, size = _seconds(table, first), definition.get("size")
    if comma:
        return start, _seconds(table, last)
    if not isinstance(size, int) or "tz" in definition:
        raise ConfigurationError(f"table {table.name!r}: its windows are of any length: --window START,END.")
    return start, start + size / 1000


def _seconds(table: Table[Any, Any], text: str, option: str = "--window") -> float:
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
    if not abs(found) * 1000 < MS_MAX:
        raise ConfigurationError(
            f"table {table.name!r}: {option} {text!r}: give seconds since 1970, or a time as 2026-11-29T12:00:00, "
            "which is UTC unless it says +01:00."
        )
    return found
