"""Worker: performs what the life cycle of its tasks decides, and keeps the data plane running.

One loop: messages become events of `lifecycle.py`, its effects are performed here, and between them the pump turns.
When the outcome of a commit is unknown, every client is replaced and every task starts again from Kafka's word (I3).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from streamcluster.app import App
from streamcluster.engine.clock import LoopClock
from streamcluster.engine.engine import Engine
from streamcluster.errors import (
    BrokerUnreachable,
    ConfigurationError,
    ExitCode,
    Fenced,
    StateIncompatible,
    StreamclusterError,
)
from streamcluster.freeze import Plan
from streamcluster.ids import TP, TaskId
from streamcluster.messages import (
    Drain,
    Drained,
    Failed,
    Grant,
    Lead,
    ReadTable,
    Ready,
    Released,
    Revoke,
    ToCoordinator,
    ToWorker,
    WorkerConfig,
)

from . import lifecycle as life
from .clients import Clients
from .kafka_errors import RecordRefused, ResetNeeded
from .outage import Outage
from .positions import Start, refuse_lost_offsets, start_positions
from .pump import Pump
from .queries import read_table
from .reports import make_report, reads_of
from .restore import Restorer
from .shard import StoreUnavailable
from .stores import Stores

logger = logging.getLogger("streamcluster")
REOPEN_SECONDS = 10.0
REOPEN_PAUSE_SECONDS_MAX = 5.0


class Stop(Exception):
    """The worker ends: with `failed` as its last word, or drained when there is none."""

    def __init__(self, failed: Failed | None = None) -> None:
        super().__init__(failed.text if failed else "drained")
        self.failed = failed


class Worker:
    """One worker process, from its first client to its last."""

    def __init__(
        self, config: WorkerConfig, app: App, plan: Plan, pid: int, send: Callable[[ToCoordinator], None]
    ) -> None:
        self._config = config
        self._settings = config.settings
        self._app = app
        self._pid = pid
        self._send = send
        self._engine = Engine(app, plan, config.topology, LoopClock())
        self._life = life.Lifecycle()
        self._events: deque[life.Event] = deque()
        self._starts: dict[TaskId, Start] = {}
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="open")
        self._clients: Clients | None = None
        self._pump: Pump | None = None
        self._restorer: Restorer | None = None
        self._stores: Stores | None = None
        self._leader = config.leader
        self._leads_changed = True
        # Whether an event was left unfinished since the drain began.
        self._cut_short = False
        # Why a restore cannot go on in this process.
        self._store_error: StoreUnavailable | None = None
        self._outage = Outage(self._pool)

    # Messages

    def receive(self, message: ToWorker) -> None:
        """A message of the coordinator, on the loop."""
        match message:
            case Grant():
                self._events.append(life.Granted(message.epoch, message.tasks))
            case Revoke():
                self._events.append(life.Revoked(message.epoch, message.tasks))
            case Drain():
                self._cut_short = False
                self._events.append(life.DrainRequested())
            case Lead():
                self._leader = message.leader
                self._leads_changed = True
            case ReadTable():
                self._send(read_table(self._engine, message, self._life.states))
        self._engine.changed.set()

    def report(self) -> None:
        """Send a heartbeat."""
        broker, note = self._outage.state(self._clients)
        slot, restorer = self._config.slot, self._restorer
        self._send(make_report(slot, self._life, self._engine, self._pump, restorer, broker=broker, note=note))

    # The loop

    async def run(self) -> None:
        """Work until drained.

        Raises:
            Stop: drained, or cannot go on.
        """
        try:
            await self._open_clients()
            self._send(Ready(slot=self._config.slot, pid=self._pid))
            self._app.on_worker_init.send(self._app)
            while True:
                await self._turn()
        except Fenced as error:
            raise Stop(_failed(ExitCode.FENCED, str(error))) from error
        except StateIncompatible as error:
            raise Stop(_failed(ExitCode.STATE_INCOMPATIBLE, str(error))) from error
        except ConfigurationError as error:
            raise Stop(_failed(ExitCode.CONFIGURATION, str(error))) from error
        except RecordRefused as error:
            raise Stop(_failed(ExitCode.CRASH_LOOP, str(error))) from error

    async def _turn(self) -> None:
        try:
            while self._events:
                for effect in self._life.handle(self._events.popleft()):
                    await self._perform(effect)
            if self._leads_changed:
                self._leads_changed = False
                if not self._leader:
                    await self._engine.functions.lose_leadership()
                self._engine.functions.start(leader=self._leader)
            assert self._pump is not None
            await self._pump.turn()
            await self._check_failures()
        except (Fenced, ConfigurationError, RecordRefused, StateIncompatible):
            raise
        except (ResetNeeded, BrokerUnreachable) as error:
            await self._reset(error)

    async def _check_failures(self) -> None:
        """End when user code says that the app, or this process, must."""
        if self._store_error is not None:
            raise self._store_error
        recovery = self._engine.recovery
        if recovery.stop_failure is not None:
            failure = recovery.stop_failure
            await self._close(tuple(self._life.states))
            wrong_app = isinstance(failure.error, ConfigurationError)
            where = ", ".join(f"{tp}@{offset}" for tp, offset in failure.suspects[:3]) or "its start"
            text = f"{failure.unit} stops the app at {where}: {failure.error!r}"
            code = ExitCode.CONFIGURATION if wrong_app else ExitCode.CRASH_LOOP
            raise Stop(_failed(code, text, failure.error))
        if recovery.crash is not None:
            name, error = recovery.crash
            raise Stop(_failed(1, f"task {name} failed: {error!r}", error))

    # Effects

    async def _perform(self, effect: life.Effect) -> None:
        match effect:
            case life.Open(tasks):
                await self._open(tasks)
            case life.Restore(task):
                if logs := reads_of(self._config.topology, task):
                    assert self._restorer is not None
                    assert self._stores is not None
                    self._restorer.start(task, self._stores.open_stores[task], logs)
                else:
                    self._events.append(life.Restored(task))
            case life.Run(task):
                await self._start(task)
            case life.Close(tasks):
                await self._close(tasks)
                self._events.extend(life.Closed(task) for task in tasks)
            case life.TellReleased(epoch, tasks):
                self._send(Released(epoch=epoch, tasks=tasks))
                await self._app.on_partitions_revoked.send_async(self._app, revoked=_tps(self._config, tasks))
            case life.TellDrained():
                await self._app.on_before_shutdown.send_async(self._app)
                await self._engine.functions.stop()
                if self._cut_short:
                    raise Stop(_failed(ExitCode.DRAIN_DEADLINE, "not all events in progress could be finished"))
                self._send(Drained())
                raise Stop()

    async def _open(self, tasks: tuple[TaskId, ...]) -> None:
        """Open stores and read positions, for all tasks in one round trip, off the loop."""
        assert self._clients is not None
        assert self._stores is not None
        clients, stores = self._clients, self._stores

        def open_all() -> dict[TaskId, Start]:
            partitions = {task: sorted(_tps(self._config, (task,))) for task in tasks}
            starts = start_positions(clients, self._settings, partitions)
            for task in tasks:
                tables = [table.name for table in self._config.topology.tables_of(task)]
                refuse_lost_offsets(self._settings, starts[task], stores.open(task), tables)
            return starts

        self._starts.update(await self._loop.run_in_executor(self._pool, open_all))
        self._events.extend(life.Opened(task) for task in tasks)

    def _restore_ended(self, restorer: Restorer, task: TaskId, error: Exception | None = None) -> None:
        """On the loop: the restorer is done with a task. A restorer of earlier clients does not count any more."""
        if restorer is self._restorer:
            if isinstance(error, StoreUnavailable):
                # Trying again at once would fail again; the coordinator knows how long to wait.
                self._store_error = error
            elif error is not None:
                logger.error("task %s: restoring its tables failed: %s", task, error)
            self._events.append(life.Restored(task) if error is None else life.Lost())
            self._engine.changed.set()

    async def _start(self, task: TaskId) -> None:
        assert self._stores is not None
        assert self._pump is not None
        start, store = self._starts.pop(task), self._stores.open_stores[task]
        tables = self._config.topology.tables_of(task)
        # Again: rows that came back from a changelog count as much as those that were on this disk.
        refuse_lost_offsets(self._settings, start, store, [table.name for table in tables])
        self._engine.open_task(task, store, start.positions)
        for table in tables:
            for callback in self._app.tables[table.name].recover_callbacks:
                result = callback()
                if inspect.isawaitable(result):
                    await result
        await self._pump.start_task(self._engine.tasks[task])
        await self._app.on_partitions_assigned.send_async(self._app, assigned=_tps(self._config, (task,)))
        if all(state == "running" for state in self._life.states.values()):
            await self._app.on_rebalance_complete.send_async(self._app)

    async def _close(self, tasks: tuple[TaskId, ...]) -> None:
        assert self._pump is not None
        assert self._restorer is not None
        assert self._stores is not None
        for task in tasks:
            self._restorer.cancel(task)
        # The coordinator's deadline is the whole of it; what is left is for the commit.
        patience = self._settings.drain_timeout * 0.8
        if not await self._pump.close_tasks(tasks, patience):
            self._cut_short = True
            text = "an event of task %s was not finished within %.1f s: it is left uncommitted, and will be done again"
            logger.warning(text, ", ".join(map(str, tasks)), patience)
        for task in tasks:
            self._starts.pop(task, None)
            self._stores.close(task)

    # Clients

    async def _open_clients(self) -> None:
        """Open every client; the first thing that this does is to fence whoever had the slot before."""
        config, settings = self._config, self._settings
        limits = [topic.message_bytes_max for topic in config.topology.topics if topic.message_bytes_max is not None]
        clients = await self._loop.run_in_executor(
            self._pool,
            Clients.open,
            settings,
            config.transactional_id,
            settings.connect_timeout,
            min(limits, default=settings.producer_max_request_size),
        )
        self._clients = clients
        if self._stores is None:
            self._stores = Stores(settings, config.topology, config.state_dir, clients.cluster_id)
        self._pump = Pump(self._engine, settings, clients, self._stores.open_stores)

        def done(task: TaskId) -> None:
            self._loop.call_soon_threadsafe(self._restore_ended, restorer, task)

        def failed(task: TaskId, error: Exception) -> None:
            self._loop.call_soon_threadsafe(self._restore_ended, restorer, task, error)

        restorer = Restorer(settings, clients.connection, clients.offsets, done=done, failed=failed)
        self._restorer = restorer

    async def _reset(self, error: StreamclusterError) -> None:
        """Throw every client away, open new ones as soon as brokers answer, and start every task again."""
        logger.warning("%s", error)
        self._outage.began(error)
        await self._drop_clients()
        pause = 0.1
        while True:
            try:
                await self._open_clients()
                break
            except BrokerUnreachable as unreachable:
                self._outage.began(unreachable)
                logger.warning("%s Trying again.", unreachable)
                await asyncio.sleep(pause)
                pause = min(REOPEN_PAUSE_SECONDS_MAX, pause * 2)
        self._outage.ended()
        self._events.append(life.Lost())
        logger.info("connected again; every task starts from its committed position")

    async def _drop_clients(self) -> None:
        for task in list(self._engine.tasks):
            await self._engine.close_task(task)
        in_flight, self._engine.in_flight = self._engine.in_flight, None
        if in_flight is not None and in_flight.outputs:
            count = sum(map(len, in_flight.outputs.values()))
            logger.error(
                "%d records that tasks and timers sent were in the commit that failed; they may be lost", count
            )
        pump, restorer, clients = self._pump, self._restorer, self._clients
        self._pump = self._restorer = self._clients = None

        def close() -> None:
            if restorer is not None:
                restorer.stop()
            if pump is not None:
                pump.close()
            if clients is not None:
                clients.close()

        await self._loop.run_in_executor(self._pool, close)

    async def end(self) -> None:
        """Let go of every handle, without a commit."""
        await self._engine.functions.stop()
        await self._drop_clients()
        if self._stores is not None:
            self._stores.close_all()
        self._pool.shutdown(wait=False)


def _tps(config: WorkerConfig, tasks: tuple[TaskId, ...]) -> set[TP]:
    return {TP(topic, task.partition) for task in tasks for topic in config.topology.sources(task)}


def _failed(code: int, text: str, error: Exception | None = None) -> Failed:
    trace = "".join(traceback.format_exception(error)) if error is not None else None
    return Failed(exit_code=int(code), text=text, traceback=trace)
