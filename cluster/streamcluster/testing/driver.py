"""Driver: what tests call: send records, let time pass, crash, and look at what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar

from ..app import App
from ..boundary import run_to_the_end
from ..errors import AppError
from ..headers import Headers, header_pairs, pairs_of
from ..ids import TP, TaskId
from ..output import NOT_AT_COMMIT
from ..stores import MemoryStore, TaskStore
from ..topics import Topic
from ..topology import BrokerTopic, Declared, Topology
from ..topology.declare import apply_limits, freeze
from ..topology.resolve import resolve
from ..topology.units import Plan
from ..windows.kinds import window_of
from .simulation import Simulation
from .topics import Output, SimulatedClock, SimulatedLogs

T = TypeVar("T")


class Driver:
    """Runs `app` in this process. Use it as a context manager, from code that has no running event loop.

    Args:
        app: the app; it may be driven by one driver at a time.
        partitions: of every source topic that does not say its own count.
        make_store: store of a task; in memory by default.
        start_time: the clock's first value, in seconds since the epoch: timestamps of records. None: 0, and for
            event time it is never before what was sent.
    """

    def __init__(
        self,
        app: App,
        *,
        partitions: int = 1,
        make_store: Callable[[TaskId, list[str]], TaskStore] | None = None,
        start_time: float | None = None,
    ) -> None:
        self.app = app
        self.clock = SimulatedClock(start_time or 0.0)
        self._follows = start_time is None
        self._loop = asyncio.new_event_loop()
        self._plan: Plan
        try:
            self._plan, declared = self.run(freeze(app))
            self.topology = _resolve(app, declared, partitions)
            apply_limits(app, self._plan, self.topology, timestamps=False)
            indexes = {table.name: table.indexes for table in self._plan.tables}
            stores = make_store or (lambda _task, tables: MemoryStore(tables, indexes))
            self.worker = Simulation(app, self._plan, self.topology, self.clock, stores, start_time or 0.0)
            self._open()
        except BaseException:
            self._loop.close()
            raise

    def _open(self) -> None:
        try:
            self.run(self.worker.open())
        except BaseException:
            # A callback of the app has failed, so nobody gets a driver to close: what runs already ends here.
            if hasattr(self.worker, "pump"):
                self.run(self.worker.stop())
            raise

    def __enter__(self) -> Driver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every coroutine and close the stores."""
        if not self._loop.is_closed():
            self.run(self.worker.close())
            self._loop.close()

    @property
    def logs(self) -> SimulatedLogs:
        """All partitions of all topics, as bytes, changelogs included."""
        return self.worker.logs

    # Input

    def send(
        self,
        topic: Topic | str,
        *,
        key: Any = None,
        value: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: Headers | None = None,
        commit: bool = True,
    ) -> None:
        """Write a record to a topic and process it, encoded by the app's codecs unless key and value are bytes.

        commit=False leaves the results uncommitted, for a `crash` that comes too early.
        """
        found = topic if isinstance(topic, Topic) else _find_topic(self.app, self._plan, topic)
        message = _encode(found, topic, key, value)
        message |= {"partition": partition} if partition is not None else {}
        message |= {"timestamp": round(timestamp * 1000) or NOT_AT_COMMIT} if timestamp is not None else {}
        message |= {"headers": header_pairs(headers)} if headers else {}
        if timestamp is not None and self._follows:
            self.clock.move_wall(timestamp)
        self.logs.append(topic if isinstance(topic, str) else topic.name, message, self.worker.time())
        self.run(self.worker.process(commit=commit))

    def advance(self, seconds: float) -> None:
        """Let time pass: take(within=), timers and retries happen on the way, each at its moment."""
        end = self.clock.now() + seconds
        while (due := self.clock.next_due()) is not None and due <= end:
            self.run(self.worker.move_to(due))
        self.run(self.worker.move_to(end))

    def time(self, seconds: float) -> None:
        """Say that nothing earlier is to come, in seconds since the epoch: event time moves there without a record.

        First for topics that the app only reads, and then for those that it writes: what windows and joins give out on
        the way there is not late for those behind them.
        """
        self.run(self.worker.process(commit=True))
        steps = _steps_of(self._plan)
        for step in sorted({0, *steps.values()}):
            behind = {name for name, its in steps.items() if its > step}
            self.worker.engine.times.raise_to(round(seconds * 1000), behind)
            self.run(self.worker.process(commit=True))

    # Output

    def output(self, topic: Topic | str) -> list[Output]:
        """The committed records of a topic, by partition and offset."""
        name = topic if isinstance(topic, str) else topic.name
        if name not in self.logs.partition_counts:
            raise AppError(f"the app has no topic {name!r}; it has {', '.join(sorted(self.logs.partition_counts))}.")
        found = topic if isinstance(topic, Topic) else _find_topic(self.app, self._plan, name)
        outputs: list[Output] = []
        for tp in sorted(tp for tp in self.logs.logs if tp.topic == name):
            for record in self.logs.logs[tp]:
                key, value = record.key, record.value
                outputs.append(
                    Output(
                        key=found.coders.decode_key(key) if found and key is not None else key,
                        value=found.coders.decode_value(value) if found and value is not None else value,
                        partition=tp.partition,
                        offset=record.offset,
                        timestamp=record.timestamp / 1000,
                        headers=dict(pairs_of(record.headers) or ()),  # type: ignore[arg-type]  # None values are rare, and a test that has them knows
                    )
                )
        return outputs

    def dead_letters(self) -> list[Output]:
        """What went to the dead-letter topic; the reason is in the headers `dead-letter-*`."""
        return self.output(self.app.conf.dead_letters)

    def table(self, name: str) -> dict[Any, Any]:
        """The entries of a table, over all partitions; of one with windows by key and window."""
        table = self.app.tables[name]
        if table.key_coding is None or table.windows is not None:
            return dict(table.items())
        return {(key, window_of((start, end))): value for (key, start, end), value in table.items()}

    def positions(self) -> dict[TP, int]:
        """The committed position of each source partition: the offset to read next."""
        return {tp: committed.next_offset for tp, committed in sorted(self.worker.committed.items())}

    # Faults

    def crash(self, *, lose_stores: bool = False) -> None:
        """Forget everything uncommitted and start again, with the stores or, without them, from the changelogs."""
        self.run(self.worker.crash(lose_stores=lose_stores))

    def rebalance(self) -> None:
        """Commit, give every task away and take it back: coroutines and caches start afresh."""
        self.run(self.worker.process(commit=True))
        self.run(self.worker.crash(lose_stores=False))

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop that the app runs on."""
        return run_to_the_end(self._loop, self._loop.create_task(coroutine), (SystemExit,))


def _steps_of(plan: Plan) -> dict[str, int]:
    """In what order time is raised in topics: behind those they are written from, and with those read beside them."""
    together = [
        {name for unit in plan.units if operator in unit.timed for topic in unit.inputs for name in topic.names}
        for operator in plan.timed()
    ]
    steps = dict.fromkeys((name for topic in plan.topics() for name in topic.names), 0)
    # So often at most, where they are written in a circle.
    for _ in range(len(steps)):
        for topic in plan.written:
            steps[topic.name] = max([steps.get(topic.name, 0), *(steps.get(name, 0) + 1 for name in topic.after)])
        for names in together:
            steps.update(dict.fromkeys(names, max([steps.get(name, 0) for name in names], default=0)))
    return steps


def _find_topic(app: App, plan: Plan, name: str) -> Topic | None:
    """The topic declaration that says how records of the topic of this name are encoded."""
    return next((topic for topic in [*app.topics, *plan.topics()] if name in topic.names), None)


def _encode(found: Topic | None, topic: Topic | str, key: Any, value: Any) -> dict[str, Any]:
    """A record's key and value, of which bytes are taken as they are."""
    if found is None:
        if not isinstance(key, (bytes, type(None))) or not isinstance(value, (bytes, type(None))):
            raise AppError(f"the app does not declare topic {topic!r}: give key and value as bytes.")
        return {"key": key, "value": value}
    coders = found.coders
    return {
        "key": key if key is None or isinstance(key, bytes) else coders.encode_key(key),
        "value": value if value is None or isinstance(value, bytes) else coders.encode_value(value),
    }


def _resolve(app: App, declared: Declared, partitions: int) -> Topology:
    """The topology on a broker that has every source topic."""
    broker = {
        topic.name: BrokerTopic(name=topic.name, partitions=topic.partitions or partitions, config=topic.config)
        for topic in declared.topics
        if topic.role == "source" and not topic.name.startswith("^")
    }
    resolved = resolve(declared, broker, app.conf)
    if isinstance(resolved, Topology):
        return resolved
    raise AppError("; ".join(problem.text for problem in resolved))
