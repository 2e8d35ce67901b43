"""Queries: answers to ReadTable from this worker's shards: those that it owns, or those that it follows."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from streamcluster.engine.engine import Engine
from streamcluster.engine.local_tables import find_table, make_shards
from streamcluster.engine.shards import CachedShard
from streamcluster.ids import TaskId
from streamcluster.messages import ReadTable, Rows
from streamcluster.plain import dumps

from .follow import Follower, Standing
from .lifecycle import State

ROWS_BYTES_MAX = 8 * 1024 * 1024


def read_table(engine: Engine, request: ReadTable, states: Mapping[TaskId, State]) -> Rows:
    """One key or a page of rows. The cursor of a page is "task, rows of it already seen".

    states: this worker's tasks; while one of the table's does not run, what it has cannot be told.
    """
    if (unknown := _refuse_unknown(engine, request)) is not None:
        return unknown
    group = _group(engine, request.table)
    ready = ("running", "standby")
    away = [f"task {task} does not run" for task, state in states.items() if task.group == group and state not in ready]
    shards = {
        task: running.shards[request.table]
        for task, running in sorted(engine.tasks.items())
        if request.table in running.shards
    }
    return _answer(request, shards, away)


def read_standby(engine: Engine, follower: Follower | None, request: ReadTable) -> Rows:
    """The same from the shards that are followed, with how far behind they may be. Blocks; from any thread.

    follower: None while there is none. What is read is what the stores have: no cache of an engine is over them.
    """
    if (unknown := _refuse_unknown(engine, request)) is not None:
        return unknown
    if follower is None:
        return _passing(request, "this worker has no connection to Kafka")
    group = _group(engine, request.table)
    changelog = next(table.changelog for table in engine.topology.tables if table.name == request.table)

    def look(followed: Mapping[TaskId, Standing]) -> Rows:
        here = {task: standing for task, standing in followed.items() if task.group == group}
        away = [f"the store of task {task} is not open" for task, standing in here.items() if standing.store is None]
        shards = {
            task: make_shards(engine.plan, engine.topology, engine.app.conf, task, standing.store)[request.table]
            for task, standing in here.items()
            if standing.store is not None
        }
        answer = _answer(request, shards, away)
        return msgspec.structs.replace(answer, lag=sum(standing.lag[changelog] for standing in here.values()))

    return follower.read(look)


def _refuse_unknown(engine: Engine, request: ReadTable) -> Rows | None:
    if find_table(engine.plan, request.table) is not None:
        return None
    known = ", ".join(table.name for table in engine.plan.tables) or "none"
    return Rows(request=request.request, error=f"there is no table {request.table!r}; there are: {known}")


def _group(engine: Engine, name: str) -> int:
    return next(table.group for table in engine.topology.tables if table.name == name)


def _answer(request: ReadTable, shards: Mapping[TaskId, CachedShard], away: list[str]) -> Rows:
    """From these shards. away: why others of the table, which may have what is asked for, cannot be read now."""
    try:
        if request.key is not None:
            found = _one(request, request.key, shards)
            if found.owner or not away:
                return found
        elif not away:
            return _page(request, shards)
        return _passing(request, f"{', '.join(sorted(away))} yet")
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        return Rows(request=request.request, error=f"table {request.table!r}: {error}")


def _passing(request: ReadTable, reason: str) -> Rows:
    return Rows(request=request.request, owner=False, error=reason, passing=True)


def _one(request: ReadTable, key_text: str, shards: Mapping[TaskId, CachedShard]) -> Rows:
    for shard in shards.values():
        key = shard.decode_key(key_text.encode())
        try:
            value = shard.stored(key)
        except KeyError:
            continue
        return Rows(request=request.request, rows=((key_text, _json(value)),))
    return Rows(request=request.request, owner=False)


def _page(request: ReadTable, shards: Mapping[TaskId, CachedShard]) -> Rows:
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
