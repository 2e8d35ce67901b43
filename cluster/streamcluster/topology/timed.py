"""What goes by event time: the operators of an app, and the internal table in which each keeps its time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ..errors import AppError
from ..tables import Table
from .units import Plan


def timed_by(tables: Iterable[Table[Any, Any]]) -> tuple[str, ...]:
    """The operators that these tables belong to."""
    return tuple(sorted({table.timed for table in tables if table.timed}))


def time_table_name(operator: str) -> str:
    """The internal table of an operator's time."""
    return f"{operator}-time"


def with_time_tables(plan: Plan) -> Plan:
    """The plan with a table for the time of each operator.

    Raises:
        AppError: a table of the app has the name of one.
    """
    known = {table.name for table in plan.tables}
    found: list[Table[Any, Any]] = []
    for operator in plan.timed():
        name = time_table_name(operator)
        if name in known:
            raise AppError(f"table {name!r}: the event time of {operator!r} is kept under this name: choose another.")
        table: Table[str, Any] = Table(name, key_type=str, help=f"the event time of {operator}")
        table.go_by(operator)
        found.append(table)
    return replace(plan, tables=(*plan.tables, *found))
