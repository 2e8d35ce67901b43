"""Looping: the loops of an app: what each reads and keeps, and the agents that stand before it.

A road ends at a loop, or at a topic that the road of another loop begins with. `group_by` is a forwarding unit where
nothing before it keeps rows. Else it is a stage (stages.py), as is what stands before another join: an agent that
nobody has written.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from ..agents import Agent
from ..app import App
from ..deduplication import Deduplicate
from ..errors import AppError
from ..operators import Chain, Filter, GroupBy, Processor, Side, TableJoin
from ..policies import ErrorPolicy, policy_of
from ..roads import Road, is_join, roads_of
from ..stages import sending_on
from ..stream_joins.joining import LEFT, RIGHT, Arriving, AsOf
from ..table_sources import feeder_name
from ..tables import Table
from ..topics import Topic
from . import AgentSpec, TopicSpec
from .chains import (
    JoinedStream,
    check_regroup,
    destination_topic,
    is_free,
    names_of,
    repartition_spec,
    seen_tables_of,
    span_of_join,
    stream_join_of,
    tables_joined,
)
from .named import tables_named
from .timed import timed_by
from .units import AgentUnit, Due, ForwardUnit, Stage, Unit


@dataclass(slots=True)
class Loop:
    """One loop while it is declared: its roads, and how many joins, `deduplicate` and stages were met on them."""

    name: str
    policy: ErrorPolicy
    roads: list[Road]
    joins: int = 0
    seen: int = 0
    stages: int = 0


class Loops:
    """All loops of an app. with_tables: what they and their stages are joined with.

    repartitions: the topics that units write, by name; new ones are added.
    """

    def __init__(self, app: App, repartitions: dict[str, TopicSpec]) -> None:
        self._app = app
        self._repartitions = repartitions
        self.units: list[Unit] = []
        self.specs: list[AgentSpec] = []
        self.with_tables: list[JoinedStream] = []

    def add_agent(self, agent: Agent, stream: Chain, *, is_plain: bool) -> None:
        """An agent, and what stands before it."""
        loop = self.of(agent.name, stream, policy_of(agent.on_error, self._app.conf), is_plain=is_plain)
        unit = self._agent_unit(agent, loop, loop.roads, tables_named(self._app, agent.fun))
        self.units.append(replace(unit, is_plain=is_plain))

    def of(self, name: str, stream: Chain, policy: ErrorPolicy, *, is_plain: bool) -> Loop:
        """What leads to a loop. is_plain: what keeps rows is to be done before it."""
        loop = Loop(name, policy, [])

        def regroup(roads: list[Road], group_by: GroupBy) -> Topic:
            return self._regroup(loop, roads, group_by)

        loop.roads = roads_of(stream, regroup, plain=is_plain)
        return loop

    def tables_of(self, name: str, roads: list[Road]) -> list[JoinedStream]:
        """The tables that a loop is joined with, which are noted."""
        joined = tables_joined(self._app, name, roads)
        self.with_tables += joined
        return joined

    def _regroup(self, loop: Loop, roads: list[Road], group_by: GroupBy) -> Topic:
        """Units that bring these roads to one topic."""
        is_onward = group_by.key is None and group_by.through is None
        keeps = (Side, Deduplicate, TableJoin)
        is_stage = is_onward or any(isinstance(operator, keeps) for road in roads for operator in road.operators)
        if not is_stage or (group_by.through is not None and not is_join(roads)):
            check_regroup(loop.name, roads)
        if is_onward:
            loop.stages += 1
            number = f"-{loop.stages}" if loop.stages > 1 else ""
            destination = Topic((f"{self._before(loop)}{loop.name}-{group_by.label}{number}-repartition",))
        else:
            destination = destination_topic(f"{self._before(loop)}{loop.name}", roads[0], group_by)
        unit = self._stage(loop, roads, group_by, destination) if is_stage else None
        spec = repartition_spec(loop.name, [road.topic for road in roads], destination, group_by)
        if self._repartitions.setdefault(spec.name, spec) != spec:
            text = f"two group_by of {loop.name!r} share the topic {spec.name!r}: give one of them another name=."
            raise AppError(text)
        if unit is not None:
            self.units.append(unit)
            return destination
        for at, road in enumerate(roads):
            name = f"{loop.name}>{destination.name}" + (f"-{at}" if at else "")
            self.units.append(ForwardUnit(name, (road.topic,), loop.policy, road.operators, group_by, destination))
        return destination

    def _before(self, loop: Loop) -> str:
        """What its topics' names begin with: each version has its own, as it has its own tables.

        The first has Faust's names. Those of streams in tasks have the app's id already.
        """
        conf = self._app.conf
        is_own = conf.version == 1 or loop.name.startswith(f"{conf.app_id}-stream")
        return "" if is_own else f"{conf.app_id}-"

    def _stage(self, loop: Loop, roads: list[Road], group_by: GroupBy, destination: Topic) -> AgentUnit:
        name = destination.name.removeprefix(self._before(loop)).removesuffix("-repartition")
        if group_by.through is not None:
            name = f"{loop.name}-{name}"
        if name in self._app.agents:
            raise AppError(f"agent {name!r}: what stands before {loop.name!r} has this name: choose another.")
        keeps_keys = group_by.key is None and group_by.through is None and not is_free(roads[0].topic)
        agent = Agent(
            name=name,
            fun=sending_on(group_by, destination, keeps_keys=keeps_keys),
            topic=roads[0].topic,
            help=f"stands before {loop.name}",
        )
        unit = self._agent_unit(agent, loop, roads, _used_on(self._app, roads, group_by))
        if group_by.through is None:
            _fit_destination(destination, roads, group_by)
        span = span_of_join(roads) if is_join(roads) else None
        stage = Stage(
            roads=tuple(roads),
            destination=destination,
            sends_time=group_by.through is None,
            hold_ms=0 if span is None else _hold_of(span),
            gives_rows=span is not None and span.is_asked(),
        )
        return replace(unit, stage=stage)

    def _agent_unit(self, agent: Agent, loop: Loop, roads: list[Road], names: set[str]) -> AgentUnit:
        """names: of the tables that its code uses."""
        app, reads = self._app, tuple(road.topic for road in roads)
        inputs = tuple(dict.fromkeys(reads))
        used = names.union(join.table.name for join in self.tables_of(agent.name, roads))
        timed = timed_by([*(app.tables[name] for name in names), *agent.keeps])
        follows = _followed(app, agent, used, roads)
        unit = AgentUnit(
            agent.name, inputs, loop.policy, agent, agent.concurrency, agent.keeps, reads, timed, follows=follows
        )
        seen = seen_tables_of(agent.name, loop.name, loop.seen, roads)
        loop.seen += len(seen)
        if is_join(roads):
            loop.joins += 1
            number = f"-{loop.joins}" if loop.joins > 1 else ""
            rows = stream_join_of(app, agent.name, f"{loop.name}-join{number}", roads)
            span = span_of_join(roads)
            age = max([span.deadline(side, 0) for side in _coming_out(span)], default=0)
            due = Due(
                rows,
                rows.indexes[0].name,
                is_inclusive=False,
                is_by_keys=not span.is_asked(),
                origins=reads,
                age_ms=age,
                # Events come out when they are due.
                hold_ms=age if span.is_asked() else None,
            )
            unit = replace(unit, tables=(rows,), timed=(*timed, rows.timed), due=due)
            if isinstance(span, AsOf):
                unit = replace(unit, versions=_right_of(roads))
            # What else goes by time wants the order of time.
            if not timed and not seen and not follows:
                unit = replace(unit, step_ms=span.step_ms())
        if seen:
            unit = replace(unit, tables=(*unit.tables, *seen), timed=(*unit.timed, *timed_by(seen)))
        self.specs.append(_agent_spec(agent, inputs, used))
        return unit


def _coming_out(span: Arriving) -> list[bytes]:
    """The sides of a join whose events come out when they are due: alone, or with the version of their time."""
    return [LEFT] if isinstance(span, AsOf) else [side for side in (LEFT, RIGHT) if span.keeps(side)]


def _hold_of(span: Arriving) -> int:
    """How far behind its time what comes of a join may be, in ms, but for what was late."""
    sides = (LEFT,) if isinstance(span, AsOf) else (LEFT, RIGHT)
    return max([0, *(span.deadline(side, 0) for side in sides)])


def _fit_destination(destination: Topic, roads: list[Road], group_by: GroupBy) -> None:
    """Have a topic of our own take what comes there: keys as they were, and values of any type where they change."""
    if group_by.key is None:
        destination.keyed_as(roads[0].topic)
    topics = [road.topic for road in roads]
    is_same = len({(topic.value_type, topic.value_serializer) for topic in topics}) == 1
    changes = (Side, TableJoin, Processor)
    if is_same and not any(isinstance(operator, changes) for road in roads for operator in road.operators):
        destination.valued_as(topics[0])
    else:
        destination.keep_values()


def _right_of(roads: list[Road]) -> tuple[Topic, ...]:
    """The topics of a join's right side."""
    sides = [(road.topic, one.side) for road in roads for one in road.operators if isinstance(one, Side)]
    return tuple(topic for topic, side in sides if side == RIGHT)


def _used_on(app: App, roads: list[Road], group_by: GroupBy) -> set[str]:
    """The tables that functions on these roads use."""
    found = [] if group_by.key is None else [group_by.key]
    for road in roads:
        found += [operator.fun for operator in road.operators if isinstance(operator, (Processor, Filter))]
        found += [one.by for one in road.operators if isinstance(one, Deduplicate) and one.by is not None]
    return {name for fun in found for name in tables_named(app, fun)}


def _agent_spec(agent: Agent, reads: tuple[Topic, ...], tables: set[str]) -> AgentSpec:
    return AgentSpec(
        name=agent.name,
        topics=tuple(dict.fromkeys(name for topic in reads for name in names_of(topic))),
        concurrency=agent.concurrency,
        sinks=tuple(_sink_name(sink) for sink in agent.sinks),
        tables=tuple(sorted(tables)),
        help=agent.help,
    )


def _followed(app: App, agent: Agent, names: Iterable[str], roads: list[Road]) -> tuple[Table[Any, Any], ...]:
    """Those of these tables that are read from a topic, but by itself.

    A join with as_of=True reads the topic too, and waits for it by event time.
    """
    tables = [app.tables[name] for name in sorted(names)]
    as_of = {id(road.topic) for road in roads if any(isinstance(operator, Side) for operator in road.operators)}
    return tuple(
        table
        for table in tables
        if table.source is not None and id(table.source) not in as_of and feeder_name(table) != agent.name
    )


def _sink_name(sink: Any) -> str:
    return sink.name if isinstance(sink, (Topic, Agent)) else getattr(sink, "__name__", repr(sink))
