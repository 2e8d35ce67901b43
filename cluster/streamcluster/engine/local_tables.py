"""The shards of a worker's tasks: made with their codecs, and found by code that runs outside of an event."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from ..as_of import NoVersion
from ..codecs.table_coding import KeyPart, make_table_coder, types_as_json
from ..errors import AppError
from ..ids import TaskId
from ..settings import Settings
from ..stores import StoreFailed, TaskStore
from ..tables import IMMUTABLE, Table
from ..times import NO_TIME
from ..topology import ResolvedTable, Topology
from ..topology.limits import limits_of
from ..topology.units import Plan
from ..versions import version_at, versions_name
from .rows import RowCoder
from .shards import CachedShard
from .task import RunningTask
from .versioned_view import scan_of


def make_shards(
    plan: Plan,
    topology: Topology,
    settings: Settings,
    task: TaskId,
    store: TaskStore,
    failed: Callable[[StoreFailed], None] | None = None,
) -> dict[str, CachedShard]:
    """A cached shard for each table that lives in `task`. failed: called when the store cannot be read."""
    here = {table.name: table for table in topology.tables_of(task)}
    changelogs = {topic.name: topic for topic in topology.topics}
    shards: dict[str, CachedShard] = {}
    for table in plan.tables:
        if table.name in here:
            changelog, feeder = here[table.name].changelog, here[table.name].feeder
            limits = limits_of(settings, changelogs[changelog])
            check = partial(limits.check_size, changelog)
            shards[table.name] = CachedShard(
                store.shard(table.name),
                row_coder(table, settings),
                # What comes of a record of its topic is written nowhere else.
                sys.maxsize if feeder else limits.record_bytes_max,
                check,
                failed,
                table.indexes,
                dated=table.dated is not None,
                writer=feeder,
            )
    return shards


def row_coder(table: Table[Any, Any], settings: Settings) -> RowCoder:
    """Between the entries of a table and its rows."""
    key = make_table_coder(table.key_type, table.key_serializer, is_key=True, **settings.codec_bounds)
    decode_keys = None if table.key_decoding is None else table.key_decoding(key)
    part, keys_as_json = None, types_as_json(table.key_type, table.key_serializer)
    if table.key_coding is not None:
        if table.dated is not None:
            part = KeyPart(key[0], keys_as_json)
        key, keys_as_json = table.key_coding(key), frozenset()
    value = make_table_coder(table.value_type, table.value_serializer, migrate=table.migrate, **settings.codec_bounds)
    return RowCoder(
        table.name,
        key,
        value,
        migrates=table.migrate is not None,
        decode_keys=decode_keys,
        part=part,
        keys_as_json=keys_as_json,
        values_as_json=types_as_json(table.value_type, table.value_serializer),
    )


class DetachedShard:
    """A shard as code outside of events sees it: what it reads is its own copy, and changing that changes no table."""

    __slots__ = ("_shard",)

    def __init__(self, shard: CachedShard) -> None:
        self._shard = shard

    def stored(self, key: Any) -> Any:
        """The value of `key`; KeyError when there is none."""
        identity = self._shard.coder.identity(key)
        value = self._shard.stored(identity)
        return value if type(value) in IMMUTABLE else self._shard.copy(identity, value)

    read = stored


class LocalTable:
    """All shards of one table that are on this worker."""

    __slots__ = ("_group", "_history", "_name", "_tasks")

    def __init__(self, table: ResolvedTable, tasks: dict[TaskId, RunningTask], history: int | None = None) -> None:
        """history: in ms; None: it keeps no versions."""
        self._history = history
        self._name = table.name
        self._group = table.group
        self._tasks = tasks

    def all(self) -> Sequence[CachedShard]:
        """In the order of partitions."""
        return [task.shards[self._name] for _, task in sorted(self._tasks.items()) if self._name in task.shards]

    def timed(self, operator: str) -> Sequence[tuple[CachedShard, int]]:
        """The same, with the operator's time as of the last commit, in ms."""
        return [
            (task.shards[self._name], NO_TIME if task.time is None else task.time.operators[operator].committed)
            for _, task in sorted(self._tasks.items())
            if self._name in task.shards
        ]

    def find(self, key: Any) -> DetachedShard | None:
        """The shard that has the key; any, when all shards are here; None when it may be on another worker.

        The key alone does not tell: an entry lives in the partition of the event that wrote it.
        """
        shards = self.all()
        for shard in shards:
            try:
                shard.stored(shard.coder.identity(key))
            except KeyError:
                continue
            return DetachedShard(shard)
        return DetachedShard(shards[0]) if shards and len(shards) == self._group else None

    def stored_at(self, key: Any, time: int) -> Any:
        """The value of a key at a time, in ms, of a table that keeps versions; KeyError: there was none.

        Raises:
            NoVersion: no shard here has versions of it.
        """
        assert self._history is not None
        for _, task in sorted(self._tasks.items()):
            if self._name not in task.shards:
                continue
            coder = task.shards[self._name].coder
            data = coder.key_bytes(coder.identity(key))
            scan = scan_of(task.shards[versions_name(self._name)])
            now = NO_TIME if task.time is None else task.time.operators[self._name].finished
            with suppress(NoVersion):
                encoded = version_at(scan, data, time, now - self._history)
                if encoded is None:
                    raise KeyError(key)
                return coder.decode(data, encoded)
        raise NoVersion


def attach_tables(plan: Plan, tasks: dict[TaskId, RunningTask], topology: Topology) -> None:
    """Let the app's tables find the shards of these tasks."""
    resolved = {table.name: table for table in topology.tables}
    for table in plan.tables:
        if table.name not in resolved:
            raise AppError(f"table {table.name!r} is declared but not in the topology: it was declared too late.")
        table.local = LocalTable(resolved[table.name], tasks, table.history_ms)
