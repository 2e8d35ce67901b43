"""Worker: performs what the life cycle of its tasks decides, and keeps the data plane running.

One loop: messages become events of `lifecycle.py`, its effects are performed here, and between them the pump turns.
When the outcome of a commit is unknown, every client is replaced and every task is let go (I3): who has it now is for
the coordinator to say, from a log that it reads after that (H5).
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
    Follow,
    Following,
    Grant,
    Lead,
    ReadTable,
    Ready,
    Released,
    Revoke,
    Stored,
    ToCoordinator,
    ToWorker,
    WorkerConfig,
)

from . import lifecycle as life
from .kafka_errors import RecordRefused, ResetNeeded
from .outage import Outage
from .positions import Start, refuse_lost_offsets, start_positions
from .queries import read_standby, read_table
from .reports import make_report, reads_of
from .restore import Restorer
from .session import Session, open_clients
from .stores import Stores

logger = logging.getLogger("streamcluster")
REOPEN_PAUSE_SECONDS = 0.1
REOPEN_PAUSE_SECONDS_MAX = 5.0
# A session that lasted so long has healed what ended the one before.
CALM_SECONDS = 5.0


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
        self._pool = ThreadPoolExecutor(3, thread_name_prefix="open")
        self._session: Session | None = None
        self._stores: Stores | None = None
        # When the clients were opened last, and the pause before they were, if that was in haste.
        self._opened_at = float("-inf")
        self._pause = REOPEN_PAUSE_SECONDS
        # Why a restore ended early, until the loop comes to it.
        self._restore_error: Exception | None = None
        self._leader = config.leader
        self._leads_changed = True
        # Whether an event was left unfinished since the drain began.
        self._cut_short = False
        self._outage = Outage(self._pool)

    # Messages

    def receive(self, message: ToWorker) -> None:
        """A message of the coordinator, on the loop."""
        match message:
            case Grant():
                self._events.append(life.Granted(message.epoch, message.tasks, message.session))
            case Revoke():
                self._events.append(life.Revoked(message.epoch, message.tasks, message.session))
            case Follow():
                self._events.append(life.Followed(message.epoch, message.tasks, message.session))
            case Drain():
                self._cut_short = False
                self._events.append(life.DrainRequested())
            case Lead():
                self._leader = message.leader
                self._leads_changed = True
            case ReadTable(standby=True):
                follower = self._session.follower if self._session is not None else None
                answer = self._loop.run_in_executor(self._pool, read_standby, self._engine, follower, message)
                answer.add_done_callback(lambda done: self._send(done.result()))
            case ReadTable():
                self._send(read_table(self._engine, message, self._life.states))
        self._engine.changed.set()

    def report(self) -> None:
        """Send a heartbeat."""
        broker, note = self._outage.state(self._session.clients if self._session is not None else None)
        slot, session, stores = self._config.slot, self._session, self._stores
        self._send(make_report(slot, self._life, self._engine, session, stores, broker=broker, note=note))

    # The loop

    async def run(self) -> None:
        """Work until drained.

        Raises:
            Stop: drained, or cannot go on.
        """
        try:
            await self._open_clients()
            await self._perform(life.TellReady(self._life.session))
            if self._config.inventory:
                assert self._stores is not None
                found = self._loop.run_in_executor(self._pool, self._stores.unused)
                found.add_done_callback(lambda done: self._send(_stored(done.result())))
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
            if self._restore_error is not None:
                raise self._restore_error
            assert self._session is not None
            if self._session.clients.is_deaf:
                raise ResetNeeded("Reading", "reset", "brokers answer others, and not the client that reads")
            await self._session.pump.turn()
            await self._check_failures()
        except (Fenced, ConfigurationError, RecordRefused, StateIncompatible):
            raise
        except (ResetNeeded, BrokerUnreachable) as error:
            await self._reset(error)

    async def _check_failures(self) -> None:
        """End when user code says that the app, or this process, must."""
        recovery = self._engine.recovery
        if recovery.stop_failure is not None:
            failure = recovery.stop_failure
            await self._close(tuple(task for task, state in self._life.states.items() if state != "standby"))
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
        session, stores = self._session, self._stores
        assert session is not None
        assert stores is not None
        match effect:
            case life.Open(tasks):
                await self._open(tasks)
            case life.Restore(task):
                if logs := reads_of(self._config.topology, task):
                    session.restorer.start(task, stores.open_stores[task], logs)
                else:
                    self._events.append(life.Restored(task))
            case life.Run(task):
                await self._start(task)
            case life.Close(tasks):
                await self._close(tasks)
                self._events.extend(life.Closed(task) for task in tasks)
            case life.Follow(tasks):
                for task in tasks:
                    session.follower.follow(task, reads_of(self._config.topology, task))
            case life.Unfollow(tasks):
                await self._loop.run_in_executor(self._pool, session.follower.drop, tasks)
            case life.TellReady(number):
                self._send(Ready(slot=self._config.slot, pid=self._pid, session=number))
            case life.TellFollowing(epoch, tasks):
                self._send(Following(epoch=epoch, tasks=tasks))
            case life.TellReleased(epoch, tasks):
                self._send(Released(epoch=epoch, tasks=tasks))
                await self._app.on_partitions_revoked.send_async(self._app, revoked=_tps(self._config, tasks))
            case life.TellDrained():
                await self._app.on_before_shutdown.send_async(self._app)
                await self._engine.functions.stop()
                if self._cut_short:
                    raise Stop(_failed(ExitCode.TEMPORARY_FAILURE, "not all events in progress could be finished"))
                self._send(Drained())
                raise Stop()

    async def _open(self, tasks: tuple[TaskId, ...]) -> None:
        """Open stores and read positions, for all tasks in one round trip, off the loop."""
        assert self._session is not None
        assert self._stores is not None
        session, stores = self._session, self._stores

        def open_all() -> dict[TaskId, Start]:
            session.follower.leave(tasks)
            partitions = {task: sorted(_tps(self._config, (task,))) for task in tasks}
            starts = start_positions(session.clients, self._settings, partitions)
            for task in tasks:
                tables = [table.name for table in self._config.topology.tables_of(task)]
                refuse_lost_offsets(self._settings, starts[task], stores.open(task), tables)
            return starts

        self._starts.update(await self._loop.run_in_executor(self._pool, open_all))
        self._events.extend(life.Opened(task) for task in tasks)

    def _restore_ended(self, restorer: Restorer, task: TaskId, error: Exception | None) -> None:
        """On the loop: the restorer is done with a task. A restorer of earlier clients does not count any more."""
        if self._session is not None and restorer is self._session.restorer:
            if error is None:
                self._events.append(life.Restored(task))
            else:
                logger.error("task %s: restoring its tables failed: %s", task, error)
                self._restore_error = error
            self._engine.changed.set()

    async def _start(self, task: TaskId) -> None:
        assert self._stores is not None
        assert self._session is not None
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
        await self._session.pump.start_task(self._engine.tasks[task])
        await self._app.on_partitions_assigned.send_async(self._app, assigned=_tps(self._config, (task,)))
        if all(state in ("running", "standby") for state in self._life.states.values()):
            await self._app.on_rebalance_complete.send_async(self._app)

    async def _close(self, tasks: tuple[TaskId, ...]) -> None:
        assert self._session is not None
        assert self._stores is not None
        for task in tasks:
            self._session.restorer.cancel(task)
        # The coordinator's deadline is the whole of it; what is left is for the commit.
        patience = self._settings.drain_timeout * 0.8
        if not await self._session.pump.close_tasks(tasks, patience):
            self._cut_short = True
            text = "an event of task %s was not finished within %.1f s: it is left uncommitted, and will be done again"
            logger.warning(text, ", ".join(map(str, tasks)), patience)
        for task in tasks:
            self._starts.pop(task, None)
            self._stores.close(task)

    # Clients

    async def _open_clients(self) -> None:
        """Open every client; the first thing that this does is to fence whoever had the slot before."""
        clients = await self._loop.run_in_executor(self._pool, open_clients, self._config)
        if self._stores is None:
            config = self._config
            self._stores = Stores(config.settings, config.topology, config.state_dir, clients.cluster_id)

        def restored(restorer: Restorer, task: TaskId, error: Exception | None) -> None:
            self._loop.call_soon_threadsafe(self._restore_ended, restorer, task, error)

        self._session = Session.begin(self._engine, self._config, clients, self._stores, restored)
        self._opened_at = self._loop.time()

    async def _reset(self, error: StreamclusterError) -> None:
        """Throw every client away, let every task go, open new clients as soon as brokers answer, and have nothing.

        The new producer fences the old one, so what was not committed by then is definitely aborted.
        """
        logger.warning("%s", error)
        self._outage.began(error)
        # Whether what a drain was committing counts, nobody knows.
        self._cut_short |= self._life.draining and bool(self._engine.tasks)
        lost = tuple(sorted(self._engine.tasks))
        await self._drop_session()
        if lost:
            await self._app.on_partitions_revoked.send_async(self._app, revoked=_tps(self._config, lost))
        # What does not heal by a reset is not tried many times a second.
        hasty = self._loop.time() - self._opened_at < CALM_SECONDS
        pause = self._pause = min(REOPEN_PAUSE_SECONDS_MAX, 2 * self._pause) if hasty else REOPEN_PAUSE_SECONDS
        if hasty:
            await asyncio.sleep(pause)
        while True:
            try:
                await self._open_clients()
                break
            except (BrokerUnreachable, ResetNeeded) as again:
                self._outage.began(again)
                logger.warning("%s Trying again.", again)
                await asyncio.sleep(pause)
                pause = min(REOPEN_PAUSE_SECONDS_MAX, pause * 2)
        self._outage.ended()
        # Before what is queued: that belongs to the session that is over.
        self._events.appendleft(life.Lost())
        logger.info("connected again; %s start when they are granted again", f"{len(lost)} tasks" if lost else "tasks")

    async def _drop_session(self) -> None:
        """Close every task without a commit, every client and every store."""
        for task in list(self._engine.tasks):
            await self._engine.close_task(task)
        in_flight, self._engine.in_flight = self._engine.in_flight, None
        if in_flight is not None and in_flight.outputs:
            count = sum(map(len, in_flight.outputs.values()))
            logger.error(
                "%d records that tasks and timers sent were in the commit that failed; they may be lost", count
            )
        session, stores = self._session, self._stores
        self._session = None

        def close() -> None:
            if session is not None:
                session.close()
            if stores is not None:
                stores.close_all()

        await self._loop.run_in_executor(self._pool, close)
        self._starts.clear()
        self._restore_error = None

    async def end(self) -> None:
        """Let go of every handle, without a commit."""
        await self._engine.functions.stop()
        await self._drop_session()
        self._pool.shutdown(wait=False)


def _stored(positions: dict[TaskId, int]) -> Stored:
    return Stored(positions={str(task): position for task, position in positions.items()})


def _tps(config: WorkerConfig, tasks: tuple[TaskId, ...]) -> set[TP]:
    return {TP(topic, task.partition) for task in tasks for topic in config.topology.sources(task)}


def _failed(code: int, text: str, error: Exception | None = None) -> Failed:
    trace = "".join(traceback.format_exception(error)) if error is not None else None
    return Failed(exit_code=int(code), text=text, traceback=trace)
