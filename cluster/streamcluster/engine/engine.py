"""Engine: all tasks of one worker. Its shell feeds it records, asks it to come to rest, and commits what it cuts.

feed(records) ... barrier() -> cut() -> [the shell commits in a thread, feed() goes on] -> committed(commit)
failures: recover() rolls back and returns where the consumer must go; no commit may be in flight then
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from ..app import App
from ..current import KafkaRecord
from ..freeze import Plan, Unit
from ..ids import TP, TaskId
from ..limits import letter_bytes_max
from ..stores import TaskStore
from ..topology import Topology
from .backlog import Backlog, PartitionBacklog
from .cache_budget import CacheBudget
from .clock import Clock
from .functions import Functions
from .instance import Instance
from .local_tables import attach_tables, make_shards
from .outbox import Outbox
from .partition import SourcePartition
from .recovery import Recovery
from .shared import is_named, make_shared, readers_of
from .task import RunningTask, build_task
from .values import Commit, Committed, TaskCommit


class Engine:
    """Runs the tasks that the shell opens. Everything happens on one event loop.

    outbox_records_max: bound of each task's output per topic; the setting of that name when None.
    """

    def __init__(
        self, app: App, plan: Plan, topology: Topology, clock: Clock, *, outbox_records_max: int | None = None
    ) -> None:
        self.app = app
        self.plan = plan
        self.topology = topology
        self.clock = clock
        self.tasks: dict[TaskId, RunningTask] = {}
        # Set when a coroutine came to rest or failed; the shell waits on it.
        self.changed = asyncio.Event()
        self.in_flight: Commit | None = None
        records_max = app.conf.outbox_records_max if outbox_records_max is None else outbox_records_max
        self._make_outbox = partial(Outbox, records_max, self.changed.set)
        self.outbox = self._make_outbox()
        self.events_total = 0
        # Tasks that were in the middle of an event at the last barrier; they stay held.
        self.late: set[TaskId] = set()
        self._routes: dict[tuple[str, int], SourcePartition] = {}
        self._shared = make_shared(plan, self.tasks, clock, self.changed.set, self.outbox)
        letters = next((topic for topic in topology.topics if topic.name == app.conf.dead_letters), None)
        self.recovery = Recovery(
            app, clock, self.tasks, self._shared, self.changed, letter_bytes_max(app.conf, letters)
        )
        recovery = self.recovery
        self.functions = Functions(
            app, plan.functions, clock, self.outbox, recovery.function_failed, recovery.function_ended
        )
        self.recovery.functions = self.functions
        # What was consumed and is not committed; as of the last look of `overfull`.
        self.backlog = Backlog(
            app.conf.stream_buffer_records_max, app.conf.stream_buffer_bytes_max, app.conf.commit_events_max
        )
        self._cache = CacheBudget(app.conf.table_cache_bytes)
        attach_tables(plan, self.tasks, topology)

    # Tasks

    def open_task(self, task: TaskId, store: TaskStore, positions: dict[TP, Committed]) -> None:
        """Run a task from its committed positions (one for each of its source partitions) over a restored store."""

        def make_instance(unit: Unit, name: str, task: TaskId, outbox: Outbox) -> Instance:
            return Instance(unit, name, task, outbox, self.clock, self.changed.set, self.recovery.report)

        running = build_task(
            task,
            self._make_outbox(),
            self.plan,
            self.topology.sources(task),
            store,
            make_shards(self.plan, self.topology, self.app.conf, task, store),
            positions,
            make_instance,
            self.recovery.reject,
            partial(readers_of, self._shared),
            reads,
        )
        self.tasks[task] = running
        for tp, partition in running.partitions.items():
            self._routes[tp] = partition
        running.start()

    async def close_task(self, task: TaskId) -> None:
        """End a task's coroutines and forget its uncommitted state; the store stays open, it is the shell's."""
        running = self.tasks.pop(task)
        if (trial := self.recovery.trials.pop(task, None)) is not None:
            trial.end()
        for tp in running.partitions:
            del self._routes[tp]
        self.recovery.failures = [failure for failure in self.recovery.failures if failure.task != task]
        await self.recovery.leave_shared({task})
        await running.stop()

    # Records

    def feed(self, records: list[KafkaRecord]) -> None:
        """Hand consumed records to their tasks: consecutive ones of a partition as one run."""
        partitions = [record.partition() for record in records]
        topics = [record.topic() for record in records]
        start, count = 0, len(records)
        while start < count:
            topic, partition = topics[start], partitions[start]
            end = start + 1
            while end < count and partitions[end] == partition and topics[end] == topic:
                end += 1
            source = self._routes.get((topic, partition))
            if source is not None:
                self.events_total += source.feed(records[start:end])
                self.backlog.fed(end - start, source.backlog.added_bytes)
            start = end

    def advance(self, tp: TP, offset: int) -> None:
        """The log of `tp` ends at `offset`: what is below and was not delivered are transaction markers."""
        source = self._routes.get(tp)
        if source is not None:
            source.advance(offset)

    def overfull(self) -> set[TP]:
        """Which partitions must pause so that the worker stays within its settings; costs a look now and then."""
        if not self.backlog.must_look():
            return set()
        waiting: dict[TP, PartitionBacklog] = {}
        for partition in self._routes.values():
            if not partition.backlog.is_empty():
                partition.settle()
                waiting[partition.tp] = partition.backlog
        full = set(self.backlog.look(waiting, len(self._routes)))
        if full and self._shared:
            self.recovery.unread({tp.topic for tp in full})
        return full

    # Commits

    async def barrier(self, patience: float, relieve: Callable[[], Awaitable[None]] | None = None) -> list[RunningTask]:
        """Bring the tasks to rest and return those that are, all of them held until `release`.

        A task whose agent is in the middle of an event is late: it stays held, so that it rests after that event. It is
        waited for up to `patience` seconds, and as long as it takes when it has already handed output to the open
        transaction. Ends early when something fails. relieve: takes out the output of senders that are held up.
        """
        for task in self.tasks.values():
            task.hold()
        for source in self._shared:
            source.intake.hold()
        deadline = self.clock.now() + patience
        await asyncio.sleep(0)
        while not self.recovery.failures:
            late = [task for task in self.tasks.values() if not self.resting(task)]
            now = self.clock.now()
            if not late or (now >= deadline and not any(task.in_transaction for task in late)):
                break
            if relieve is not None:
                await relieve()
            await _wait(self.changed, self.clock, deadline - now if now < deadline else 1.0)
        resting = [task for task in self.tasks.values() if self.resting(task) and not task.failed()]
        self.late = self.tasks.keys() - {task.id for task in resting}
        return resting

    def resting(self, task: RunningTask) -> bool:
        """No event of the task is half done."""
        return task.resting() and all(source.resting for source in self._shared)

    def release(self) -> None:
        """Let the tasks go on after `barrier`, all but the late ones."""
        for task in self.tasks.values():
            if task.id not in self.late:
                task.release()
        if not self.late:
            for source in self._shared:
                source.intake.release()

    def late_is_resting(self) -> bool:
        """A task that was late for the last commit has come to rest and waits for the next one."""
        return any(task in self.tasks and self.resting(self.tasks[task]) for task in self.late)

    def cut(self, tasks: Iterable[RunningTask], *, all_offsets: bool = False) -> Commit:
        """Take what the resting `tasks` and the worker's functions have. One commit is in flight at most."""
        assert self.in_flight is None
        cuts: list[TaskCommit] = []
        for task in tasks:
            try:
                cuts.append(task.cut(all_offsets=all_offsets))
            except Exception as error:  # noqa: BLE001 (codecs of tables are user code)
                self.recovery.cut_failed(task, error)
        commit = Commit(tasks=[cut for cut in cuts if not cut.is_empty()], outputs=self.outbox.swap())
        if not commit.is_empty():
            self.in_flight = commit
        return commit

    def committed(self, commit: Commit) -> None:
        """`commit` is in Kafka and in the stores."""
        self.in_flight = None
        for cut in commit.tasks:
            if cut.task in self.tasks:
                self.tasks[cut.task].in_transaction = False
                self.tasks[cut.task].committed(cut)
        self._cache.trim([shard.memory for task in self.tasks.values() for shard in task.shards.values()])
        self.recovery.step(None)

    def uncommitted_count(self) -> int:
        """Output records and table entries that wait for a commit."""
        return self.outbox.count() + sum(task.uncommitted_count() for task in self.tasks.values())

    def idle(self) -> bool:
        """Every coroutine rests with nothing queued."""
        return all(task.idle() for task in self.tasks.values()) and all(source.idle for source in self._shared)

    def step(self) -> None:
        """Let trials of failing events go on; the shell calls it whenever coroutines have run."""
        if self.recovery.trials:
            self.recovery.step(self.in_flight)


def reads(unit: Unit, name: str) -> bool:
    """Whether the unit reads the topic of this name."""
    return is_named(unit.topic, name)


async def _wait(changed: asyncio.Event, clock: Clock, seconds: float) -> None:
    """Wait for `changed`, or for so many seconds."""
    changed.clear()
    alarm = clock.call_later(seconds, changed.set)
    await changed.wait()
    alarm.cancel()
