"""App: a declaration. It has topics, agents, tables, tasks and signals, and no run method: processes import it.

Decorators and factories only note what the user says; `declare.py` turns the notes into a topology.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar, overload

from .agents import Agent, Sink, check_sinks
from .checks import (
    Seconds,
    check_callable,
    check_count,
    check_parameters,
    check_task,
    check_topic_name,
    each,
    is_topic_name,
    seconds_of,
)
from .codecs import Codec
from .config.credentials import credential_settings
from .errors import AppError
from .faust_names import (
    AGENT_ARGUMENTS,
    APP,
    FUNCTION_ARGUMENTS,
    TABLE_ARGUMENTS,
    TOPIC_ARGUMENTS,
    names_what_is_missing,
    refuses,
)
from .operators import Processor
from .policies import ErrorPolicy
from .running_here import run_main
from .settings import Settings, make_settings
from .signals import Signal
from .sources import Source
from .streams import Stream
from .suppression import suppressed
from .table_joins.building import JoinedTables, join_tables
from .table_sources import as_of_topic, feeder_name, feeder_of, loads_first
from .tables import Table as TableView
from .topics import Topic
from .windows.faust_windows import FaustWindow
from .windows.pane_changes import PaneChanges
from .windows.windowed import WindowedTable

F = TypeVar("F", bound=Callable[..., Any])
# Where each of them is must fit into the 4096 bytes that brokers take with an offset (ahead.py).
AGENT_CONCURRENCY_MAX = 500


@dataclass(frozen=True, slots=True)
class TaskFunction:
    """A function that runs once per worker, or on the leader only; interval: seconds for a timer, else None."""

    name: str
    fun: Callable[..., Any]
    on_leader: bool = False
    interval: float | None = None


@names_what_is_missing(APP, "app", refuses_set=True)
class App:
    """A stream processing application.

    Args:
        id: names the consumer group, the internal topics and the state directory.
        broker_credentials: SASLCredentials, SSLCredentials or OAuthCredentials, which stand for settings.
        settings: see the README; the operator's file, environment and command line beat them.

    Raises:
        ConfigurationError: an unknown setting, or a wrong value.
    """

    def __init__(self, id: str, *, broker_credentials: object = None, **settings: Any) -> None:
        self.keywords: dict[str, Any] = {"id": id, **credential_settings(broker_credentials), **settings}
        self.conf: Settings = make_settings(self.keywords, source=f"App({id!r})")
        self.topics: list[Topic] = []
        self.agents: dict[str, Agent] = {}
        self.tables: dict[str, TableView[Any, Any]] = {}
        self.table_joins: list[JoinedTables] = []
        self.pane_changes: dict[str, PaneChanges] = {}
        self.tasks: list[TaskFunction] = []
        self.streams: list[Stream[Any]] = []
        self.leads = False
        self.on_before_configured = Signal("on_before_configured")
        self.on_configured = Signal("on_configured")
        self.on_after_configured = Signal("on_after_configured")
        self.on_worker_init = Signal("on_worker_init")
        self.on_partitions_assigned = Signal("on_partitions_assigned")
        self.on_partitions_revoked = Signal("on_partitions_revoked")
        self.on_rebalance_complete = Signal("on_rebalance_complete")
        self.on_before_shutdown = Signal("on_before_shutdown")
        self.on_produce_message = Signal("on_produce_message")

    # Declarations

    @refuses(TOPIC_ARGUMENTS, "app.topic")
    def topic(
        self,
        *names: str,
        pattern: str | None = None,
        key_type: Any = None,
        value_type: Any = None,
        key_serializer: str | Codec | None = None,
        value_serializer: str | Codec | None = None,
        partitions: int | None = None,
        retention: Seconds | None = None,
        compacting: bool | None = None,
        deleting: bool | None = None,
        replicas: int | None = None,
        internal: bool = False,
        config: Mapping[str, Any] | None = None,
        max_out_of_orderness: Seconds | None = None,
        max_ahead: Seconds | None = None,
        idle_timeout: Seconds | None = None,
    ) -> Topic:
        """Describe a topic.

        Args:
            names: one or more; the first is where sends go.
            pattern: a regular expression that whole topic names must match, in place of names; read at the start.
            key_type, value_type: a Record, a pydantic model, str, bytes, int, float ...; None: plain data.
            key_serializer, value_serializer: codec names such as "json", "raw", "json|binary".
            partitions, retention (seconds), compacting, deleting, replicas, config: how the topic is created. Source
                topics are created only when `internal` or `partitions` is given.
            max_out_of_orderness, max_ahead, idle_timeout: of its event time; None: as the settings of these names say.
        """
        if bool(names) == bool(pattern):
            raise AppError("app.topic(): give one or more names, or pattern=.")
        for name in names:
            check_topic_name("app.topic()", name)
        what = f"app.topic({', '.join(map(repr, names)) or f'pattern={pattern!r}'})"
        check_count(f"{what}: partitions", partitions)
        check_count(f"{what}: replicas", replicas)
        topic = Topic(
            names=names,
            pattern=pattern,
            key_type=key_type,
            value_type=value_type,
            key_serializer=key_serializer,
            value_serializer=value_serializer,
            partitions=partitions,
            retention=_seconds(what, "retention", retention),
            compacting=compacting,
            deleting=deleting,
            replicas=replicas,
            internal=internal,
            config={name: str(value) for name, value in (config or {}).items()},
            max_out_of_orderness=_seconds(what, "max_out_of_orderness", max_out_of_orderness),
            max_ahead=_seconds(what, "max_ahead", max_ahead),
            idle_timeout=_seconds(what, "idle_timeout", idle_timeout),
        )
        self.topics.append(topic)
        return topic

    @overload
    def agent(self, channel: Callable[..., Any]) -> Agent: ...

    @overload
    def agent(
        self,
        channel: Topic | str | Stream[Any] | None = None,
        *,
        name: str | None = None,
        concurrency: int = 1,
        sink: Sequence[Sink] = (),
        on_error: ErrorPolicy | str | None = None,
        isolated_partitions: bool = True,
        **topic_arguments: Any,
    ) -> Callable[[Callable[..., Any]], Agent]: ...

    @refuses({**TOPIC_ARGUMENTS, **AGENT_ARGUMENTS}, "app.agent")
    def agent(
        self,
        channel: Any = None,
        *,
        name: str | None = None,
        concurrency: int = 1,
        sink: Sequence[Sink] = (),
        on_error: ErrorPolicy | str | None = None,
        isolated_partitions: bool = True,
        **topic_arguments: Any,
    ) -> Any:
        """Decorate `async def f(stream)`: it runs once per task (partition), with or without parentheses.

        Args:
            channel: a topic, a topic name, a stream made by app.stream(topic), or None for an own internal topic
                `{app id}-{name}`, to which `topic_arguments` (key_type, value_type, partitions ...) apply.
            name: `module.function` by default.
            concurrency: so many coroutines share a partition (1 to 500), for events that await something; the order of
                each key is kept.
            sink: what the agent yields goes to each: callables, topics, agents.
            on_error: "dead_letter", "skip", "stop" or streamcluster.retry(times, backoff, then).
        """
        del isolated_partitions  # Always so here: an agent is one coroutine per partition.
        if inspect.isfunction(channel):
            return self._add_agent(channel, None, name, concurrency, sink, on_error, topic_arguments)

        def decorate(fun: Callable[..., Any]) -> Agent:
            return self._add_agent(fun, channel, name, concurrency, sink, on_error, topic_arguments)

        return decorate

    def _add_agent(
        self,
        fun: Callable[..., Any],
        channel: Any,
        name: str | None,
        concurrency: int,
        sink: Sequence[Sink],
        on_error: ErrorPolicy | str | None,
        topic_arguments: dict[str, Any],
    ) -> Agent:
        if name is None and not hasattr(fun, "__name__"):
            raise AppError(f"@app.agent on {fun!r}: it has no name of its own, add name='...'.")
        name = name or f"{fun.__module__}.{fun.__name__}"
        if name in self.agents:
            raise AppError(f"agent {name!r} is declared twice: give one of them another name='...'.")
        check_count(f"agent {name!r}: concurrency", concurrency, most=AGENT_CONCURRENCY_MAX)
        check_parameters(f"agent {name!r}", fun, "stream")
        stream = channel if isinstance(channel, Stream) else None
        if stream is not None:
            if not stream.source.topics:
                raise AppError(f"agent {name!r}: a stream over a local iterable can be read in an @app.task only.")
            topic = stream.source.topics[0]
            self.streams = [other for other in self.streams if other is not stream]
        else:
            topic = self._agent_topic(name, channel, topic_arguments)
        agent = Agent(
            name=name,
            fun=fun,
            topic=topic,
            stream=stream,
            concurrency=concurrency,
            sinks=check_sinks(name, sink),
            on_error=on_error,
            help=(inspect.getdoc(fun) or "").split("\n", 1)[0],
        )
        self.agents[name] = agent
        return agent

    def _agent_topic(self, name: str, channel: Any, topic_arguments: dict[str, Any]) -> Topic:
        if isinstance(channel, Topic):
            if topic_arguments:
                raise AppError(f"agent {name!r}: {sorted(topic_arguments)} belong to its topic, which is given.")
            return channel
        if channel is not None and not isinstance(channel, str):
            raise AppError(f"agent {name!r}: {channel!r} is neither a topic, a topic's name nor a stream.")
        if channel is None:
            topic_arguments.setdefault("internal", True)
        return self.topic(channel or f"{self.conf.app_id}-{name}", **topic_arguments)

    def stream(self, channel: Any, *, processors: Iterable[Callable[[Any], Any]] = ()) -> Stream[Any]:
        """A stream over a topic (read in an @app.task, or passed to an agent), or over a local (async) iterable."""
        processors = each("app.stream(): processors", processors)
        for fun in processors:
            check_callable("app.stream(): processors", fun)
        operators = tuple(Processor(fun) for fun in processors)
        if isinstance(channel, str):
            channel = self.topic(channel)
        if isinstance(channel, Topic):
            stream: Stream[Any] = Stream(Source(channel.describe(), (channel,)), operators, self._replace_stream)
            self.streams.append(stream)
            return stream
        if not hasattr(channel, "__aiter__") and not hasattr(channel, "__iter__"):
            raise AppError(f"app.stream({channel!r}): give a topic, its name, or an iterable.")
        return Stream(Source("a local iterable", iterable=channel), operators)

    def _replace_stream(self, old: Stream[Any], new: Stream[Any]) -> None:
        """A stream derived at import time takes its parent's place: the last in the chain is the one that is read."""
        if new.source.intake is None and any(stream is old for stream in self.streams):
            self.streams = [new if stream is old else stream for stream in self.streams]

    @overload
    def Table(self, name: str, *, window: FaustWindow, **arguments: Any) -> WindowedTable: ...

    @overload
    def Table(self, name: str, *, source: Topic | None = None, **arguments: Any) -> TableView[Any, Any]: ...

    @refuses(TABLE_ARGUMENTS, "app.Table")
    def Table(
        self,
        name: str,
        *,
        source: Topic | None = None,
        load: str = "time",
        window: FaustWindow | None = None,
        **arguments: Any,
    ) -> Any:
        """Declare a table: a dict with one shard per partition, kept in the store and in a changelog topic.

        Args:
            source: a topic whose newest value of each key it keeps, in an agent `{name}-source`; its types are those of
                the topic. A record without a value deletes. Agents that read the table take its records in the order of
                time with their own; load="first": they begin once it was read to its end, and never hold it up. If the
                topic is compacted it is the changelog, too, and nobody else writes the table (docs/event-time.md).
            history: for how many seconds of event time `table.as_of(time)[key]` finds what was there before, and so
                does `stream.join(table, as_of=True)` of a table with source=.
            default: called for missing keys; the result is stored once it is changed or assigned.
            key_type, value_type: for the codecs; None: any values that docs/values.md names.
            partitions: needed only when it cannot be seen from the agents which topics it lives with.
            changelog_topic: a name; `{app id}-{name}-changelog` by default.
            extra_topic_configs: for the changelog topic.
            on_recover: called after each restore of a shard.
            ttl: an entry is deleted so long after its last write, in seconds of event time (docs/event-time.md).
            window: TumblingWindow(60) or HoppingWindow(60, 10), as in Faust: the same as `.tumbling(60)`.
            on_window_close: called with each window that is over (docs/windows.md).
            wall_clock: ttl= counts by the time of day instead.
            migrate: makes a value of a row that is none of the table's types any more (docs/values.md).
            help: a line for `streamcluster tables`.
        """
        if name in self.tables:
            raise AppError(f"table {name!r} is declared twice.")
        if not is_topic_name(name):
            raise AppError(f"app.Table({name!r}): use letters, digits, '.', '_' and '-': it names the changelog topic.")
        if source is not None:
            arguments = {**as_of_topic(name, source, arguments), "source": source}
        table: TableView[Any, Any] = TableView(name, **arguments)
        table.loads_first = loads_first(name, source, load)
        table.belong_to(self)
        self.tables[name] = table
        if source is not None:
            self._add_agent(feeder_of(table), source, feeder_name(table), 1, (), None, {})
        return table if window is None else table.using_window(window)

    def join_tables(
        self, left: TableView[Any, Any], other: object, how: str, on: Any, name: str | None
    ) -> TableView[Any, Any]:
        """What `table.join(other)` and its like call: declare the table that comes of it."""
        joined = join_tables(left, other, how, on, name, lambda: self.conf)
        self._made(joined.table, joined.agents)
        self.table_joins.append(joined)
        return joined.table

    def suppress_table(self, table: TableView[Any, Any], name: str | None, **bounds: Any) -> TableView[Any, Any]:
        """What `table.suppress(...)` calls: declare the table that comes of it."""
        found = suppressed(table, name, **bounds)
        self._made(found.table, (found.agent,))
        return found.table

    def _made(self, table: TableView[Any, Any], agents: Sequence[Agent]) -> None:
        """A table that others make."""
        if table.name in self.tables:
            raise AppError(f"table {table.name!r} is declared twice: give one of them another name=.")
        if not is_topic_name(table.name):
            raise AppError(f"name={table.name!r} of a table: use letters, digits, '.', '_' and '-'.")
        table.belong_to(self)
        self.tables[table.name] = table
        self.agents |= {agent.name: agent for agent in agents}

    def tell_panes(self, of: WindowedTable, every: float | None) -> Topic:
        """What `table.changes()` of a table with merge= calls: declare what tells of its windows."""
        if of.name not in self.pane_changes:
            found = self.pane_changes[of.name] = PaneChanges(of, lambda: self.conf)
            self.agents[found.agent.name] = found.agent
        return self.pane_changes[of.name].read_by(every)

    @overload
    def task(self, fun: F) -> F: ...

    @overload
    def task(self, *, on_leader: bool = False) -> Callable[[F], F]: ...

    @refuses(FUNCTION_ARGUMENTS, "app.task")
    def task(self, fun: Any = None, *, on_leader: bool = False) -> Any:
        """Decorate a function that runs once in each worker, or with `on_leader` in one worker of the app.

        It starts when the worker has joined, takes no argument or the app, and may iterate app.stream(topic) streams.
        An exception in it ends the worker, which is replaced.
        """

        def decorate(function: F) -> F:
            check_task("@app.task", function)
            self.tasks.append(TaskFunction(_name_of(function), function, on_leader))
            return function

        return decorate if fun is None else decorate(fun)

    @refuses(FUNCTION_ARGUMENTS, "app.timer")
    def timer(self, interval: Seconds, *, on_leader: bool = False, name: str | None = None) -> Callable[[F], F]:
        """Decorate a function that runs every `interval` seconds in each worker (or on the leader), without drift.

        An exception in it is logged and the next run takes place.
        """
        if callable(interval):
            raise AppError("@app.timer: give it an interval in seconds: @app.timer(60).")
        seconds = seconds_of("app.timer(): interval", interval)
        if seconds == 0:
            raise AppError("app.timer(0): the interval must be positive.")

        def decorate(function: F) -> F:
            check_task("@app.timer", function)
            self.tasks.append(TaskFunction(name or _name_of(function), function, on_leader, seconds))
            return function

        return decorate

    def is_leader(self) -> bool:
        """Whether this worker runs the `on_leader` tasks now."""
        return self.leads

    def main(self) -> NoReturn:
        """The `streamcluster` command line with `-A` set to this app."""
        run_main(self, inspect.currentframe())
        raise AssertionError("the command line ends the process")


def _name_of(fun: Callable[..., Any]) -> str:
    return f"{getattr(fun, '__module__', '?')}.{getattr(fun, '__name__', repr(fun))}"


def _seconds(what: str, name: str, value: Seconds | None) -> float | None:
    return None if value is None else seconds_of(f"{what}: {name}", value)
