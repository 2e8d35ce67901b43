"""Freezing: from an App's notes to a plan (what workers run) and a declaration (what the coordinator checks).

`group_by` and `through` are called inside agents, so each agent is probed: its body runs until it asks for its first
event, and the operators of the stream that it asked are noted. What stands before an agent's loop therefore runs once
more than there are tasks.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from msgspec import structs

from ..agents import Agent
from ..ahead import METADATA_BYTES_MAX, chars_max
from ..app import App
from ..checks import check_topic_name
from ..errors import AppError
from ..operators import Chain
from ..policies import policy_of
from ..sources import Probed, Source
from ..streams import Stream
from ..table_sources import feeder_name
from ..tables import Table
from ..times import Closing
from ..topics import Topic
from ..windows.kinds import is_nested
from . import AgentSpec, Declared, TableSpec, TopicSpec, Topology
from .chains import (
    names_of,
    partners_of,
)
from .changelogs import changelog_name, changelog_spec, check_changelogs, why_beside
from .limits import DEAD_LETTER_BYTES_MAX, limits_of
from .looping import Loops
from .named import tables_named
from .pane_changes import declare_changes, name_changes
from .table_joins import declare_joins, fit_streams, name_topics
from .timed import check_windows, tables_beside, timed_by, with_time_tables, with_travelling_time
from .units import CloseUnit, Due, Plan, SharedStream, Unit
from .written import written_topics

PROBE_SECONDS_MAX = 10.0


async def freeze(app: App) -> tuple[Plan, Declared]:
    """Probe the agents, compile the codecs and return the plan and the declaration of `app`.

    Raises:
        AppError: an agent's code before its first event fails, or two declarations contradict each other.
    """
    app.on_before_configured.send(app)
    app.on_configured.send(app, conf=app.conf)
    app.on_after_configured.send(app)
    repartitions: dict[str, TopicSpec] = {}
    # Streams of app.stream that others are combined with: they are read there.
    partners: list[Chain] = []
    for table in app.tables.values():
        for one in (table, *table.besides):
            for changes in one.changes_read:
                changes.is_named(changelog_name(app, one))
    name_topics(app)
    name_changes(app)
    loops = Loops(app, repartitions)
    for agent in app.agents.values():
        probed = await _probe(agent)
        partners += partners_of(probed.stream)
        loops.add_agent(agent, probed.stream, is_plain=probed.takes)
    units, specs = loops.units, loops.specs
    partners += [partner for stream in app.streams for partner in partners_of(stream)]
    shared, readers = declare_shared(app, loops, partners)
    declare_joins(app, units, specs, repartitions)
    declare_changes(app, repartitions)
    check_windows(app.tables.values())
    _add_closing(app, app.tables.values(), units, specs)
    beside = tables_beside(app.tables.values(), units)
    _add_closing(app, [*beside, *(table for unit in units for table in unit.tables)], units, specs)
    specs += readers
    fit_streams(app, units, specs, loops.with_tables)
    units = with_travelling_time(units)
    tables = [*app.tables.values(), *beside, *(table for unit in units for table in unit.tables)]
    written = written_topics(units, round(1000 * (app.conf.close_idle_after or 0)))
    plan = with_time_tables(Plan(tuple(units), tuple(shared), tuple(app.tasks), tuple(tables), written))
    check_changelogs(app, plan.tables)
    for topic in [*app.topics, *plan.topics()]:
        topic.compile(app.conf)
        if app.on_produce_message.receivers:
            topic.on_produce = _produce_signal(app)
    _check_readers(units)
    return plan, declaration_of(app, plan, specs, repartitions)


def apply_limits(app: App, plan: Plan, topology: Topology, *, timestamps: bool = True) -> None:
    """Let each topic refuse records that its broker would refuse, in the agent that sends them.

    timestamps: whether to compare them with the clock, which is not that of a simulation.
    """
    resolved = {topic.name: topic for topic in topology.topics}
    for topic in [*app.topics, *plan.destinations()]:
        limits = limits_of(app.conf, resolved.get(topic.names[0]) if topic.names else None)
        topic.compile(app.conf, limits if timestamps else replace(limits, ahead_ms_max=None, behind_ms_max=None))


def _check_readers(units: list[Unit]) -> None:
    """Bound the coroutines that read one topic: those that are ahead at a commit are noted in its offset's metadata."""
    readers: dict[str, list[Unit]] = {}
    for unit in units:
        for name in [name for topic in unit.inputs for name in names_of(topic)]:
            readers.setdefault(name, []).append(unit)
    for name, those in readers.items():
        taken = sum(chars_max(unit.concurrency) for unit in those)
        if taken > METADATA_BYTES_MAX:
            count = sum(unit.concurrency for unit in those)
            raise AppError(
                f"topic {name!r} is read by {count} coroutines of {len(those)} agents per partition, and where each is "
                f"takes {taken} bytes of the {METADATA_BYTES_MAX} that brokers allow with an offset: lower "
                "concurrency=, or give the topic more partitions."
            )


def _produce_signal(app: App) -> Callable[..., None]:
    def on_produce(**arguments: Any) -> None:
        app.on_produce_message.send(app, **arguments)

    return on_produce


async def _probe(agent: Agent) -> Probed:
    """The stream that the agent's body asks first, and how."""
    template = agent.stream or Stream(Source(agent.topic.describe(), (agent.topic,)))
    source = Source(template.source.label, template.source.topics, is_probe=True)
    stream: Stream[Any] = Stream(source, template.operators)
    try:
        async with asyncio.timeout(PROBE_SECONDS_MAX):
            result = agent.fun(stream)
            if hasattr(result, "__anext__"):
                await anext(result, None)
            elif inspect.isawaitable(result):
                await result
    except Probed as probed:
        return probed
    except BaseExceptionGroup as group:
        # The body reads its stream in a task group.
        found = group.subgroup(Probed)
        if found is None:
            raise
        return _first(found)
    except TimeoutError as error:
        raise AppError(
            f"agent {agent.name!r} did not ask for an event within {PROBE_SECONDS_MAX:.0f} s: "
            "what it awaits before its loop takes too long."
        ) from error
    raise AppError(f"agent {agent.name!r} never reads its stream: it needs `async for value in {_argument(agent)}:`.")


def _first(group: BaseExceptionGroup[Probed]) -> Probed:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def _argument(agent: Agent) -> str:
    try:
        return next(iter(inspect.signature(agent.fun).parameters), "stream")
    except (TypeError, ValueError):
        return "stream"


def declare_shared(app: App, loops: Loops, partners: list[Chain]) -> tuple[list[SharedStream], list[AgentSpec]]:
    """The streams that are read in an @app.task: what keeps rows is done in agents before it."""
    shared: list[SharedStream] = []
    specs: list[AgentSpec] = []
    read = [stream for stream in app.streams if not any(stream is partner for partner in partners)]
    for number, stream in enumerate(read):
        name = f"{app.conf.app_id}-stream-{number}" if number else f"{app.conf.app_id}-stream"
        policy = policy_of(None, app.conf)
        loop = loops.of(name, stream, policy, is_plain=True)
        joined = loops.tables_of(name, loop.roads)
        one = SharedStream(name, stream, tuple(road.topic for road in loop.roads), policy)
        shared.append(one)
        names = tuple(dict.fromkeys(name for topic in one.topics for name in names_of(topic)))
        used = tuple(dict.fromkeys(join.table.name for join in joined))
        specs.append(AgentSpec(name=name, topics=names, tables=used, help="read in an @app.task"))
    return shared, specs


def _add_closing(app: App, tables: Iterable[Table[Any, Any]], units: list[Unit], specs: list[AgentSpec]) -> None:
    """Declare what is done with rows of these tables that come due."""
    for table in tables:
        for closing in table.closings:
            close = _close_unit(app, table, closing)
            units.append(close)
            specs.append(_close_spec(app, close, units))


def _close_unit(app: App, table: Table[Any, Any], closing: Closing) -> CloseUnit:
    due = Due(
        table,
        closing.index,
        closing.delay_ms,
        closing.is_inclusive,
        closing.purpose,
        is_by_keys=closing.handler is None,
        is_final=True,
        age_ms=closing.delay_ms + closing.span_ms,
        step_ms=closing.step_ms,
        after=closing.after,
    )
    used = tables_named(app, closing.handler) if closing.handler is not None else ()
    written = [app.tables[name] for name in used if name != table.name]
    if closing.span_ms and not all(is_nested(table.definition, other.definition) for other in written):
        # A window of theirs may end within one of these, and is to wait for what that had before.
        due = replace(due, hold_ms=closing.span_ms)
    timed = timed_by(written)
    return CloseUnit(
        due.label,
        due,
        policy_of(None, app.conf),
        closing.handler,
        closing.deletes,
        timed,
        closing.skipped,
        closing.of_window,
        closing.is_harmless,
    )


def _close_spec(app: App, unit: CloseUnit, units: list[Unit]) -> AgentSpec:
    """It is where its table is, so what its handler writes is fed by the same topics."""
    feeding = [one for one in units if unit.due.table.timed in one.timed]
    used = tables_named(app, unit.handler) if unit.handler is not None else set()
    return AgentSpec(
        name=unit.name,
        topics=tuple(dict.fromkeys(name for one in feeding for topic in one.inputs for name in names_of(topic))),
        tables=tuple(sorted({unit.due.table.name, *used})),
        help=f"rows of {unit.due.table.name} that come due",
    )


def _labels(table: Table[Any, Any], units: Sequence[Unit]) -> tuple[str, ...]:
    """What its rows that come due are called, and may be called of an app that was another one before."""
    dues = [unit.due for unit in units] + [unit.left for unit in units if isinstance(unit, CloseUnit)]
    return tuple(dict.fromkeys(due.label for due in dues if due is not None and due.table is table))


def declaration_of(app: App, plan: Plan, agents: list[AgentSpec], repartitions: dict[str, TopicSpec]) -> Declared:
    """What the coordinator checks of a plan. repartitions: the topics that its forwarding units write, by name."""
    # A topic that the user has named too is the user's.
    named = {name for topic in app.topics for name in topic.names}
    topics = {
        name: structs.replace(spec, purge=spec.purge and name not in named) for name, spec in repartitions.items()
    }
    for topic in {id(topic): topic for topic in plan.sources()}.values():
        users = tuple(unit.name for unit in plan.units if topic in unit.inputs)
        for name in names_of(topic):
            if name not in topics:
                topics[name] = _source_spec(app, topic, name, users)
    for topic in app.topics:
        for name in topic.names:
            if name not in topics:
                topics[name] = structs.replace(
                    _source_spec(app, topic, name, ()), role="output", create=app.conf.topic_allow_declare
                )
    tables: list[TableSpec] = []
    for table in plan.tables:
        table_spec = _table_spec(app, table, agents, plan.units)
        is_read = any(table_spec.changelog in names_of(topic) for topic in plan.sources())
        topics[table_spec.changelog] = structs.replace(changelog_spec(table, table_spec), is_read=is_read)
        tables.append(table_spec)
    topics[app.conf.dead_letters] = TopicSpec(
        name=app.conf.dead_letters,
        role="dead_letter",
        create=True,
        partitions=topics[app.conf.dead_letters].partitions if app.conf.dead_letters in topics else None,
        # Room for a record of the largest size with the headers that say why it is there.
        config={
            "retention.ms": "-1",
            "max.message.bytes": str(max(2 * 1024 * 1024, app.conf.producer_max_request_size + DEAD_LETTER_BYTES_MAX)),
        },
    )
    for spec in topics.values():
        if not spec.name.startswith("^"):
            check_topic_name(
                f"the {spec.role.replace('_', ' ')} topic of {', '.join(spec.used_by) or 'the app'}", spec.name
            )
    return Declared(app_id=app.conf.app_id, topics=tuple(topics.values()), agents=tuple(agents), tables=tuple(tables))


def _source_spec(app: App, topic: Topic, name: str, users: tuple[str, ...]) -> TopicSpec:
    create = app.conf.topic_allow_declare and (topic.internal or topic.partitions is not None)
    return TopicSpec(
        name=name,
        role="source",
        partitions=topic.partitions or (app.conf.topic_partitions if create else None),
        create=create,
        replicas=topic.replicas,
        config=topic.topic_config(),
        used_by=users,
    )


def _table_spec(app: App, table: Table[Any, Any], agents: list[AgentSpec], units: tuple[Unit, ...]) -> TableSpec:
    sources = {topic for agent in agents if table.name in agent.tables for topic in agent.topics}
    keepers = [unit for unit in units if any(kept is table for kept in unit.tables)]
    keepers += [unit for unit in units if table.timed in unit.timed]
    sources |= {name for unit in keepers for topic in unit.inputs for name in names_of(topic)}
    # Not by what tables are equal to: they are dicts.
    earlier = itertools.takewhile(lambda other: other is not table, app.tables.values())
    made = table.source is not None
    return TableSpec(
        name=table.name,
        changelog=changelog_name(app, table),
        partitions=table.partitions,
        sources=tuple(sorted(sources)),
        help=table.help,
        due=_labels(table, units),
        source=table.source.name if table.source is not None else "",
        feeder=feeder_name(table) if made else "",
        keeps=why_beside(table, earlier) if made else "",
    )
