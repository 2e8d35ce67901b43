"""Freezing: from an App's notes to a plan (what workers run) and a declaration (what the coordinator checks).

`group_by` and `through` are called inside agents, so each agent is probed: its body runs until it asks for its first
event, and the operators of the stream that it asked are noted. What stands before an agent's loop therefore runs once
more than there are tasks.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from msgspec import structs

from ..agents import Agent
from ..ahead import METADATA_BYTES_MAX, chars_max
from ..app import App
from ..checks import check_topic_name
from ..errors import AppError
from ..operators import GroupBy, Operator, Processor
from ..policies import policy_of
from ..streams import Probed, Source, Stream
from ..tables import Table
from ..topics import Topic
from . import AgentSpec, Declared, TableSpec, TopicSpec, Topology
from .limits import DEAD_LETTER_BYTES_MAX, limits_of
from .units import AgentUnit, ForwardUnit, Plan, SharedStream, Unit

PROBE_SECONDS_MAX = 10.0
# Records come here with the timestamps that they have: of any time, also ahead of the broker's clock.
_ANY_TIME = {"message.timestamp.type": "CreateTime", "message.timestamp.after.max.ms": str(2**63 - 1)}


async def freeze(app: App) -> tuple[Plan, Declared]:
    """Probe the agents, compile the codecs and return the plan and the declaration of `app`.

    Raises:
        AppError: an agent's code before its first event fails, or two declarations contradict each other.
    """
    app.on_before_configured.send(app)
    app.on_configured.send(app, conf=app.conf)
    app.on_after_configured.send(app)
    units: list[Unit] = []
    specs: list[AgentSpec] = []
    repartitions: dict[str, TopicSpec] = {}
    for agent in app.agents.values():
        operators = await _probe(agent)
        forwards, topic = _compile_chain(app, agent.name, agent.topic, operators, agent, repartitions)
        policy = policy_of(agent.on_error, app.conf)
        units += [*forwards, AgentUnit(agent.name, (topic,), policy, agent, agent.concurrency)]
        specs.append(_agent_spec(app, agent, topic))
    shared: list[SharedStream] = []
    for number, stream in enumerate(app.streams):
        name = f"{app.conf.app_id}-stream-{number}" if number else f"{app.conf.app_id}-stream"
        source = stream.source.topics[0]
        forwards, topic = _compile_chain(app, name, source, stream.operators, None, repartitions)
        units += forwards
        shared.append(SharedStream(name, stream, topic, policy_of(None, app.conf)))
        specs.append(AgentSpec(name=name, topics=_names(topic), help="read in an @app.task"))
    tables = [*app.tables.values(), *(table for unit in units for table in unit.tables)]
    plan = Plan(tuple(units), tuple(shared), tuple(app.tasks), tuple(tables))
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
    destinations = [unit.destination for unit in plan.units if isinstance(unit, ForwardUnit)]
    for topic in [*app.topics, *destinations]:
        limits = limits_of(app.conf, resolved.get(topic.names[0]) if topic.names else None)
        topic.compile(app.conf, limits if timestamps else replace(limits, ahead_ms_max=None, behind_ms_max=None))


def _check_readers(units: list[Unit]) -> None:
    """Bound the coroutines that read one topic: those that are ahead at a commit are noted in its offset's metadata."""
    readers: dict[str, list[Unit]] = {}
    for unit in units:
        for name in [name for topic in unit.inputs for name in _names(topic)]:
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


async def _probe(agent: Agent) -> tuple[Operator, ...]:
    """The operators of the stream that the agent's body asks first."""
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
        return probed.stream.operators
    except BaseExceptionGroup as group:
        # The body reads its stream in a task group.
        found = group.subgroup(Probed)
        if found is None:
            raise
        return _first(found).stream.operators
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


def _compile_chain(
    app: App,
    name: str,
    topic: Topic,
    operators: tuple[Operator, ...],
    agent: Agent | None,
    repartitions: dict[str, TopicSpec],
) -> tuple[list[ForwardUnit], Topic]:
    """A unit for each group_by/through of the chain, and the topic that the body reads."""
    policy = policy_of(agent.on_error if agent else None, app.conf)
    units: list[ForwardUnit] = []
    current: tuple[Operator, ...] = ()
    for operator in operators:
        if not isinstance(operator, GroupBy):
            current = (*current, operator)
            continue
        destination = _destination(name, topic, current, operator)
        spec = _repartition_spec(name, topic, destination, operator)
        if repartitions.setdefault(spec.name, spec) != spec:
            raise AppError(f"two group_by of {name!r} share the topic {spec.name!r}: give one of them another name=.")
        units.append(
            ForwardUnit(
                name=f"{name}>{destination.name}",
                inputs=(topic,),
                policy=policy,
                operators=current,
                group_by=operator,
                destination=destination,
            )
        )
        topic, current = destination, ()
    return units, topic


def _destination(name: str, source: Topic, operators: tuple[Operator, ...], group_by: GroupBy) -> Topic:
    if group_by.through is not None:
        return group_by.through
    label = re.sub(r"[^A-Za-z0-9._-]+", "_", group_by.label)
    origin = source.names[0] if source.names else "pattern"
    value_type = source.value_type
    for operator in operators:
        if isinstance(operator, Processor):
            value_type = inspect.get_annotations(operator.fun).get("return", value_type)
            if isinstance(value_type, str):
                value_type = inspect.get_annotations(operator.fun, eval_str=True)["return"]
    return Topic(
        names=(f"{name}-{origin}-{label}-repartition",),
        key_type=group_by.key_type,
        value_type=value_type,
        key_serializer="raw" if group_by.key_type in (str, bytes) else "json",
        value_serializer=source.value_serializer,
        partitions=group_by.partitions,
        keeps_keys=group_by.key_type is None,
    )


def _repartition_spec(name: str, source: Topic, destination: Topic, group_by: GroupBy) -> TopicSpec:
    partitions = group_by.partitions or destination.partitions
    return TopicSpec(
        name=destination.name,
        role="repartition",
        partitions=partitions,
        create=True,
        replicas=destination.replicas,
        like=() if partitions else source.names[:1],
        config={"cleanup.policy": "delete", "retention.ms": "-1", **_ANY_TIME, **destination.topic_config()},
        used_by=(name,),
        purge=group_by.through is None,
    )


def _names(topic: Topic) -> tuple[str, ...]:
    return topic.names or (f"^{topic.pattern}",)


def _agent_spec(app: App, agent: Agent, reads: Topic) -> AgentSpec:
    return AgentSpec(
        name=agent.name,
        topics=_names(reads),
        concurrency=agent.concurrency,
        sinks=tuple(_sink_name(sink) for sink in agent.sinks),
        tables=tuple(sorted(_tables_used(app, agent.fun))),
        help=agent.help,
    )


def _sink_name(sink: Any) -> str:
    return sink.name if isinstance(sink, (Topic, Agent)) else getattr(sink, "__name__", repr(sink))


def _tables_used(app: App, fun: Callable[..., Any]) -> set[str]:
    """Tables that the function names, directly or in functions that it names (of any depth), as far as code shows."""
    found: set[str] = set()
    seen: set[int] = set()
    waiting: list[Any] = [fun]
    while waiting:
        current = inspect.unwrap(waiting.pop())
        code = getattr(current, "__code__", None)
        if code is None or id(code) in seen or len(seen) > 200:
            continue
        seen.add(id(code))
        names = {*code.co_names, *(n for const in code.co_consts if hasattr(const, "co_names") for n in const.co_names)}
        cells = [cell.cell_contents for cell in (current.__closure__ or ()) if _is_filled(cell)]
        for value in [*(current.__globals__[name] for name in names if name in current.__globals__), *cells]:
            if isinstance(value, Table) and app.tables.get(value.name) is value:
                found.add(value.name)
            elif inspect.isfunction(value):
                waiting.append(value)
    return found


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def declaration_of(app: App, plan: Plan, agents: list[AgentSpec], repartitions: dict[str, TopicSpec]) -> Declared:
    """What the coordinator checks of a plan. repartitions: the topics that its forwarding units write, by name."""
    # A topic that the user has named too is the user's.
    named = {name for topic in app.topics for name in topic.names}
    topics = {
        name: structs.replace(spec, purge=spec.purge and name not in named) for name, spec in repartitions.items()
    }
    for topic in {id(topic): topic for topic in plan.sources()}.values():
        users = tuple(unit.name for unit in plan.units if topic in unit.inputs)
        for name in _names(topic):
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
        topics[table_spec.changelog] = _changelog_spec(table, table_spec)
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
    topic = table.changelog_topic
    changelog = topic.name if isinstance(topic, Topic) else topic
    sources = {topic for agent in agents if table.name in agent.tables for topic in agent.topics}
    keepers = [unit for unit in units if any(kept is table for kept in unit.tables)]
    sources |= {name for unit in keepers for topic in unit.inputs for name in _names(topic)}
    return TableSpec(
        name=table.name,
        changelog=changelog or f"{app.conf.app_id}-{table.name}-changelog",
        partitions=table.partitions,
        sources=tuple(sorted(sources)),
        help=table.help,
    )


def _changelog_spec(table: Table[Any, Any], spec: TableSpec) -> TopicSpec:
    config = {"cleanup.policy": "compact", **{k: str(v) for k, v in table.extra_topic_configs.items()}}
    return TopicSpec(
        name=spec.changelog,
        role="changelog",
        partitions=spec.partitions,
        create=True,
        like=spec.sources,
        config=config,
        used_by=(table.name,),
    )
