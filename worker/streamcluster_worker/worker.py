"""Worker: performs what the life cycle of its tasks decides, and keeps the data plane running.

One loop: messages become events of `lifecycle.py`, its effects are performed beside the loop, and the pump turns in it.
When the outcome of a commit is unknown, every client is replaced and every task is let go (I3): who has it now is for
the coordinator to say, from a log that it reads after that (H5).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from streamcluster.boundary import end_if_forked
from streamcluster.engine.engine import Engine
from streamcluster.engine.long_events import LongEvents
from streamcluster.errors import (
    BrokerUnreachable,
    ConfigurationError,
    ExitCode,
    Fenced,
    StateIncompatible,
    StreamclusterError,
)
from streamcluster.ids import TaskId
from streamcluster.kafka.verdicts import ResetNeeded
from streamcluster.printable import repr_of
from streamcluster.protocol.messages import (
    Drain,
    Follow,
    Following,
    Grant,
    Lead,
    ReadTable,
    Ready,
    Released,
    Report,
    Revoke,
    ToCoordinator,
    ToWorker,
    WorkerConfig,
    WorkerFigures,
)
from streamcluster.stores import StoreFailed

from . import lifecycle as life
from .answers.outage import Outage
from .answers.queries import Queries
from .answers.reports import Reports, stored_message
from .data.purge import Purge
from .effects import Effects
from .own_tasks import REOPEN_PAUSE_SECONDS, REOPEN_PAUSE_SECONDS_MAX, OwnTasks, Stop, failed, tps_of
from .session import Session, batch_bytes_max, open_clients, smaller_batch
from .state.restore import Restorer
from .state.stores import Stores

logger = logging.getLogger("streamcluster")
# A session that lasted so long has healed what ended the one before.
CALM_SECONDS = 5.0
# What a bare heartbeat shows of the error: its reader has one line for it.
NOTE_CHARS_MAX = 300


class Worker:
    """One worker process, from its first client to its last."""

    def __init__(self, config: WorkerConfig, engine: Engine, pid: int, send: Callable[[ToCoordinator], None]) -> None:
        self._config = config
        self.slot = config.slot
        self._settings = config.settings
        self._app = app = engine.app
        self._pid = pid
        self._send = send
        self._engine = engine
        self._life = life.Lifecycle()
        self._events: deque[life.Event] = deque()
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(3, thread_name_prefix="open")
        self._effects = Effects(self._pool, self._engine.changed.set)
        self._long_events = LongEvents(self._settings.stall_report)
        # The worker ends with this as soon as the loop comes to it.
        self._stop: Stop | None = None
        self._stopping = False
        self._own = OwnTasks(config, app, self._engine, self._life.states, self._effects, self._happened)
        self._session: Session | None = None
        self._stores: Stores | None = None
        # When the clients were opened last, and the pause before they were, if that was in haste.
        self._opened_at = float("-inf")
        self._pause = REOPEN_PAUSE_SECONDS
        self._batch_bytes_max = batch_bytes_max(config)
        # Why a restore ended early, until the loop comes to it.
        self._restore_error: Exception | None = None
        self._leader = config.leader
        self._leads_changed = True
        self._outage = Outage(self._pool)
        self._queries = Queries(engine.plan, config.topology, config.settings, send, self._unreadable)
        self._purge = Purge(config.settings, config.topology)
        self._reports = Reports(self.slot, self._life, engine)

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
                self._own.drain_begins()
                self._events.append(life.DrainRequested())
            case Lead():
                self._leader = message.leader
                self._leads_changed = True
            case ReadTable():
                stores = self._stores.open_stores if self._stores is not None else {}
                follower = self._session.follower if self._session is not None else None
                self._queries.ask(message, self._life.states, stores, follower)
        self._engine.changed.set()

    def _unreadable(self, task: TaskId, error: StoreFailed) -> None:
        if task in self._engine.tasks:
            self._engine.recovery.store_failed(self._engine.tasks[task], error)

    def report(self) -> None:
        """Send a heartbeat; none while the loop that does the work stands, however well this one turns."""
        partitions = (one for task in self._engine.tasks.values() for one in task.partitions.items())
        self._purge.look((tp, partition.committed.next_offset) for tp, partition in partitions)
        broker, note = self._outage.state(self._session.clients if self._session is not None else None)
        session, stores, said = self._session, self._stores, self._own.said()
        now = self._loop.time()
        self._long_events.look(self._engine.tasks, now)
        if self._stands():
            return
        events = {task: text for task in self._engine.tasks if (text := self._long_events.longest(task, now))}
        events |= self._own.lost
        self._send(self._reports.make(session, stores, events, said, broker=broker, note=note))

    def report_bare(self, error: Exception) -> None:
        """Send a heartbeat that says only that the loop turns, and why it says no more."""
        if not self._stands():
            note = f"it cannot say what it does: {repr_of(error):.{NOTE_CHARS_MAX}}"
            self._send(Report(slot=self.slot, tasks=(), figures=WorkerFigures(note=note)))

    def _stands(self) -> bool:
        """Whether the loop that does the work has not turned lately."""
        since = self._session.pump.turned_at if self._session is not None else float("inf")
        return self._loop.time() - since > max(self._settings.heartbeat_interval, 1.0)

    def part_ended(self, name: str, error: BaseException) -> None:
        """A part of this worker is no more, by a fault of ours: end as soon as the loop comes to it, to be replaced."""
        text = f"{name} of worker {self.slot} has ended, which is a fault of streamcluster: {repr_of(error)}"
        logger.error("%s", text)
        self._stop = self._stop or Stop(failed(1, text, error))
        self._engine.changed.set()

    # The loop

    async def run(self) -> None:
        """Work until drained.

        Raises:
            Stop: drained, or cannot go on.
        """
        try:
            await self._open_clients()
            self._begin(life.TellReady(self._life.session))
            if self._config.inventory:
                assert self._stores is not None
                found = self._loop.run_in_executor(self._pool, self._stores.unused)
                found.add_done_callback(lambda done: self._send(stored_message(done.result())))
            self._app.on_worker_init.send(self._app)
            while True:
                await self._turn()
        except Fenced as error:
            raise Stop(failed(ExitCode.FENCED, str(error))) from error
        except StateIncompatible as error:
            raise Stop(failed(ExitCode.STATE_INCOMPATIBLE, str(error))) from error
        except ConfigurationError as error:
            raise Stop(failed(ExitCode.CONFIGURATION, str(error))) from error
        except StoreFailed as error:
            # A disk's fault ends no more than this worker.
            raise Stop(failed(1, str(error), error)) from error

    async def _turn(self) -> None:
        try:
            while self._events:
                for effect in self._life.handle(self._events.popleft()):
                    self._begin(effect)
            if self._leads_changed:
                self._leads_changed = False
                self._effects.begin(("functions",), self._lead)
            self._effects.raise_failed()
            if self._restore_error is not None:
                raise self._restore_error
            if self._stop is not None:
                raise self._stop
            assert self._session is not None
            end_if_forked()
            if self._session.clients.is_deaf:
                raise ResetNeeded("Reading", "reset", "brokers answer others, and not the client that reads")
            await self._session.pump.turn()
            self._look_for_damage()
            self._check_failures()
        except (Fenced, ConfigurationError, StateIncompatible):
            raise
        except (ResetNeeded, BrokerUnreachable) as error:
            await self._reset(error)

    async def _lead(self) -> None:
        if not self._leader:
            await self._engine.functions.lose_leadership()
        self._engine.functions.start(leader=self._leader)

    def _look_for_damage(self) -> None:
        """Have the stores opened anew that could not be read or written, once nothing of their tasks is on its way."""
        for task in self._engine.tasks.values():
            is_out = task.store_error is not None and not self._engine.transaction.has(task.id)
            if is_out and self._life.states.get(task.id) == "running":
                self._events.append(life.Damaged(task.id))

    def _check_failures(self) -> None:
        """End when user code says that the app, or this process, must."""
        recovery = self._engine.recovery
        if recovery.crash is not None:
            name, error = recovery.crash
            raise Stop(failed(1, f"task {name} failed: {repr_of(error)}", error))
        if recovery.stop_failure is None or self._stopping:
            return
        self._stopping = True
        failure = recovery.stop_failure
        wrong_app = isinstance(failure.error, ConfigurationError)
        where = ", ".join(f"{tp}@{offset}" for tp, offset in failure.suspects[:3]) or "its start"
        text = f"{failure.unit} stops the app at {where}: {repr_of(failure.error)}"
        code = ExitCode.CONFIGURATION if wrong_app else ExitCode.CRASH_LOOP
        tasks = tuple(task for task, state in self._life.states.items() if state != "standby")

        async def close_and_stop() -> None:
            await self._own.close(tasks)
            self._stop = Stop(failed(code, text, failure.error))

        self._effects.begin((*self._effects.all_keys(), *tasks), close_and_stop)

    # Effects

    def _begin(self, effect: life.Effect) -> None:
        """Perform an effect, behind those of the same tasks. What is told the coordinator does not wait."""
        match effect:
            case life.TellReady(number):
                self._send(Ready(slot=self.slot, pid=self._pid, session=number))
            case life.TellFollowing(epoch, tasks):
                # Others may open what is followed no more, once they are told.
                self._effects.begin(("following",), lambda: self._tell(Following(epoch=epoch, tasks=tasks)))
            case life.TellReleased(epoch, tasks):
                self._send(Released(epoch=epoch, tasks=tasks))
                self._effects.begin(tasks, lambda: self._tell_app_revoked(tasks))
            case life.TellDrained():
                self._effects.begin(self._effects.all_keys(), self._drained)
            case life.Close(tasks):
                # Each by itself: one whose event takes long keeps no other from its next owner.
                for task in tasks:
                    self._effects.begin((task,), partial(self._own.perform, life.Close((task,))))
            case life.OpenStandbys(tasks) | life.CloseStandbys(tasks):
                self._effects.begin((*tasks, "following"), lambda: self._own.perform(effect))
            case life.Open(tasks):
                self._effects.begin(tasks, lambda: self._own.perform(effect))
            case life.Reopen(task) | life.Restore(task) | life.Run(task):
                self._effects.begin((task,), lambda: self._own.perform(effect))

    async def _tell(self, message: ToCoordinator) -> None:
        self._send(message)

    async def _tell_app_revoked(self, tasks: tuple[TaskId, ...]) -> None:
        await self._app.on_partitions_revoked.send_async(self._app, revoked=tps_of(self._config, tasks))

    async def _drained(self) -> None:
        await self._own.finish()
        if self._own.cut_short:
            self._stop = Stop(failed(ExitCode.TEMPORARY_FAILURE, "not all that was begun could be committed"))
        else:
            self._stop = Stop()

    def _happened(self, event: life.Event) -> None:
        self._events.append(event)
        self._engine.changed.set()

    def _restore_ended(self, restorer: Restorer, task: TaskId, error: Exception | None) -> None:
        """On the loop: the restorer is done with a task. A restorer of earlier clients does not count any more."""
        if self._session is not None and restorer is self._session.restorer:
            if error is None:
                self._events.append(life.Restored(task))
            elif isinstance(error, StoreFailed):
                self._own.restore_errors[task] = error
                self._events.append(life.Damaged(task))
            else:
                logger.error("task %s: restoring its tables failed: %s", task, error)
                self._restore_error = error
            self._engine.changed.set()

    # Clients

    async def _open_clients(self) -> None:
        """Open every client; the first thing that this does is to fence whoever had the slot before."""
        clients = await self._loop.run_in_executor(self._pool, open_clients, self._config, self._batch_bytes_max)
        if self._stores is None:
            config = self._config
            indexes = {table.name: table.indexes for table in self._engine.plan.tables}
            self._stores = Stores(config.settings, config.topology, config.state_dir, clients.cluster_id, indexes)

        def restored(restorer: Restorer, task: TaskId, error: Exception | None) -> None:
            self._loop.call_soon_threadsafe(self._restore_ended, restorer, task, error)

        self._session = Session.begin(self._engine, self._config, clients, self._stores, self._own.committed, restored)
        self._own.enter(self._session, self._stores)
        self._opened_at = self._loop.time()

    async def _reset(self, error: StreamclusterError) -> None:
        """Throw every client away, let every task go, open new clients as soon as brokers answer, and have nothing.

        The new producer fences the old one, so what was not committed by then is definitely aborted.
        """
        logger.warning("%s", error)
        self._outage.began(error)
        refused = error.reason if isinstance(error, ResetNeeded) and error.verdict == "refused" else None
        if refused is not None:
            self._engine.refused(refused)
            self._batch_bytes_max = smaller_batch(self._batch_bytes_max)
        if self._life.draining and self._engine.tasks:
            self._own.drain_is_in_doubt()
        lost = tuple(sorted(self._engine.tasks))
        await self._effects.end()
        await self._drop_session()
        if lost:
            await self._app.on_partitions_revoked.send_async(self._app, revoked=tps_of(self._config, lost))
        # What does not heal by a reset is not tried many times a second.
        hasty = self._loop.time() - self._opened_at < CALM_SECONDS and refused is None
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
        if self._session is not None:
            await self._session.pump.end()
        in_flight = self._engine.abandon()
        for task in list(self._engine.tasks):
            await self._engine.close_task(task)
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
        self._own.leave()
        self._restore_error = None

    async def end(self) -> None:
        """Let go of every handle, without a commit."""
        self._queries.end()
        self._purge.end()
        await self._effects.end()
        await self._engine.functions.stop()
        await self._drop_session()
        self._engine.caution.end()
        self._pool.shutdown(wait=False)
