"""What goes by event time: the operators of an app, and the internal table in which each keeps its time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

from ..errors import AppError
from ..expiry import times_of
from ..tables import Table
from ..versions import versions_of
from .units import AgentUnit, ForwardUnit, Plan, Unit

# Windows of an event, of a table without merge=; more are said at the start.
STEPS_MANY = 100


def timed_by(tables: Iterable[Table[Any, Any]]) -> tuple[str, ...]:
    """The operators that these tables belong to."""
    return tuple(sorted({table.timed for table in tables if table.timed}))


def check_windows(tables: Iterable[Table[Any, Any]]) -> None:
    """Refuse what would never be called.

    Raises:
        AppError: a table has on_window_close= and no windows.
    """
    for table in tables:
        if table.window_close is not None and table.key_coding is None:
            raise AppError(
                f"table {table.name!r} has on_window_close=, and no windows: give window=, or call .tumbling(size)."
            )


def costly_windows(tables: Iterable[Table[Any, Any]]) -> tuple[str, ...]:
    """A line for each table of which an event writes very many windows, where one row would do."""
    lines: list[str] = []
    for table in tables:
        of = table.definition
        # In panes an event has one row.
        steps = int(of["size"]) // int(of["step"]) if "step" in of and "kept" not in of else 1
        if steps > STEPS_MANY:
            lines.append(
                f"table {table.name!r}: each event is in {steps:,} windows, and writes a row of each. With merge=, as "
                "in .hopping(size, step, merge=operator.add), it writes one."
            )
    return tuple(lines)


def tables_beside(tables: Collection[Table[Any, Any]], units: Iterable[Unit]) -> list[Table[Any, Any]]:
    """The internal tables of those whose entries expire, that keep versions, or whose windows need more than they show.

    Raises:
        AppError: nothing would ever be deleted, or a table of the app has the name of one.
    """
    timed = {name for unit in units for name in unit.timed}
    beside: list[Table[Any, Any]] = []
    for table in tables:
        for one in table.besides:
            if any(one.name == other.name for other in tables):
                raise AppError(f"table {one.name!r}: what windows of {table.name!r} need is kept under this name.")
            beside.append(one)
        if table.ttl_ms is None and table.history_ms is None:
            continue
        option = "ttl=" if table.history_ms is None else "history="
        if table.key_coding is not None:
            raise AppError(f"table {table.name!r}: windows go by grace= and expires=: leave {option} out.")
        if table.timed not in timed:
            raise AppError(
                f"table {table.name!r}: no agent is seen to use it, so nothing moves the time that {option} goes by: "
                "name the table in the agent, or in a function that it calls."
            )
        one = times_of(table) if table.history_ms is None else versions_of(table)
        if any(one.name == other.name for other in tables):
            raise AppError(f"table {one.name!r}: what {option} of {table.name!r} needs is kept under this name.")
        beside.append(one)
    return beside


def with_travelling_time(units: Sequence[Unit]) -> list[Unit]:
    """The units, where those that write a repartition topic are timed if somebody goes by time behind it.

    Each is an operator of its own, whose time travels in the topic (engine/event_time/marks.py). What `through` writes
    is the user's topic: nobody else's records are put into that.
    """
    found = list(units)
    while True:
        wanted = {topic.name for unit in found if unit.timed for topic in unit.inputs if len(topic.names) == 1}
        behind = [index for index, unit in enumerate(found) if _may_travel(unit) in wanted]
        if not behind:
            return found
        for index in behind:
            unit = found[index]
            if isinstance(unit, ForwardUnit):
                _, _, name = unit.name.partition(">")
                found[index] = replace(unit, timed=(name,))
            elif isinstance(unit, AgentUnit) and unit.stage is not None:
                name = unit.stage.destination.name
                found[index] = replace(unit, timed=(*unit.timed, name), travels=name)


def _may_travel(unit: Unit) -> str | None:
    """The topic to which its time could go, and does not yet."""
    if isinstance(unit, ForwardUnit):
        return unit.destination.name if not unit.timed and unit.group_by.through is None else None
    if isinstance(unit, AgentUnit) and unit.stage is not None and unit.stage.sends_time and not unit.travels:
        return unit.stage.destination.name
    return None


def travelling(plan: Plan) -> list[ForwardUnit | AgentUnit]:
    """The units whose time travels in the topics that they write."""
    return [unit for unit in plan.units if isinstance(unit, (ForwardUnit, AgentUnit)) and unit.travels]


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
