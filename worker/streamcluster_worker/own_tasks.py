"""OwnTasks: what is done to the tasks of a worker: open, restore, start, close, and open anew after a disk's fault.

It performs and decides nothing but how often a disk is tried; which task is when to be what, `lifecycle.py` says.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial

from streamcluster.ahead import position_of
from streamcluster.app import App
from streamcluster.current import outbox_var
from streamcluster.engine.engine import Engine
from streamcluster.engine.pump import CLOSE_SECONDS, URGENT_SECONDS
from streamcluster.ids import TP, TaskId
from streamcluster.printable import traceback_of
from streamcluster.protocol.messages import Failed, WorkerConfig
from streamcluster.signals import call
from streamcluster.stores import StoreFailed

from . import lifecycle as life
from .answers.reports import reads_of
from .data.begin import Begin, Past
from .data.late_joins import joined_changes
from .data.positions import Start, refuse_lost_offsets, start_positions
from .effects import Effects
from .session import Session
from .state.store_errors import StoreUnavailable
from .state.stores import Stores

logger = logging.getLogger("streamcluster")
REOPEN_PAUSE_SECONDS = 0.1
REOPEN_PAUSE_SECONDS_MAX = 5.0
# What the log gets of why a worker ends, and what `status`, and with it every other host.
TRACEBACK_CHARS_MAX = 100_000
TEXT_CHARS_MAX = 4_000
# How long a disk that refuses is tried before the worker ends, so that its tasks may go to others.
DISK_SECONDS = 15.0
# A task whose position is behind the end of its log is looked at again after so long.
LOST_SECONDS = 5.0
# What became of records when a task was opened stays in the status for so long.
SAID_SECONDS = 3600.0


class Stop(Exception):
    """The worker ends: with `failed` as its last word, or drained when there is none."""

    def __init__(self, failed: Failed | None = None) -> None:
        super().__init__(failed.text if failed else "drained")
        self.failed = failed


class OwnTasks:
    """Performs effects on tasks. states: of the life cycle, read only. happened: takes the events that follow."""

    def __init__(
        self,
        config: WorkerConfig,
        app: App,
        engine: Engine,
        states: Mapping[TaskId, life.State],
        effects: Effects,
        happened: Callable[[life.Event], None],
    ) -> None:
        self._config = config
        self._settings = config.settings
        self._app = app
        self._engine = engine
        self._states = states
        self._effects = effects
        self._happened = happened
        # What the app's functions for signals send is the worker's own output, as that of an @app.task.
        outbox_var.set(engine.outbox)
        self._loop = asyncio.get_running_loop()
        self._session: Session | None = None
        self._stores: Stores | None = None
        self._starts: dict[TaskId, Start] = {}
        self._past = Past(
            config.begun,
            config.read,
            frozenset(topic.name for topic in config.topology.topics if topic.role == "repartition"),
        )
        # Where partitions begin that had no position, until that is committed; also over a session's end, since
        # whether it was committed may not be known, and the log's end is somewhere else later.
        self._decided: dict[TP, Begin] = {}
        # What became of records, by task, and when that was said.
        self._said: dict[TaskId, tuple[float, tuple[str, ...]]] = {}
        # Task -> when its store failed first and last, of a row of failures.
        self._failing: dict[TaskId, tuple[float, float]] = {}
        # Stores that failed while they were restored.
        self.restore_errors: dict[TaskId, StoreFailed] = {}
        # The last position that this worker has committed of each partition that it ever had, over all sessions.
        self.committed: dict[TP, int] = {}
        # Why tasks cannot be opened.
        self.lost: dict[TaskId, str] = {}
        # Whether an event was left unfinished since the drain began.
        self.cut_short = False

    def drain_begins(self) -> None:
        """From now on what is left unfinished counts."""
        self.cut_short = False

    def drain_is_in_doubt(self) -> None:
        """Whether what a drain was committing counts, nobody knows."""
        self.cut_short = True

    def enter(self, session: Session, stores: Stores) -> None:
        """A session has begun: the tasks are opened in it."""
        self._session = session
        self._stores = stores

    def leave(self) -> None:
        """The session is over, and nothing of it counts any more."""
        self._session = None
        self._starts.clear()
        self.restore_errors.clear()
        self.lost.clear()

    def _handles(self) -> tuple[Session, Stores]:
        assert self._session is not None
        assert self._stores is not None
        return self._session, self._stores

    async def perform(self, effect: life.Effect) -> None:
        """Do what the life cycle wants done to tasks, and tell it when that is done."""
        session, stores = self._handles()
        match effect:
            case life.Open(tasks):
                await self._open(tasks)
            case life.Reopen(task):
                await self._reopen(task)
            case life.Restore(task):
                if task not in stores.open_stores:
                    return
                if logs := reads_of(self._config.topology, task):
                    session.restorer.start(task, stores.open_stores[task], logs, self._begins(task))
                else:
                    self._happened(life.Restored(task))
            case life.Run(task):
                await self._start(task)
            case life.Close(tasks):
                await self.close(tasks)
                for task in tasks:
                    self._happened(life.Closed(task))
            case life.OpenStandbys(tasks):
                for task in tasks:
                    session.follower.follow(task, reads_of(self._config.topology, task))
            case life.CloseStandbys(tasks):
                await self._effects.in_thread(lambda: session.follower.drop(tasks))

    def _counted_tables(self, task: TaskId) -> list[str]:
        """Those whose rows would count events twice that are read again; the others go back with their positions."""
        return [table.name for table in self._config.topology.tables_of(task) if not table.feeder]

    def _begins(self, task: TaskId) -> dict[TP, int]:
        """Where a task begins in topics that are the changelogs of the tables that they make."""
        start, begins = self._starts[task], {}
        for table in self._config.topology.tables_of(task):
            if table.feeder:
                tp = TP(table.changelog, task.partition)
                at = start.positions[tp]
                begins[tp] = position_of(table.feeder, at.next_offset, at.metadata)
        return begins

    async def _open(self, tasks: tuple[TaskId, ...]) -> None:
        """Open stores and read positions, for all tasks in one round trip, off the loop; again while a disk refuses."""
        session, stores = self._handles()

        def find_starts() -> dict[TaskId, Start]:
            partitions = {task: sorted(tps_of(self._config, (task,))) for task in tasks}
            return start_positions(
                session.clients,
                self._settings,
                partitions,
                self._past,
                self._decided,
                self.committed,
                joined_changes(self._engine.plan, self._config.topology),
            )

        def open_all() -> dict[TaskId, Start]:
            session.follower.leave(tasks)
            starts = find_starts()
            for task in (task for task in tasks if starts[task].lost is None):
                tables = self._counted_tables(task)
                refuse_lost_offsets(self._settings, starts[task], stores.open(task), tables)
            return starts

        found: dict[TaskId, Start] = {}
        if not any(self._states.get(task) == "opening" for task in tasks):
            # They are asked back already. Whoever has them next may come to it much later, when the ends have moved.
            found = await self._effects.in_thread(find_starts)
        pause = REOPEN_PAUSE_SECONDS
        while any(self._states.get(task) == "opening" for task in tasks):
            try:
                found = await self._effects.in_thread(open_all)
                tasks = self._leave_lost(tasks, found)
                self._starts.update({task: found[task] for task in tasks})
                break
            except StoreUnavailable as error:
                self._give_up_disk(tasks, error)
                await asyncio.sleep(pause)
                pause = min(REOPEN_PAUSE_SECONDS_MAX, pause * 2)
        await self._commit_new({task: start for task, start in found.items() if start.lost is None})
        for task in tasks:
            self._happened(life.Opened(task))

    async def _commit_new(self, starts: Mapping[TaskId, Start]) -> None:
        """Commit where these tasks begin, as far as that was decided now, and say what became of records."""
        waits: list[asyncio.Future[None]] = []
        for task, start in starts.items():
            self._decided.update(start.new)
            if start.new:
                done: asyncio.Future[None] = self._loop.create_future()
                new = {tp: begin.position for tp, begin in start.new.items()}
                self._engine.transaction.begin_at(task, new, partial(_resolve, done))
                waits.append(done)
        if waits:
            self._engine.changed.set()
            await asyncio.gather(*waits)
        for task, start in starts.items():
            for tp in start.positions:
                self._decided.pop(tp, None)
            for level, text in start.said:
                logger.log(level, "%s", text)
            if start.said:
                self._said[task] = (self._loop.time(), tuple(text for _, text in start.said))

    def said(self) -> dict[TaskId, tuple[str, ...]]:
        """What became of records when tasks were opened; it is news for a while."""
        now = self._loop.time()
        self._said = {task: said for task, said in self._said.items() if now - said[0] < SAID_SECONDS}
        return {task: texts for task, (_, texts) in self._said.items()}

    def _leave_lost(self, tasks: tuple[TaskId, ...], found: Mapping[TaskId, Start]) -> tuple[TaskId, ...]:
        """Those of the tasks that can start; the others are looked at again later, and keep nobody waiting."""
        for task in tasks:
            before, text = self.lost.pop(task, None), found[task].lost
            if text is not None:
                self.lost[task] = text
                if text != before:
                    logger.error("task %s cannot start: %s", task, text)
                self._effects.begin((task,), partial(self._open_later, task))
        return tuple(task for task in tasks if task not in self.lost)

    async def _open_later(self, task: TaskId) -> None:
        await asyncio.sleep(LOST_SECONDS)
        if self._states.get(task) == "opening":
            await self._open((task,))
        else:
            self.lost.pop(task, None)

    def _give_up_disk(self, tasks: tuple[TaskId, ...], error: StoreFailed) -> None:
        """Raise Stop when the stores of these tasks have failed for too long: others may have a better disk."""
        now = self._loop.time()
        for task in tasks:
            since, last = self._failing.get(task, (now, now))
            # A store that worked meanwhile begins anew.
            self._failing[task] = (since if now - last < DISK_SECONDS else now, now)
        names = ", ".join(map(str, tasks))
        if any(now - self._failing[task][0] >= DISK_SECONDS for task in tasks):
            raise Stop(failed(1, f"the stores of task {names} have failed for {DISK_SECONDS:.0f} s: {error}", error))
        logger.warning("task %s: %s Trying again.", names, error)

    async def _reopen(self, task: TaskId) -> None:
        """The task's store has failed: end the task, set the store aside if it is damaged, and open it anew."""
        session, stores = self._handles()
        running = self._engine.tasks.get(task)
        error = self.restore_errors.pop(task, None) if running is None else running.store_error
        session.restorer.cancel(task)
        await session.pump.close_tasks((task,), 0.0)
        self._starts.pop(task, None)
        await self._effects.in_thread(lambda: stores.replace(task, error))
        if error is not None:
            self._give_up_disk((task,), error)
        await self._open((task,))

    async def _start(self, task: TaskId) -> None:
        session, stores = self._handles()
        start, store = self._starts.pop(task), stores.open_stores[task]
        # Again: rows that came back from a changelog count as much as those that were on this disk.
        refuse_lost_offsets(self._settings, start, store, self._counted_tables(task))
        self._engine.open_task(task, store, start.positions)
        try:
            for table, callback in self._engine.recover_callbacks(task):
                await call(f"on_recover of table {table!r}", callback)
        except Exception:
            failing = [one.id for one in self._engine.tasks.values() if one.store_error is not None]
            if not failing:
                raise
            # It has read a store that is damaged, of any task that is here. That is opened anew, and this called again.
            if task in failing:
                return
        session.pump.start_task(self._engine.tasks[task])
        await self._app.on_partitions_assigned.send_async(self._app, assigned=tps_of(self._config, (task,)))
        if all(state in ("running", "standby") for state in self._states.values()):
            await self._app.on_rebalance_complete.send_async(self._app)

    async def finish(self) -> None:
        """No task is left: the app says good-bye, and what its functions have sent is committed."""
        await self._app.on_before_shutdown.send_async(self._app)
        await self._engine.functions.stop()
        pump = self._handles()[0].pump
        deadline = self._loop.time() + CLOSE_SECONDS
        while self._engine.outbox.count() or pump.is_busy():
            if self._loop.time() > deadline:
                self.cut_short = True
                break
            pump.ask()
            await asyncio.sleep(URGENT_SECONDS)
        self._engine.outbox.end()

    async def close(self, tasks: tuple[TaskId, ...]) -> None:
        """Commit what these tasks have finished, and let them go."""
        session, stores = self._handles()
        for task in tasks:
            session.restorer.cancel(task)
        # The coordinator's deadline is the whole of it; what is left is for the commit.
        patience = self._settings.drain_timeout * 0.8
        if not await session.pump.close_tasks(tasks, patience):
            self.cut_short = True
            text = "an event of task %s was not finished within %.1f s: it is left uncommitted, and will be done again"
            logger.warning(text, ", ".join(map(str, tasks)), patience)
        for task in tasks:
            self._starts.pop(task, None)

        def close_stores() -> None:
            # One that was granted and taken back before it was opened is followed still.
            session.follower.leave(tasks)
            for task in tasks:
                stores.close(task)

        await self._effects.in_thread(close_stores)


def _resolve(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def tps_of(config: WorkerConfig, tasks: tuple[TaskId, ...]) -> set[TP]:
    """The partitions that these tasks read."""
    return {TP(topic, task.partition) for task in tasks for topic in config.topology.sources(task)}


def failed(code: int, text: str, error: BaseException | None = None) -> Failed:
    """A worker's last word. An error of others may have a text without an end, and a message has one."""
    trace = traceback_of(error, TRACEBACK_CHARS_MAX) if error is not None else None
    return Failed(exit_code=int(code), text=text[:TEXT_CHARS_MAX], traceback=trace)
