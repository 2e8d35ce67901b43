"""Reads and writes of the test driver: logs in memory in place of Kafka, with transactions that count or do not.

They do what Kafka does for a worker and nothing else; when and with what they are called is `engine/pump.py`'s, as in
production.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from ..ahead import position_of
from ..batch import Batch
from ..dates import Dated, records_of
from ..engine.outbox import Outputs, merge
from ..engine.values import Commit, Committed, TaskCommit
from ..ids import TP, TaskId
from ..output import output_of
from ..stores import StoreFailed, TaskStore
from .topics import SimulatedLogs, batches_of


class SimulatedReads:
    """A consumer: every record that there is, at once."""

    __slots__ = ("_ended_at", "_logs", "ended", "paused", "positions")

    def __init__(self, logs: SimulatedLogs) -> None:
        self._logs = logs
        self.ended: dict[TP, int] = {}
        # What is read next.
        self.positions: dict[TP, int] = {}
        self.paused: set[TP] = set()
        # The ends that were reported.
        self._ended_at: dict[TP, int] = {}

    def poll(self, room: Callable[[int], int]) -> list[Batch]:
        """The next records, however many."""
        batches: list[Batch] = []
        for tp, position in self.positions.items():
            if tp not in self.paused:
                found = self._logs.logs.get(tp, [])[position:]
                end = self.positions[tp] = position + len(found)
                batches += batches_of(tp, found)
                if self._ended_at.get(tp) != end:
                    self.ended[tp] = self._ended_at[tp] = end
        return batches

    def is_all(self, tp: TP, offset: int) -> bool:
        """No transaction is open here."""
        return True

    def poll_when_idle(self) -> None:
        """Who drives this knows when there are records."""

    def is_full(self, record_count: int) -> bool:
        """There is no bound."""
        return False

    def assign(self, positions: dict[TP, int]) -> None:
        """Read these partitions from there."""
        self.positions.update(positions)
        for tp in positions:
            # An end seen before a rewind must not move the position behind it.
            self._ended_at.pop(tp, None)
            self.ended.pop(tp, None)

    def unassign(self, tps: Iterable[TP]) -> None:
        """Read these partitions no more."""
        for tp in tps:
            self.positions.pop(tp, None)

    def pause_only(self, full: set[TP]) -> None:
        """Read nothing of these partitions for now."""
        self.paused = set(full)


class SimulatedWrites:
    """A producer, and the stores behind it: each call is done when it returns."""

    __slots__ = (
        "_changelogs",
        "_dated",
        "_feeders",
        "_logs",
        "_now",
        "_stores",
        "committed",
        "exactly_once",
        "open",
        "outputs_landed",
    )

    def __init__(
        self,
        logs: SimulatedLogs,
        stores: Mapping[TaskId, TaskStore],
        committed: dict[TP, Committed],
        changelogs: Mapping[str, str],
        now: Callable[[], float],
        *,
        exactly_once: bool,
        dated: Dated,
        feeders: Mapping[str, str],
    ) -> None:
        """changelogs: table -> topic. committed: the group's offsets, changed here. dated: whose rows have dates.

        feeders: tables whose changelog is the topic that they are made of -> the agent that reads it.
        """
        self._feeders = feeders
        self._logs = logs
        self._stores = stores
        self.committed = committed
        self._changelogs = changelogs
        self._dated = dated
        self._now = now
        self.exactly_once = exactly_once
        self.outputs_landed = False
        # Output in the open transaction.
        self.open: Outputs = {}

    def produce(self, outputs: Outputs) -> asyncio.Future[None] | None:
        """Into the transaction, or, without transactions, to everybody."""
        if self.exactly_once:
            merge(self.open, {topic: columns.part(0, len(columns)) for topic, columns in outputs.items()})
        else:
            self._send(outputs)
        return None

    def commit(self, commit: Commit) -> asyncio.Future[dict[TaskId, StoreFailed]]:
        """Write everything."""
        future: asyncio.Future[dict[TaskId, StoreFailed]] = asyncio.get_running_loop().create_future()
        future.set_result(self.apply(commit))
        return future

    def abort(self) -> asyncio.Future[None]:
        """Forget the open transaction."""
        self.open = {}
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future

    def apply(self, commit: Commit) -> dict[TaskId, StoreFailed]:
        """Write a commit to the logs and the positions, and then to the stores."""
        outputs, self.open = self.open, {}
        for one in (commit.outputs, *(cut.outputs for cut in commit.tasks)):
            merge(outputs, {topic: columns.part(0, len(columns)) for topic, columns in one.items()})
        self._send(outputs)
        ends = {cut.task: self._send_changes(cut) for cut in commit.tasks}
        failed: dict[TaskId, StoreFailed] = {}
        for cut in commit.tasks:
            self.committed.update(cut.offsets)
            if not cut.changes:
                continue
            cut.landed(ends[cut.task])
            try:
                self._stores[cut.task].write(cut.changes, cut.ends, cut.passed)
            except StoreFailed as error:
                failed[cut.task] = error
        return failed

    def _send(self, outputs: Outputs) -> None:
        for topic, columns in outputs.items():
            self._logs.partition_counts.setdefault(topic, 1)
            for record in columns.records():
                self._logs.add(topic, record, self._now())

    def _send_changes(self, cut: TaskCommit) -> dict[str, int]:
        ends: dict[str, int] = {}
        for table, rows in cut.changes.items():
            if table in self._feeders:
                at = cut.offsets[TP(self._changelogs[table], cut.task.partition)]
                ends[table] = position_of(self._feeders[table], at.next_offset, at.metadata)
                continue
            columns = records_of(rows, self._dated.get(table), stamps=cut.stamps.get(table))
            for key, value, _, time, _ in columns.records():
                record = output_of(key, value, partition=cut.task.partition, timestamp=time)
                ends[table] = self._logs.add(self._changelogs[table], record, self._now()).offset + 1
        return ends
