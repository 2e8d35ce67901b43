"""written_topics: the topics that an app writes itself, and how old records come there.

What a window gives out when it closes, and a join of an event that found no partner, is older than the time at which it
does so. Where that is sent to a topic, time must not run on with the clock past what will still come there, and a
record that is so old is as live as any.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..agents import Agent
from ..topics import Topic
from .chains import names_of
from .named import topics_named
from .units import AgentUnit, CloseUnit, ForwardUnit, Unit, WrittenTopic, destination_of


def written_topics(units: Sequence[Unit], idle_after: int) -> tuple[WrittenTopic, ...]:
    """Of these units. idle_after: so long (ms) T stands still when nothing comes, before it goes on with the clock."""
    writers: dict[str, list[Unit]] = {}
    for unit in units:
        for name in _written_by(unit):
            writers.setdefault(name, []).append(unit)
    inputs = {unit.name: _inputs(unit, units) for unit in units}
    ages: dict[str, int] = {}

    def age_of(topic: str) -> int:
        if topic not in ages:
            # In a circle the first that is asked for counts as written by nobody.
            ages[topic] = 0
            ages[topic] = max(
                [_own_age(unit, units, idle_after) + of_inputs(unit) for unit in writers.get(topic, ())], default=0
            )
        return ages[topic]

    def of_inputs(unit: Unit) -> int:
        return max([age_of(name) for name in inputs[unit.name]], default=0)

    return tuple(
        WrittenTopic(name, tuple(sorted({one for unit in by for one in inputs[unit.name]})), age_of(name))
        for name, by in sorted(writers.items())
    )


def _feeding(unit: Unit, units: Sequence[Unit]) -> list[Unit]:
    """With it those that write the table whose rows come due there, handlers of other tables before it, too."""
    found: list[Unit] = [unit]
    for one in found:
        if isinstance(one, CloseUnit):
            found += [other for other in units if one.due.table.timed in other.timed and other not in found]
    return found


def _inputs(unit: Unit, units: Sequence[Unit]) -> set[str]:
    """The topics that what it does comes from."""
    return {name for one in _feeding(unit, units) for topic in one.inputs for name in names_of(topic)}


def _own_age(unit: Unit, units: Sequence[Unit], idle_after: int) -> int:
    """How much older than its inputs what it sends may be."""
    return sum([max(0, one.due.age_ms) + idle_after for one in _feeding(unit, units) if one.due is not None])


def _written_by(unit: Unit) -> set[str]:
    """Topics that it sends to, as far as code shows."""
    sent_to = destination_of(unit)
    if sent_to is not None or isinstance(unit, ForwardUnit):
        return set() if sent_to is None else set(sent_to.names)
    fun = unit.agent.fun if isinstance(unit, AgentUnit) else unit.handler
    named = set() if fun is None else topics_named(fun)
    if isinstance(unit, AgentUnit):
        for sink in unit.agent.sinks:
            named.update(_topics_of(sink))
    return named.difference(name for topic in unit.inputs for name in names_of(topic))


def _topics_of(sink: Any) -> Iterable[str]:
    topic = sink.topic if isinstance(sink, Agent) else sink
    return topic.names if isinstance(topic, Topic) else topics_named(sink)
