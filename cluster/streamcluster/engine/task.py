"""RunningTask: one task's coroutines, shards, outbox and partitions; what a commit takes and a rollback drops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from ..current import KafkaRecord
from ..freeze import Plan, Unit
from ..ids import TP, TaskId
from ..stores import TaskStore
from ..tables import Table
from .instance import Instance
from .outbox import Outbox
from .partition import Reader, SourcePartition
from .shards import CachedShard
from .values import Committed, TaskCommit


class RunningTask:
    """One task that this worker owns and that has been restored."""

    __slots__ = ("id", "in_transaction", "instances", "outbox", "partitions", "shards", "store")

    def __init__(self, task: TaskId, store: TaskStore, shards: dict[str, CachedShard], outbox: Outbox) -> None:
        self.id = task
        self.store = store
        self.shards = shards
        self.outbox = outbox
        self.instances: list[Instance] = []
        self.partitions: dict[TP, SourcePartition] = {}
        # Some of its output has been handed to the open transaction, so that transaction must wait for it.
        self.in_transaction = False

    def start(self) -> None:
        """Start every coroutine."""
        for instance in self.instances:
            instance.start()

    def resting(self) -> bool:
        """No event of this task is half done in its own coroutines."""
        return all(instance.resting for instance in self.instances)

    def idle(self) -> bool:
        """Resting, with nothing queued."""
        return all(i.down or i.intake.idle for i in self.instances)

    def failed(self) -> bool:
        """A coroutine failed at an event and the rollback is still to come."""
        return any(instance.failed for instance in self.instances)

    def hold(self) -> None:
        """Let every coroutine come to rest after its current event."""
        for instance in self.instances:
            instance.intake.hold()

    def release(self) -> None:
        """Go on after `hold`."""
        for instance in self.instances:
            instance.intake.release()

    def set_flush(self, flush: bool) -> None:
        """While true, take() hands out what it has at once."""
        for instance in self.instances:
            instance.intake.flush = flush
            if flush:
                instance.intake.wake()

    def uncommitted_count(self) -> int:
        """Output records and table entries since the last cut: what the next commit carries at least."""
        return self.outbox.count() + sum(shard.dirty_count() for shard in self.shards.values())

    def is_clean(self) -> bool:
        """Nothing has happened since the last cut."""
        return not self.uncommitted_count() and all(p.position() == p.committed for p in self.partitions.values())

    def cut(self, *, all_offsets: bool = False) -> TaskCommit:
        """Take everything since the last cut; the task must be resting. all_offsets: also those that did not move."""
        offsets = {
            tp: position
            for tp, partition in self.partitions.items()
            if (position := partition.position()) != partition.committed or all_offsets
        }
        changes = {name: changed for name, shard in self.shards.items() if (changed := shard.cut())}
        return TaskCommit(task=self.id, offsets=offsets, outputs=self.outbox.swap(), changes=changes)

    def committed(self, commit: TaskCommit) -> None:
        """`commit` is in Kafka and in the store."""
        for tp, position in commit.offsets.items():
            self.partitions[tp].committed = position
            self.partitions[tp].forget_skips()
        for shard in self.shards.values():
            shard.committed()

    async def stop(self) -> None:
        """Cancel every coroutine."""
        async with asyncio.TaskGroup() as group:
            for instance in self.instances:
                group.create_task(instance.cancel())

    async def rollback(self) -> None:
        """Drop everything since the last commit and start afresh from there; the store is untouched."""
        await self.stop()
        self.outbox.swap()
        self.in_transaction = False
        for shard in self.shards.values():
            shard.rollback()
        for partition in self.partitions.values():
            partition.rewind()
        self.start()


def build_task(
    task: TaskId,
    outbox: Outbox,
    plan: Plan,
    sources: Iterable[str],
    store: TaskStore,
    shards: dict[str, CachedShard],
    positions: dict[TP, Committed],
    make_instance: Callable[[Unit, str, TaskId, Outbox], Instance],
    reject: Callable[[RunningTask, TP, KafkaRecord, str, Exception], bool],
    shared_readers: Callable[[str], list[Reader]],
    reads: Callable[[Unit, str], bool],
) -> RunningTask:
    """Put a task together: an instance per unit that reads one of its topics, wired to its partitions and shards."""
    running = RunningTask(task, store, shards, outbox)
    names = sorted(sources)
    readers: dict[str, list[Reader]] = {name: shared_readers(name) for name in names}
    tables: dict[str, Table[object, object]] = {table.name: table for table in plan.tables}
    for unit in plan.units:
        topics = [name for name in names if reads(unit, name)]
        for number in range(unit.concurrency if topics else 0):
            name = f"{unit.name}#{number}/{unit.concurrency}" if unit.concurrency > 1 else unit.name
            instance = make_instance(unit, name, task, outbox)
            for table_name, shard in shards.items():
                instance.set_shard(tables[table_name].shard_var, shard)
            share = (number, unit.concurrency) if unit.concurrency > 1 else None
            for topic in topics:
                readers[topic].append(Reader(name, unit.name, unit.topic, instance.intake, share))
            running.instances.append(instance)
    for topic in names:
        tp = TP(topic, task.partition)

        def reject_here(tp: TP, record: KafkaRecord, unit: str, error: Exception) -> bool:
            return reject(running, tp, record, unit, error)

        running.partitions[tp] = SourcePartition(task, tp, readers[topic], positions[tp], reject_here)
    return running
