"""Queries: answers to ReadTable from the live shards of this worker."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from streamcluster.engine.engine import Engine
from streamcluster.engine.local_tables import find_table
from streamcluster.engine.shards import CachedShard
from streamcluster.ids import TaskId
from streamcluster.messages import ReadTable, Rows
from streamcluster.plain import dumps

from .lifecycle import State

ROWS_BYTES_MAX = 8 * 1024 * 1024


def read_table(engine: Engine, request: ReadTable, states: Mapping[TaskId, State]) -> Rows:
    """One key or a page of rows. The cursor of a page is "task, rows of it already seen".

    states: this worker's tasks; while one of the table's does not run, what it has cannot be told.
    """
    if find_table(engine.plan, request.table) is None:
        known = ", ".join(table.name for table in engine.plan.tables) or "none"
        return Rows(request=request.request, error=f"there is no table {request.table!r}; there are: {known}")
    group = next(table.group for table in engine.topology.tables if table.name == request.table)
    away = [str(task) for task, state in sorted(states.items()) if task.group == group and state != "running"]
    shards = {
        task: running.shards[request.table]
        for task, running in sorted(engine.tasks.items())
        if request.table in running.shards
    }
    try:
        if request.key is not None:
            found = _one(request, request.key, shards)
            if found.owner or not away:
                return found
        elif not away:
            return _page(request, shards)
        return Rows(request=request.request, owner=False, error=f"task {', '.join(away)} does not run yet. Try again")
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        return Rows(request=request.request, error=f"table {request.table!r}: {error}")


def _one(request: ReadTable, key_text: str, shards: dict[TaskId, CachedShard]) -> Rows:
    for shard in shards.values():
        key = shard.decode_key(key_text.encode())
        try:
            value = shard.stored(key)
        except KeyError:
            continue
        return Rows(request=request.request, rows=((key_text, _json(value)),))
    return Rows(request=request.request, owner=False)


def _page(request: ReadTable, shards: dict[TaskId, CachedShard]) -> Rows:
    start_task, _, skip_text = (request.after or "").partition(",")
    rows: list[tuple[str, str]] = []
    size = 0
    for task, shard in shards.items():
        if start_task and task < TaskId.parse(start_task):
            continue
        skip = int(skip_text) if start_task and task == TaskId.parse(start_task) else 0
        for number, (key, value) in enumerate(shard.rows()):
            if number < skip:
                continue
            row = (_json(key), _json(value))
            rows.append(row)
            size += len(row[0]) + len(row[1])
            if len(rows) >= request.rows_max or size > ROWS_BYTES_MAX:
                return Rows(request=request.request, rows=tuple(rows), after=f"{task},{number + 1}")
    return Rows(request=request.request, rows=tuple(rows))


def _json(value: object) -> str:
    return dumps(value).decode()
