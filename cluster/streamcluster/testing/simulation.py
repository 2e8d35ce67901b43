"""Simulation: a worker without a process and a broker: the pump over logs in memory; it crashes on request.

What `streamcluster_worker` does with Kafka and RocksDB happens here in memory, one step at a time.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable

import msgspec

from ..ahead import position_of
from ..app import App
from ..current import outbox_var
from ..dates import dated_tables, rows_of
from ..engine.engine import Engine
from ..engine.in_hand import InHand
from ..engine.pacing import Pacing
from ..engine.ports import Reads, Writes
from ..engine.pump import Pump
from ..engine.recovery import Recovery
from ..engine.topic_rows import topic_rows_of
from ..engine.values import Committed
from ..ids import TP, TaskId
from ..printable import repr_of
from ..signals import call
from ..stores import TaskStore
from ..topology import Topology
from ..topology.units import Plan
from .brokers import SimulatedReads, SimulatedWrites
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
        self.pump: Pump
        self._stores: dict[TaskId, TaskStore] = {}
        self.reads: SimulatedReads
        self.writes: SimulatedWrites
        # What stands between the pump and the logs: nothing, but for tests that delay and lose what it asks for.
        self.outbox_records_max = sys.maxsize
        # What the next `open` knows of the process before it.
        self.in_hand: InHand | None = None
        self.through: Callable[[SimulatedReads, SimulatedWrites], tuple[Reads, Writes]] = lambda reads, writes: (
            reads,
            writes,
        )

    def time(self) -> float:
        """Seconds since the epoch."""
        return self._start_time + self._clock.now()

    async def open(self) -> None:
        """Start every task from its committed position, and the app's functions."""
        app, conf = self._app, self._app.conf
        self.engine = Engine(
            app,
            self._plan,
            self._topology,
            self._clock,
            # Nothing more comes than what a test has sent, and time stands still.
            settings=msgspec.structs.replace(
                conf, outbox_records_max=self.outbox_records_max, idle_timeout=0.0, watermark_interval=0.0
            ),
            in_hand=self.in_hand,
        )
        self.reads = SimulatedReads(self.logs)
        changelogs = {table.name: table.changelog for table in self._topology.tables}
        self.writes = SimulatedWrites(
            self.logs,
            self._stores,
            self.committed,
            changelogs,
            self.time,
            exactly_once=conf.exactly_once,
            dated=dated_tables(self._plan.tables),
            feeders={table.name: table.feeder for table in self._topology.tables if table.feeder},
        )
        # Time stands still here, so a commit is due whenever there is something to commit.
        pacing = Pacing(msgspec.structs.replace(conf, commit_interval=0.0), self._clock.now())
        self.pump = Pump(self.engine, conf, *self.through(self.reads, self.writes), pacing)
        outbox_var.set(self.engine.outbox)
        app.on_worker_init.send(app)
        for task in self._topology.tasks():
            await self.open_task(task)
        await app.on_rebalance_complete.send_async(app)
        self.engine.functions.start(leader=True)
        await self._settle()

    async def open_task(self, task: TaskId) -> None:
        """Start a task from its committed position, with the store that is there or a restored one."""
        sources = [TP(topic, task.partition) for topic in self._topology.sources(task)]
        for tp in sources:
            self.committed.setdefault(tp, Committed(0))
        self.engine.open_task(task, self._restore(task), {tp: self.committed[tp] for tp in sources})
        for table, callback in self.engine.recover_callbacks(task):
            await call(f"on_recover of table {table!r}", callback)
        self.pump.start_task(self.engine.tasks[task])
        await self._app.on_partitions_assigned.send_async(self._app, assigned=set(sources))

    def _restore(self, task: TaskId) -> TaskStore:
        """The task's store, a new one if there is none, with everything that the changelogs have."""
        tables, dated = self._topology.tables_of(task), dated_tables(self._plan.tables)
        store = self._stores.get(task)
        if store is None:
            store = self._stores[task] = self._make_store(task, [table.name for table in tables])
            for table in tables:
                # Without an offset it is empty, and emptying it costs RocksDB 30 ms.
                if store.changelog_next_offset(table.name) is not None:
                    store.forget(table.name)
        of_topics = topic_rows_of(self._plan, self._topology, self._app.conf)
        for table in tables:
            tp = TP(table.changelog, task.partition)
            log, at = self.logs.logs.get(tp, []), store.changelog_next_offset(table.name) or 0
            if table.name in of_topics:
                position = self.committed[tp]
                tail = log[at : position_of(table.feeder, position.next_offset, position.metadata)]
                made = of_topics[table.name].rows_of([one.key for one in tail], [one.value for one in tail])
                store.restore(table.name, made, at + len(tail))
                continue
            tail = log[at:]
            rows = [(record.key or b"", record.value) for record in tail]
            if table.name in dated:
                rows = rows_of(rows, [record.timestamp for record in tail])
            store.restore(table.name, rows, len(log))
        return store

    async def stop(self) -> None:
        """End every coroutine, without a commit."""
        await self.pump.end()
        self.engine.abandon()
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

    def move_clock(self, seconds: float) -> None:
        """Let time pass, and nothing else happen."""
        self._clock.move_to(self._clock.now() + seconds)

    async def move_to(self, now: float) -> None:
        """Let time pass, and let the app do what it does then."""
        self._clock.move_to(now)
        await self.process(commit=True)

    async def close(self) -> None:
        """Let the app say good-bye, end every coroutine and close the stores."""
        outbox_var.set(self.engine.outbox)
        await self._app.on_before_shutdown.send_async(self._app)
        await self.stop()
        self.lose_stores()

    def lose_stores(self) -> None:
        """Close the stores and forget them: the next `open` restores new ones from the changelogs."""
        for store in self._stores.values():
            store.close()
        self._stores = {}

    async def process(self, *, commit: bool) -> None:
        """Turn the pump until nothing moves any more."""
        state: object = None
        while True:
            fed = await self.pump.step(commits=commit)
            await self._settle()
            await self.reopen_failed()
            if not self.pump.is_busy():
                _raise_stop(self.engine.recovery)
            before, state = state, self.state()
            if not fed and before == state and not self.pump.is_busy() and not self.engine.recovery.wanted():
                break
        for task, running in self.engine.tasks.items():
            if running.time is not None and running.store_error is None and task in self._stores:
                for source in running.time.sources.values():
                    source.assert_told()

    def state(self) -> object:
        """Changes whenever something has moved."""
        recovery = self.engine.recovery
        trials = [(task, trial.phase, len(trial.suspects)) for task, trial in recovery.trials.items()]
        return self.engine.moves, self.pump.commits_total, recovery.rollbacks_total, recovery.dead_letters_total, trials

    async def reopen_failed(self) -> None:
        """Restore the stores that could not be read or written, and start their tasks again."""
        failed = [task for task in self.engine.tasks.values() if task.store_error is not None]
        if not failed or self.pump.is_busy() or any(self.engine.transaction.has(task.id) for task in failed):
            return
        for task in failed:
            self.reads.unassign(task.logs)
            await self.engine.close_task(task.id)
            self.close_store(task.id)
            await self.open_task(task.id)

    def close_store(self, task: TaskId) -> None:
        """Close the store of a task that is closed: the next one is restored."""
        self._stores.pop(task).close()

    async def _settle(self) -> None:
        """Wait until every coroutine rests with nothing to do, in real time as far as user code awaits real things."""
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        recovery = self.engine.recovery
        while True:
            for _ in range(3):
                await asyncio.sleep(0)
            if recovery.wanted() or recovery.crash or recovery.stop_failure or self.engine.idle():
                return
            if self.pump.is_busy() or any(task.stopped for task in self.engine.tasks.values()):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"the app did not come to rest within {SETTLE_SECONDS_MAX:.0f} s.")
            await asyncio.sleep(0.001)


def _raise_stop(recovery: Recovery) -> None:
    """Raise what would end the worker process."""
    if recovery.stop_failure is not None:
        failure, recovery.stop_failure = recovery.stop_failure, None
        raise _as_exception(failure.unit, failure.error)
    if recovery.crash is not None:
        (name, error), recovery.crash = recovery.crash, None
        raise _as_exception(name, error)


def _as_exception(name: str, error: BaseException) -> Exception:
    """What ends the worker and not, as SystemExit would, the tests."""
    if isinstance(error, Exception):
        return error
    failure = RuntimeError(f"{name} raised {repr_of(error)}")
    failure.__cause__ = error
    return failure
