"""KafkaWrites: takes what the pump commits to Kafka first, then to the stores (I2), in a thread of its own.

It does not decide when, and what is in a commit the engine has cut.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from streamcluster.ahead import position_of
from streamcluster.dates import AHEAD_MS_MAX, Dated, records_of
from streamcluster.engine.outbox import Outputs, merge
from streamcluster.engine.values import Commit, TaskCommit
from streamcluster.ids import TP, TaskId
from streamcluster.output import OutputColumns
from streamcluster.settings import Settings
from streamcluster.stores import StoreFailed, TaskStore

from .clients import Clients


class KafkaWrites:
    """`Writes` of the pump.

    changelogs: table -> topic; feeders: table whose changelog is the topic that it is made of -> the agent that reads
    that: the store has what this agent has committed; stores: the open ones, now and later; committed: gets every
    position that is committed; dated: the tables whose rows have dates.
    """

    __slots__ = (
        "_changelogs",
        "_clients",
        "_committed",
        "_dated",
        "_exactly_once",
        "_feeders",
        "_loop",
        "_pool",
        "_stores",
    )

    def __init__(
        self,
        settings: Settings,
        changelogs: dict[str, str],
        clients: Clients,
        stores: dict[TaskId, TaskStore],
        committed: dict[TP, int],
        dated: Dated,
        feeders: Mapping[str, str],
    ) -> None:
        self._exactly_once = settings.exactly_once
        self._changelogs = changelogs
        self._dated = dated
        self._feeders = feeders
        self._clients = clients
        self._stores = stores
        self._committed = committed
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="commit")

    @property
    def outputs_landed(self) -> bool:
        """At least once: the outputs of the commit under way have landed; others may go out beside the rest of it."""
        return self._clients.committer.outputs_landed

    def produce(self, outputs: Outputs) -> asyncio.Future[None] | None:
        """Put output into the open transaction: at once when the producer's queue has room, else in the thread."""
        committer = self._clients.committer
        if committer.produce_at_once(outputs):
            return None
        return self._loop.run_in_executor(self._pool, committer.produce_early, outputs)

    def commit(self, commit: Commit) -> asyncio.Future[dict[TaskId, StoreFailed]]:
        """Commit in the thread: gives the tasks whose store did not take it."""
        future = self._loop.run_in_executor(self._pool, self._write, commit)
        future.add_done_callback(self._ended)
        return future

    def abort(self) -> asyncio.Future[None]:
        """Abort the open transaction in the thread."""
        abort: Callable[[], None] = self._clients.committer.abort
        return self._loop.run_in_executor(self._pool, abort)

    def close(self) -> None:
        """End the thread. Blocks until it is back."""
        self._pool.shutdown(wait=True)

    def _ended(self, future: asyncio.Future[dict[TaskId, StoreFailed]]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._clients.connection.answered()

    def _write(self, commit: Commit) -> dict[TaskId, StoreFailed]:
        """In the thread."""
        outputs: Outputs = {}
        merge(outputs, commit.outputs)
        changelogs: dict[TP, OutputColumns] = {}
        offsets: dict[TP, tuple[int, str]] = {}
        latest = round(time.time() * 1000) + AHEAD_MS_MAX
        for cut in commit.tasks:
            merge(outputs, cut.outputs)
            offsets.update({tp: (at.next_offset, at.metadata) for tp, at in cut.offsets.items()})
            for table, changes in cut.changes.items():
                if table in self._feeders:
                    continue
                tp = TP(self._changelogs[table], cut.task.partition)
                changelogs[tp] = records_of(changes, self._dated.get(table), latest, cut.stamps.get(table))
        landed = self._clients.committer.commit(outputs, changelogs, offsets)
        self._committed.update({tp: offset for tp, (offset, _) in offsets.items()})
        failed: dict[TaskId, StoreFailed] = {}
        for cut in commit.tasks:
            if cut.changes:
                cut.landed({table: self._next_offset(table, cut, landed) for table in cut.changes})
                try:
                    self._stores[cut.task].write(cut.changes, cut.ends, cut.passed)
                except StoreFailed as error:
                    # It is committed all the same: the store says how far it has come, and the rest is read again.
                    failed[cut.task] = error
        if self._exactly_once:
            # At least once outputs do not wait for the next transaction.
            self._clients.wait_until_ended(offsets)
        return failed

    def _next_offset(self, table: str, cut: TaskCommit, landed: Mapping[TP, int]) -> int:
        """Up to where the store has the table's changelog now."""
        tp = TP(self._changelogs[table], cut.task.partition)
        if (feeder := self._feeders.get(table)) is None:
            return landed[tp]
        # It was at a record of its topic, or else it had written nothing: so its position is in the commit.
        at = cut.offsets[tp]
        return position_of(feeder, at.next_offset, at.metadata)
