"""Driver: what tests call. It plays the worker: feeds the engine, commits what it cuts, crashes it on request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar

from ..app import App
from ..current import outbox_var
from ..engine.engine import Engine
from ..engine.values import Commit, Committed
from ..errors import AppError
from ..freeze import Plan, freeze
from ..ids import TP, TaskId
from ..resolve import resolve
from ..stores import MemoryStore, TaskStore
from ..topics import Topic
from ..topology import BrokerTopic, Declared, Topology
from .topics import Output, SimulatedClock, SimulatedLogs

T = TypeVar("T")
SETTLE_SECONDS_MAX = 10.0


class Driver:
    """Runs `app` in this process. Use it as a context manager, from code that has no running event loop.

    Args:
        app: the app; it may be driven by one driver at a time.
        partitions: of every source topic that does not say its own count.
        make_store: store of a task; in memory by default.
        start_time: the clock's first value, in seconds since the epoch: timestamps of records.
    """

    def __init__(
        self,
        app: App,
        *,
        partitions: int = 1,
        make_store: Callable[[TaskId, list[str]], TaskStore] | None = None,
        start_time: float = 0.0,
    ) -> None:
        self.app = app
        self.clock = SimulatedClock()
        self._start_time = start_time
        self._make_store = make_store or (lambda _task, tables: MemoryStore(tables))
        self._loop = asyncio.new_event_loop()
        self._plan: Plan
        try:
            self._plan, declared = self._run(freeze(app))
            self.topology = _resolve(app, declared, partitions)
        except BaseException:
            self._loop.close()
            raise
        self.logs = SimulatedLogs({topic.name: topic.partitions for topic in self.topology.topics})
        self._stores: dict[TaskId, TaskStore] = {}
        self._committed: dict[TP, Committed] = {}
        self.engine: Engine
        self._run(self._open())

    def __enter__(self) -> Driver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every coroutine and close the stores."""
        if not self._loop.is_closed():
            self._run(self._close_engine())
            for store in self._stores.values():
                store.close()
            self._loop.close()

    # Input

    def send(
        self,
        topic: Topic | str,
        *,
        key: Any = None,
        value: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: dict[str, bytes] | None = None,
        commit: bool = True,
    ) -> None:
        """Write a record to a topic and process it, encoded by the app's codecs unless key and value are bytes.

        commit=False leaves the results uncommitted, for a `crash` that comes too early.
        """
        message = self._encode(topic, key, value)
        message |= {"partition": partition} if partition is not None else {}
        message |= {"timestamp": int(timestamp * 1000)} if timestamp is not None else {}
        message |= {"headers": list(headers.items())} if headers else {}
        self.logs.append(topic if isinstance(topic, str) else topic.name, message, self._start_time + self.clock.now())
        self._run(self._process(commit=commit))

    def _encode(self, topic: Topic | str, key: Any, value: Any) -> dict[str, Any]:
        found = topic if isinstance(topic, Topic) else self._topic(topic)
        if found is None:
            if not isinstance(key, (bytes, type(None))) or not isinstance(value, (bytes, type(None))):
                raise AppError(f"the app does not declare topic {topic!r}: give key and value as bytes.")
            return {"key": key, "value": value}
        coders = found.coders
        return {
            "key": key if key is None or isinstance(key, bytes) else coders.encode_key(key),
            "value": value if value is None or isinstance(value, bytes) else coders.encode_value(value),
        }

    def _topic(self, name: str) -> Topic | None:
        declared = [*self.app.topics, *(unit.topic for unit in self._plan.units)]
        return next((topic for topic in declared if name in topic.names), None)

    def advance(self, seconds: float) -> None:
        """Let time pass: take(within=), timers and retries happen on the way, each at its moment."""
        end = self.clock.now() + seconds
        while (due := self.clock.next_due()) is not None and due <= end:
            self._run(self._move_to(due))
        self._run(self._move_to(end))

    async def _move_to(self, now: float) -> None:
        self.clock.move_to(now)
        await self._process(commit=True)

    # Output

    def output(self, topic: Topic | str) -> list[Output]:
        """The committed records of a topic, by partition and offset."""
        name = topic if isinstance(topic, str) else topic.name
        if name not in self.logs.partition_counts:
            raise AppError(f"the app has no topic {name!r}; it has {', '.join(sorted(self.logs.partition_counts))}.")
        found = topic if isinstance(topic, Topic) else self._topic(name)
        outputs: list[Output] = []
        for tp in sorted(tp for tp in self.logs.logs if tp.topic == name):
            for record in self.logs.logs[tp]:
                key, value = record.key(), record.value()
                outputs.append(
                    Output(
                        key=found.coders.decode_key(key) if found and key is not None else key,
                        value=found.coders.decode_value(value) if found and value is not None else value,
                        partition=tp.partition,
                        offset=record.offset(),
                        timestamp=record.timestamp()[1] / 1000,
                        headers=dict(record.headers()),
                    )
                )
        return outputs

    def dead_letters(self) -> list[Output]:
        """What went to the dead-letter topic; the reason is in the headers `dead-letter-*`."""
        return self.output(self.app.conf.dead_letters)

    def table(self, name: str) -> dict[Any, Any]:
        """The entries of a table, over all partitions."""
        return dict(self.app.tables[name].items())

    def positions(self) -> dict[TP, int]:
        """The committed position of each source partition: the offset to read next."""
        return {tp: committed.next_offset for tp, committed in sorted(self._committed.items())}

    # Faults

    def crash(self, *, lose_stores: bool = False) -> None:
        """Forget everything uncommitted and start again, with the stores or, without them, from the changelogs."""
        self._run(self._crash(lose_stores))

    def rebalance(self) -> None:
        """Commit, give every task away and take it back: coroutines and caches start afresh."""
        self._run(self._process(commit=True))
        self._run(self._crash(lose_stores=False))

    async def _crash(self, lose_stores: bool) -> None:
        await self._close_engine()
        if lose_stores:
            for store in self._stores.values():
                store.close()
            self._stores = {task: self._restored(task) for task in self._stores}
        await self._open()
        await self._process(commit=True)

    def _restored(self, task: TaskId) -> TaskStore:
        tables = self.topology.tables_of(task)
        store = self._make_store(task, [table.name for table in tables])
        for table in tables:
            store.forget(table.name)
            log = self.logs.logs.get(TP(table.changelog, task.partition), [])
            store.restore(table.name, [(record.key() or b"", record.value()) for record in log], len(log))
        return store

    # The worker's part

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(coroutine)

    async def _open(self) -> None:
        self.engine = Engine(self.app, self._plan, self.topology, self.clock)
        for task in self.topology.tasks():
            sources = [TP(topic, task.partition) for topic in self.topology.sources(task)]
            for tp in sources:
                self._committed.setdefault(tp, Committed(0))
            if task not in self._stores:
                self._stores[task] = self._make_store(task, [t.name for t in self.topology.tables_of(task)])
            self.engine.open_task(task, self._stores[task], {tp: self._committed[tp] for tp in sources})
        self._fed = {tp: committed.next_offset for tp, committed in self._committed.items()}
        self.engine.functions.start(leader=True)
        outbox_var.set(self.engine.outbox)
        await self._settle()

    async def _close_engine(self) -> None:
        await self.engine.functions.stop()
        for task in list(self.engine.tasks):
            await self.engine.close_task(task)

    async def _process(self, *, commit: bool) -> None:
        """Feed what is there until nothing moves any more."""
        while True:
            fed = self._feed()
            await self._settle()
            if self.engine.recovery.failures:
                self._fed.update(await self.engine.recovery.run())
                continue
            self._raise_stop()
            self.engine.step()
            trials = bool(self.engine.recovery.trials)
            committed = (commit or trials) and await self._commit()
            if not fed and not committed and not self._has_news():
                return

    def _has_news(self) -> bool:
        if self.engine.recovery.failures:
            return True
        before = [trial.phase for trial in self.engine.recovery.trials.values()]
        return any(phase == "alone" for phase in before)

    def _feed(self) -> bool:
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
        while True:
            self.engine.changed.clear()
            for _ in range(3):
                await asyncio.sleep(0)
            if self.engine.recovery.failures or all(task.idle() for task in self.engine.tasks.values()):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"the app did not come to rest within {SETTLE_SECONDS_MAX:.0f} s.")
            await asyncio.sleep(0.001)

    def _raise_stop(self) -> None:
        recovery = self.engine.recovery
        if recovery.stop_failure is not None:
            failure, recovery.stop_failure = recovery.stop_failure, None
            raise failure.error
        if recovery.crash is not None:
            (_, error), recovery.crash = recovery.crash, None
            raise error

    async def _commit(self) -> bool:
        tasks = await self.engine.barrier(SETTLE_SECONDS_MAX)
        commit = self.engine.cut(tasks)
        self.engine.release()
        if commit.is_empty():
            return False
        self._apply(commit)
        self.engine.committed(commit)
        return True

    def _apply(self, commit: Commit) -> None:
        now = self._start_time + self.clock.now()
        outputs = [commit.outputs, *(cut.outputs for cut in commit.tasks)]
        for topic, messages in [pair for output in outputs for pair in output.items()]:
            self.logs.partition_counts.setdefault(topic, 1)
            for message in messages:
                self.logs.append(topic, message, now)
        changelogs = {table.name: table.changelog for table in self.topology.tables}
        for cut in commit.tasks:
            next_offsets: dict[str, int] = {}
            for table, changes in cut.changes.items():
                for key, value in changes.items():
                    message = {"key": key, "value": value, "partition": cut.task.partition}
                    next_offsets[table] = self.logs.append(changelogs[table], message, now).offset() + 1
            self._committed.update(cut.offsets)
            self._stores[cut.task].write(cut.changes, next_offsets)


def _resolve(app: App, declared: Declared, partitions: int) -> Topology:
    """The topology on a broker that has every source topic."""
    broker = {
        topic.name: BrokerTopic(name=topic.name, partitions=topic.partitions or partitions)
        for topic in declared.topics
        if topic.role == "source" and not topic.name.startswith("^")
    }
    resolved = resolve(declared, broker, app.conf)
    if isinstance(resolved, Topology):
        return resolved
    raise AppError("; ".join(problem.text for problem in resolved))
