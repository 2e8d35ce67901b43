"""Engine: all tasks of one worker. `pump.py` feeds it records and commits what its transaction holds.

feed(records) -> coroutines run -> transaction.seal() -> [Kafka, in a thread; feed() goes on] -> committed()
failures: recovery says which tasks must roll back and where the consumer must go; nothing of them may be in flight
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from ..ahead import Split, ahead_of
from ..app import App
from ..batch import Batch, KafkaRecord
from ..errors import CommitRefused
from ..ids import TP, TaskId
from ..memory import Shares, shares_of
from ..settings import Settings
from ..stores import StoreFailed, TaskStore
from ..tables import Table
from ..topology import Topology
from ..topology.limits import letter_bytes_max
from ..topology.units import CloseUnit, Plan, Unit, input_named
from .backlog import Backlog, PartitionBacklog
from .budget import Budget
from .clock import Clock
from .definitions import open_definitions
from .event_time.following import follow
from .event_time.marks import without_marks
from .event_time.opening import due_topic, open_time
from .event_time.timed_tasks import TimedTasks
from .functions import Functions
from .hand import Hand
from .in_hand import InHand
from .instance import Instance
from .killers import Caution
from .lagging import Lagging
from .lanes import Reader, concurrency_of
from .late import LateTasks
from .local_tables import attach_tables, make_shards
from .outbox import Outbox
from .partition import Reject, SourcePartition
from .ports import Process
from .recovery import Recovery
from .shared import SharedPart, make_shared, readers_of
from .task import RunningTask
from .transaction import Transaction
from .values import Commit, Committed
from .versioned_view import make_views


class Engine:
    """Runs the tasks that the shell opens. Everything happens on one event loop.

    settings: the app's when None.
    shares: what memory there is, and how it is split; as the settings say when None.
    process: what is asked how much it really takes; nothing when None.
    in_hand: notes that outlive the process, of all that `topology.noted_partitions` has; none that do when None.
    """

    def __init__(
        self,
        app: App,
        plan: Plan,
        topology: Topology,
        clock: Clock,
        *,
        settings: Settings | None = None,
        shares: Shares | None = None,
        process: Process | None = None,
        in_hand: InHand | None = None,
    ) -> None:
        self.app = app
        self._settings = conf = settings or app.conf
        self.plan = plan
        self.topology = topology
        self.clock = clock
        self.tasks: dict[TaskId, RunningTask] = {}
        # Set when a coroutine came to rest or failed; the shell waits on it.
        self.changed = asyncio.Event()
        # Whoever comes to rest now is looked at without being said.
        self._hands_out = False
        # How often something happened that a commit may have to carry: an event came, a coroutine came to rest.
        self.moves = 0
        # Done: finished by all who read them, and committed.
        self.events_total = 0
        self.budget = Budget(
            shares or shares_of(conf), self.tasks, conf.stream_buffer_records_max, conf.commit_events_max, process
        )
        self._make_outbox = partial(Outbox, conf.outbox_records_max, self._sender_waits, self.budget.output_room)
        self.outbox = self._make_outbox()
        self._routes: dict[TP, SourcePartition] = {}
        # Topics that may hold marks, also of an app that had windows before.
        self._marked = {topic.name for topic in topology.topics if topic.role == "repartition"}
        self.lagging = Lagging(clock, self._routes, self.changed.set)
        self._tables: dict[str, Table[object, object]] = {table.name: table for table in plan.tables}
        letters = next((topic for topic in topology.topics if topic.name == conf.dead_letters), None)
        self.recovery = Recovery(app, clock, self.tasks, self.changed, letter_bytes_max(conf, letters))
        self.caution = Caution(in_hand or InHand.in_memory(topology.noted_partitions()), clock)
        self._shared = self.recovery.shared = make_shared(
            plan, clock, self._rested, self._touch, self.recovery.report, self.outbox, self.caution
        )
        self.transaction = Transaction(
            self.tasks,
            self._shared,
            self.outbox,
            self.recovery.cut_failed,
            entries_max=conf.commit_events_max,
            exactly_once=conf.exactly_once,
        )
        self.budget.watch(self.transaction)
        self.times = TimedTasks(clock, self._time_moved)
        self.late = LateTasks(clock, self.tasks, self.transaction, self.recovery, self.changed.set)
        self.functions = self.recovery.functions = Functions(
            app, plan.functions, clock, self.outbox, self.recovery.function_failed, self.recovery.function_ended
        )
        attach_tables(plan, self.tasks, topology)
        # Unit -> what is done with an event that it cannot process.
        self._policies = {unit.name: unit.policy for unit in plan.units}
        self._policies |= {stream.name: stream.policy for stream in plan.shared}

    @property
    def backlog(self) -> Backlog:
        """What was consumed and is not committed; as of the last look of `overfull`."""
        return self.budget.backlog

    async def hand_out(self) -> None:
        """Let the agents run, each to the end of what it was given or to something it awaits; the shell looks then."""
        self._hands_out = True
        try:
            await asyncio.sleep(0)
        finally:
            self._hands_out = False

    def _rested(self) -> None:
        self.moves += 1
        if not self._hands_out:
            self.changed.set()

    def _sender_waits(self) -> None:
        self.transaction.sender_waits = True
        self.changed.set()

    def _time_moved(self, task: TaskId) -> None:
        self._touch(task)
        self._rested()

    def _touch(self, task: TaskId) -> None:
        if task in self.tasks:
            self.transaction.touch(self.tasks[task])

    # Tasks

    def open_task(self, task: TaskId, store: TaskStore, positions: dict[TP, Committed]) -> None:
        """Run a task from its committed positions (one for each of its source partitions) over a restored store."""

        def failed(error: StoreFailed) -> None:
            self.recovery.store_failed(running, error)

        def reject(tp: TP, record: KafkaRecord, unit: str, error: BaseException) -> bool:
            return self.recovery.reject(running, tp, record, unit, error)

        shards = make_shards(self.plan, self.topology, self._settings, task, store, failed)
        running = RunningTask(task, store, shards, self._make_outbox())
        running.missing = open_definitions(self.plan.tables, shards)
        time = open_time(self.plan, self.topology, self._settings, task, shards, self.clock)
        if time is not None:
            running.time = self.times.tasks[task] = time
            positions = positions | time.positions
        sources = sorted(self.topology.sources(task))
        readers = {topic: readers_of(self._shared, topic) for topic in sources}
        noted = [ahead_of(positions[TP(topic, task.partition)].metadata) for topic in sources]
        self._add_instances(running, sources, readers, noted)
        self._add_shared(running, sources)
        self._add_partitions(running, readers, positions, reject)
        follow(running, self.plan)
        self._be_careful(running)
        self.tasks[task] = running
        running.start()
        self.recovery.opened(running)

    def _add_instances(
        self,
        running: RunningTask,
        sources: list[str],
        readers: dict[str, list[Reader]],
        noted: list[dict[str, list[Split]]],
    ) -> None:
        """A coroutine per unit that reads one of these topics, and more under `concurrency=`."""
        for unit in self.plan.units:
            inputs = [(name, topic) for name in sources if (topic := input_named(unit, name)) is not None]
            for due in () if running.time is None else running.time.dues(unit):
                if due.table.name in running.shards:
                    inputs.append((due.label, due_topic(due, running.shards[due.table.name], self._settings)))
                    readers.setdefault(due.label, [])
                    if isinstance(unit, CloseUnit) and (unit.is_harmless or unit.only_deletes(due.label)):
                        self.caution.let_pass(TP(due.label, running.id.partition))
            count = concurrency_of(unit.name, unit.concurrency, noted)
            for number in range(count if inputs else 0):
                share = (number, count) if count > 1 else None
                instance = self._make_instance(running, unit, share)
                for name, topic in inputs:
                    readers[name].append(Reader(instance.name, unit.name, topic, instance.intake, share))
                running.instances.append(instance)
                running.coroutines.append(instance)

    def _make_instance(self, running: RunningTask, unit: Unit, share: tuple[int, int] | None) -> Instance:
        name = unit.name if share is None else f"{unit.name}#{share[0]}/{share[1]}"
        hand, views = self._make_hand(running, unit.name)

        def rested() -> None:
            self.transaction.touch(running)
            self._rested()

        instance = Instance(unit, name, running.id, hand, self.clock, rested, self.recovery.report, self.caution)
        if running.time is not None and (order := running.time.order(unit.name, unit.step_ms)) is not None:
            instance.order_inputs(order)
        for table, view in views.items():
            instance.set_shard(self._tables[table].shard_var, view)
        return instance

    def _make_hand(self, running: RunningTask, unit: str) -> tuple[Hand, dict[str, Any]]:
        """What a new coroutine of this task sends and writes with: its hand, and what it sees of each table."""
        views, seen = make_views(running.shards, self._tables, running.time, unit)
        return Hand(self._make_outbox(behind=running.outbox), running.outbox, self.outbox, views), seen

    def _add_shared(self, running: RunningTask, sources: list[str]) -> None:
        """What the streams of app.stream that read one of these topics do in this task."""
        for source in self._shared:
            if any(source.shared.reads(topic) is not None for topic in sources):
                part = source.parts[running.id] = SharedPart(
                    source, running.id, *self._make_hand(running, source.shared.name)
                )
                running.coroutines.append(part)

    def _add_partitions(
        self, running: RunningTask, readers: dict[str, list[Reader]], positions: dict[TP, Committed], reject: Reject
    ) -> None:
        for topic, those in readers.items():
            tp = TP(topic, running.id.partition)
            partition = SourcePartition(
                running.id, tp, those, positions[tp], reject, self.caution, self.budget.weight(topic)
            )
            if topic in self._marked:
                partition.receive = without_marks
            running.partitions[tp] = partition
            if running.time is None or not running.time.attach(partition):
                running.logs[tp] = self._routes[tp] = partition

    def _be_careful(self, running: RunningTask) -> None:
        """Find what may have killed this process's predecessor, and do not hand out again what is known to have."""
        suspects: dict[TP, int] = {}
        for tp, partition in running.partitions.items():
            killer = self.caution.open(tp, partition.committed.next_offset)
            if tp in self.caution.suspects:
                suspects[tp] = self.caution.suspects[tp]
            if killer is not None:
                self.recovery.put_aside_killer(running, partition, killer, self._policies)
        if suspects:
            # What an event wrote is encoded while it is marked.
            running.set_strict(suspects)

    def recover_callbacks(self, task: TaskId) -> list[tuple[str, Callable[..., Any]]]:
        """What users want called when the tables of a task have been restored, with the name of each table."""
        tables = [self._tables[table.name] for table in self.topology.tables_of(task)]
        return [(table.name, callback) for table in tables for callback in table.recover_callbacks]

    async def close_task(self, task: TaskId) -> None:
        """End a task's coroutines and forget its uncommitted state; the store stays open, it is the shell's.

        Tasks that share with it what a function did in one batch, or is in the middle of, roll back.
        """
        running = self.tasks[task]
        assert not self.transaction.has(task), f"task {task} is closed with something of it in a transaction"
        for other in self.recovery.together({task}) & self.tasks.keys() - {task}:
            self.tasks[other].stop_taking()
            self.recovery.replay(other)
        running.stop_taking()
        sources = self.recovery.detach({task})
        del self.tasks[task]
        self.transaction.leave(task)
        self.recovery.forget(task)
        self.times.tasks.pop(task, None)
        for tp in running.partitions:
            self._routes.pop(tp, None)
            self.caution.close(tp)
        # Nobody knows the task any more, so nobody else would: not if this is cancelled either.
        for instance in running.instances:
            instance.end()
        await self.recovery.reattach(sources, {task})
        for source in self._shared:
            source.parts.pop(task, None)
        await running.stop()
        for coroutine in running.coroutines:
            coroutine.hand.end()

    def refused(self, reason: str) -> None:
        """Kafka refused what was to be committed, for a record in it; now every task is closed and opened anew."""
        members = self.transaction.parts.keys() | self.transaction.unfinished
        in_flight = self.transaction.in_flight or Commit()
        # Where a task begins, that is not open yet, nobody refuses.
        members |= {cut.task for cut in in_flight.tasks} - self.transaction.first.keys()
        if not self.transaction.exactly_once:
            # What was sent since the last commit may be of any of these.
            members |= {task.id for task in self.tasks.values() if not task.is_clean()}
        has_others = bool(in_flight.outputs)
        self.recovery.refused(members, CommitRefused(reason), self._policies, has_others=has_others)

    def abandon(self) -> Commit | None:
        """Nothing of the open transaction, nor of the commit in flight, will be heard of again (I3). Returns that."""
        self.transaction.abort()
        self.transaction.first.clear()
        in_flight, self.transaction.in_flight = self.transaction.in_flight, None
        return in_flight

    # Records

    def feed(self, batches: list[Batch]) -> None:
        """Hand consumed records to their tasks."""
        self.moves += 1
        fed = size = 0
        for batch in batches:
            source = self._routes.get(batch.tp)
            if source is not None:
                source.feed(batch)
                self._touch(source.task)
                fed += len(batch)
                size += source.backlog.added_bytes
        self.budget.fed(fed, size)
        if self.times.tasks:
            # For those who are handed it now.
            self.times.look(self.transaction.touched, self.moves)

    def advance(self, tp: TP, offset: int, *, is_all: bool = True) -> None:
        """The log of `tp` ends at `offset`: what is below and was not delivered are transaction markers.

        is_all: no transaction is open there, whose records nobody can read yet.
        """
        source = self._routes.get(tp)
        if source is not None:
            self.caution.ended(tp, offset)
            source.ended(offset)
            self._touch(source.task)
            if source.time is not None:
                source.time.ended(is_all=is_all)
                self.times.look((source.task,), self.moves)

    def overfull(self, rewind: Callable[[dict[TP, int]], None]) -> set[TP]:
        """Which partitions must pause so that the worker stays within its settings; costs a look now and then.

        rewind: called with where the consumer must go on, for readers that are left behind, or rejoin.
        """
        full = self._overfull()
        if moves := self.lagging.look(full):
            rewind(moves)
            full = self._overfull()
        return full

    def _overfull(self) -> set[TP]:
        if not self.backlog.must_look():
            return set()
        waiting: dict[TP, PartitionBacklog] = {}
        for partition in self._routes.values():
            if not partition.backlog.is_empty():
                partition.settle()
                waiting[partition.tp] = partition.backlog
        full = self.budget.overfull(waiting, len(self._routes))
        full |= {partition.tp for partition in self._routes.values() if partition.is_far_ahead()}
        if full and self._shared:
            self.recovery.unread({tp.topic for tp in full})
        return full

    # Commits

    def committed(self) -> None:
        """The commit in flight is in Kafka and in the stores."""
        commit = self.transaction.committed()
        for cut in commit.tasks:
            if cut.task in self.tasks:
                partitions = self.tasks[cut.task].partitions
                for tp, position in cut.offsets.items():
                    self.events_total += partitions[tp].done.committed(position.next_offset)
                    self.caution.committed(tp, position.next_offset)
                    self.recovery.aside.committed(tp, position.next_offset)
                if cut.time is not None:
                    # Rows may be due now.
                    self._touch(cut.task)
                    for tp, (position, _) in cut.time.due.items():
                        self.caution.committed(tp, position.next_offset)
                        self.recovery.aside.committed(tp, position.next_offset)
        self.budget.trim()
        self.step()

    def step(self) -> None:
        """Let trials of failing events, and event time, go on; the shell calls it whenever coroutines have run."""
        if self.times.tasks:
            self.times.look(self.transaction.touched, self.moves)
        if self.recovery.trials:
            self.recovery.step(self.transaction.has)
        self.budget.step(self.clock.now())
        self.caution.step(are_tried=bool(self.recovery.trials))

    def idle(self) -> bool:
        """Every coroutine rests with nothing queued that it may hand out."""
        if self.caution.suspects:
            resting = all(task.resting() for task in self.tasks.values())
            return self.caution.holder is None and resting and all(source.resting for source in self._shared)
        return all(task.idle() for task in self.tasks.values()) and all(source.idle for source in self._shared)
