"""Commits: the one that is in flight, in a thread of its own: Kafka first, then the stores (I2).

It does not decide when to commit, and what is in a commit the engine has cut.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from streamcluster.engine.engine import Engine
from streamcluster.engine.outbox import OutputRecord
from streamcluster.engine.values import Commit
from streamcluster.ids import TP, TaskId
from streamcluster.stores import TaskStore

from .clients import Clients
from .pacing import Pacing

Merged = dict[str, list[OutputRecord]]


class Commits:
    """At most one commit at a time. total: how many succeeded."""

    __slots__ = ("_changelogs", "_clients", "_engine", "_in_flight", "_loop", "_pacing", "_pool", "_stores", "total")

    def __init__(self, engine: Engine, clients: Clients, stores: dict[TaskId, TaskStore], pacing: Pacing) -> None:
        self._engine = engine
        self._clients = clients
        self._stores = stores
        self._pacing = pacing
        self._changelogs = {table.name: table.changelog for table in engine.topology.tables}
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._in_flight: asyncio.Future[None] | None = None
        self.total = 0

    def in_flight(self) -> bool:
        """Whether a commit has not ended, or has failed and was not raised yet."""
        return self._in_flight is not None

    def start(self, commit: Commit) -> None:
        """Commit in the thread; the engine's `changed` is set when it ends."""
        assert self._in_flight is None
        self._in_flight = self._loop.run_in_executor(self._pool, self._write, commit)
        self._in_flight.add_done_callback(lambda future: self._ended(commit, future))

    async def perform(self, commit: Commit) -> None:
        """Commit and wait for it; none may be in flight."""
        await self._loop.run_in_executor(self._pool, self._write, commit)
        self._engine.committed(commit)
        self.total += 1

    def raise_failed(self) -> None:
        """Raise what the commit in flight failed with, once."""
        if self._in_flight is not None and self._in_flight.done() and self._in_flight.exception() is not None:
            failed, self._in_flight = self._in_flight, None
            failed.result()

    async def finish(self) -> None:
        """Wait for the commit in flight; its failure is raised."""
        if self._in_flight is not None:
            await asyncio.wait({self._in_flight})
            await asyncio.sleep(0)
            self.raise_failed()

    async def abort(self) -> None:
        """Abort the open transaction; no commit may be in flight."""
        await self._loop.run_in_executor(self._pool, self._clients.committer.abort)

    def close(self) -> None:
        """End the thread. Blocks until it is back."""
        self._pool.shutdown(wait=True)

    def _write(self, commit: Commit) -> None:
        """In the thread."""
        outputs: Merged = {}
        merge(outputs, commit.outputs)
        changelogs: dict[TP, list[OutputRecord]] = {}
        offsets: dict[TP, tuple[int, str]] = {}
        for cut in commit.tasks:
            merge(outputs, cut.outputs)
            offsets.update({tp: (at.next_offset, at.metadata) for tp, at in cut.offsets.items()})
            for table, changes in cut.changes.items():
                tp = TP(self._changelogs[table], cut.task.partition)
                changelogs[tp] = [{"key": key, "value": value} for key, value in changes.items()]
        landed = self._clients.committer.commit(outputs, changelogs, offsets)
        for cut in commit.tasks:
            if cut.changes:
                next_offsets = {table: landed[TP(self._changelogs[table], cut.task.partition)] for table in cut.changes}
                self._stores[cut.task].write(cut.changes, next_offsets)

    def _ended(self, commit: Commit, future: asyncio.Future[None]) -> None:
        """Back on the loop: the engine forgets what is committed. A failed commit stays until it is raised."""
        self._engine.changed.set()
        if not future.cancelled() and future.exception() is None:
            self._in_flight = None
            self._pacing.committed(self._loop.time())
            self._engine.committed(commit)
            self.total += 1
            self._clients.connection.answered()


def merge(into: Merged, outputs: Merged) -> None:
    """Add the records of `outputs` to those of `into`, topic by topic."""
    for topic, records in outputs.items():
        if topic in into:
            into[topic] += records
        else:
            into[topic] = records
