"""Simulation: a worker without a process and a broker: it feeds the engine, commits what it cuts, crashes on request.

What `streamcluster_worker` does with Kafka and RocksDB happens here in memory, one step at a time.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
from collections.abc import Callable

from ..app import App
from ..engine.engine import Engine
from ..engine.recovery import Recovery
from ..engine.values import Commit, Committed
from ..freeze import Plan
from ..ids import TP, TaskId
from ..stores import TaskStore
from ..topology import Topology
from .topics import SimulatedClock, SimulatedLogs

SETTLE_SECONDS_MAX = 10.0
MakeStore = Callable[[TaskId, list[str]], TaskStore]


class Simulation:
    """One worker that has every task of the app. `open` first. start_time: what timestamps of records begin at."""

    def __init__(
        self, app: App, plan: Plan, topology: Topology, clock: SimulatedClock, make_store: MakeStore, start_time: float
    ) -> None:
        self._app = app
        self._plan = plan
        self._topology = topology
        self._clock = clock
        self._make_store = make_store
        self._start_time = start_time
        self.logs = SimulatedLogs({topic.name: topic.partitions for topic in topology.topics})
        self.committed: dict[TP, Committed] = {}
        self.engine: Engine
        self._stores: dict[TaskId, TaskStore] = {}
        # What the consumer reads next.
        self._fed: dict[TP, int] = {}

    def time(self) -> float:
        """Seconds since the epoch."""
        return self._start_time + self._clock.now()

    async def open(self) -> None:
        """Start every task from its committed position, and the app's functions."""
        self.engine = Engine(self._app, self._plan, self._topology, self._clock, outbox_records_max=sys.maxsize)
        self._app.on_worker_init.send(self._app)
        for task in self._topology.tasks():
            sources = [TP(topic, task.partition) for topic in self._topology.sources(task)]
            for tp in sources:
                self.committed.setdefault(tp, Committed(0))
            if task not in self._stores:
                self._stores[task] = self._restored(task)
            self.engine.open_task(task, self._stores[task], {tp: self.committed[tp] for tp in sources})
            for table in self._topology.tables_of(task):
                for callback in self._app.tables[table.name].recover_callbacks:
                    result = callback()
                    if inspect.isawaitable(result):
                        await result
            await self._app.on_partitions_assigned.send_async(self._app, assigned=set(sources))
        await self._app.on_rebalance_complete.send_async(self._app)
        self._fed = {tp: committed.next_offset for tp, committed in self.committed.items()}
        self.engine.functions.start(leader=True)
        await self._settle()

    def _restored(self, task: TaskId) -> TaskStore:
        tables = self._topology.tables_of(task)
        store = self._make_store(task, [table.name for table in tables])
        for table in tables:
            store.forget(table.name)
            log = self.logs.logs.get(TP(table.changelog, task.partition), [])
            store.restore(table.name, [(record.key() or b"", record.value()) for record in log], len(log))
        return store

    async def stop(self) -> None:
        """End every coroutine, without a commit."""
        await self.engine.functions.stop()
        for task in list(self.engine.tasks):
            await self.engine.close_task(task)

    async def crash(self, *, lose_stores: bool) -> None:
        """Stop without a commit, and start again."""
        await self.stop()
        if lose_stores:
            self.lose_stores()
        await self.open()
        await self.process(commit=True)

    async def move_to(self, now: float) -> None:
        """Let time pass, and let the app do what it does then."""
        self._clock.move_to(now)
        await self.process(commit=True)

    async def close(self) -> None:
        """Let the app say good-bye, end every coroutine and close the stores."""
        await self._app.on_before_shutdown.send_async(self._app)
        await self.stop()
        self.lose_stores()

    def lose_stores(self) -> None:
        """Close the stores and forget them: the next `open` restores new ones from the changelogs."""
        for store in self._stores.values():
            store.close()
        self._stores = {}

    async def process(self, *, commit: bool) -> None:
        """Feed what is there until nothing moves any more."""
        engine = self.engine
        while True:
            fed = self.feed()
            await self._settle()
            if engine.recovery.failures:
                await self.recover()
                continue
            engine.overfull()
            _raise_stop(engine.recovery)
            engine.step()
            committed = (commit or bool(engine.recovery.trials)) and await self._commit()
            tries = any(trial.phase == "alone" for trial in engine.recovery.trials.values())
            if not fed and not committed and not engine.recovery.failures and not tries:
                return

    async def recover(self) -> None:
        """Roll back what failed and read again from there; no commit may be in flight."""
        self._fed.update(await self.engine.recovery.run())

    def feed(self) -> bool:
        """Hand over the records that are there; whether there were any."""
        fed = False
        for tp, position in self._fed.items():
            records = self.logs.logs.get(tp, [])[position:]
            if records:
                self._fed[tp] = position + len(records)
                self.engine.feed(list(records))
                fed = True
        return fed

    async def _settle(self) -> None:
        """Wait until every coroutine rests with nothing to do, in real time as far as user code awaits real things."""
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        recovery = self.engine.recovery
        while True:
            self.engine.changed.clear()
            for _ in range(3):
                await asyncio.sleep(0)
            if recovery.failures or recovery.crash or recovery.stop_failure or self.engine.idle():
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"the app did not come to rest within {SETTLE_SECONDS_MAX:.0f} s.")
            await asyncio.sleep(0.001)

    async def _commit(self) -> bool:
        tasks = await self.engine.barrier(SETTLE_SECONDS_MAX)
        commit = self.engine.cut(tasks)
        self.engine.release()
        if commit.is_empty():
            return False
        self.apply(commit)
        self.engine.committed(commit)
        return True

    def apply(self, commit: Commit) -> None:
        """Write a commit to the logs, the positions and the stores."""
        now = self.time()
        outputs = [commit.outputs, *(cut.outputs for cut in commit.tasks)]
        for topic, messages in [pair for output in outputs for pair in output.items()]:
            self.logs.partition_counts.setdefault(topic, 1)
            for message in messages:
                self.logs.append(topic, message, now)
        changelogs = {table.name: table.changelog for table in self._topology.tables}
        for cut in commit.tasks:
            next_offsets: dict[str, int] = {}
            for table, changes in cut.changes.items():
                for key, value in changes.items():
                    message = {"key": key, "value": value, "partition": cut.task.partition}
                    next_offsets[table] = self.logs.append(changelogs[table], message, now).offset() + 1
            self.committed.update(cut.offsets)
            self._stores[cut.task].write(cut.changes, next_offsets)


def _raise_stop(recovery: Recovery) -> None:
    """Raise what would end the worker process."""
    if recovery.stop_failure is not None:
        failure, recovery.stop_failure = recovery.stop_failure, None
        raise failure.error
    if recovery.crash is not None:
        (_, error), recovery.crash = recovery.crash, None
        raise error
