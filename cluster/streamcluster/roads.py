"""Roads: how the events of each topic get to a loop, when several streams lead there.

    orders ----> filter ---------------+--> echo --> the loop          a & b: b's events come in behind `&`
    payments --> group_by --> topic ---+

A chain with one source is one road; at a join of two streams roads of two sides meet. `group_by` behind a `&` brings
all of them to one topic, where a road begins anew. So does a join whose pairs meet something else than a loop: another
join, `&`, `deduplicate`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .deduplication import Deduplicate
from .errors import AppError
from .operators import Chain, GroupBy, Merge, Operator, Side, StreamJoin
from .stream_joins.joining import LEFT, RIGHT
from .tables import Table
from .topics import Topic


@dataclass(frozen=True, slots=True)
class Road:
    """A topic, and the operators between it and the loop or the next repartition."""

    topic: Topic
    operators: tuple[Operator, ...] = ()


Regroup = Callable[[list[Road], GroupBy], Topic]
# What brings roads to one topic under the keys that they have: where they end in state that nothing else may be behind.
ONWARD = GroupBy("joined", None)


def roads_of(chain: Chain, regroup: Regroup, *, plain: bool = False) -> list[Road]:
    """The roads that end at the loop. regroup: from roads that are repartitioned to the topic that comes of it.

    plain: the loop takes what keeps nothing, so joins and `deduplicate` are before another topic.
    """
    operators, roads = chain.operators, [Road(chain.topic)]
    regrouped = max([at for at, operator in enumerate(operators) if isinstance(operator, GroupBy)], default=-1)
    keeps = [at for at, operator in enumerate(operators) if isinstance(operator, (StreamJoin, Deduplicate))]
    last = keeps[-1] if plain and keeps and keeps[-1] > regrouped else None
    for at, operator in enumerate(operators):
        if isinstance(operator, GroupBy):
            roads = [Road(regroup(roads, operator))]
        elif isinstance(operator, Merge):
            others = [_apart(roads_of(other, regroup, plain=plain), regroup) for other in operator.others]
            roads = [road for those in (_apart(roads, regroup), *others) for road in those]
        elif isinstance(operator, StreamJoin):
            both = (LEFT, _apart(roads, regroup)), (RIGHT, _apart(roads_of(operator.other, regroup), regroup))
            roads = [
                Road(road.topic, (*road.operators, Side(operator.span, side, operator.late)))
                for side, those in both
                for road in those
            ]
        else:
            before = _apart(roads, regroup) if isinstance(operator, Deduplicate) else roads
            roads = [Road(road.topic, (*road.operators, operator)) for road in before]
        if at == last:
            roads = [Road(regroup(roads, ONWARD))]
    return roads


def _apart(roads: list[Road], regroup: Regroup) -> list[Road]:
    """The roads, or the one behind their join."""
    return [Road(regroup(roads, ONWARD))] if is_join(roads) else roads


def keeps_state(roads: list[Road]) -> bool:
    """What is on them keeps rows."""
    return is_join(roads) or bool(deduplicating(roads))


class Roads:
    """Of a loop that runs: the operators by the topic that events come from."""

    __slots__ = ("_found", "_roads")

    def __init__(self, roads: list[Road]) -> None:
        self._roads = roads
        self._found: dict[str, list[tuple[Operator, ...]]] = {}

    def of(self, topic: str) -> list[tuple[Operator, ...]]:
        """The operators for events of this topic; more than once, if it was merged with itself."""
        found = self._found.get(topic)
        if found is None:
            found = self._found[topic] = [road.operators for road in self._roads if road.topic.covers(topic)]
        return found


def roads_to_loop(chain: Chain, reads: tuple[Topic, ...], *, plain: bool = False) -> list[Road]:
    """The roads with what they read in truth, as it was found out at the start; () when there is one."""
    roads = roads_of(chain, lambda roads, group_by: roads[0].topic, plain=plain)
    if len(roads) == 1:
        return roads
    if len(roads) != len(reads):
        raise AppError(
            "what a loop combines and joins is what it did when the app was started: write the same each time in the "
            "agent's body, or give it to `@app.agent(s1 & s2)`."
        )
    return [Road(topic, road.operators) for topic, road in zip(reads, roads, strict=True)]


def is_join(roads: list[Road]) -> bool:
    """They meet in a join of two streams."""
    return any(isinstance(operator, Side) for operator in roads[0].operators)


def ways_of(roads: list[Road]) -> tuple[Operator, ...] | Roads:
    """What events go through on them: the same operators for all, if they are the same."""
    if len({id(road.topic) for road in roads}) == len(roads) and all(
        road.operators == roads[0].operators for road in roads
    ):
        return roads[0].operators
    return Roads(roads)


def deduplicating(roads: list[Road]) -> list[Deduplicate]:
    """The operators on them that keep what they have seen, each once."""
    found = [operator for road in roads for operator in road.operators if isinstance(operator, Deduplicate)]
    return list({id(operator): operator for operator in found}.values())


def with_rows(roads: list[Road], tables: Sequence[Table[Any, Any]]) -> list[Road]:
    """The roads whose operators know where they keep what they have seen. tables: as `deduplicating` has them."""
    bound: dict[int, Operator] = {
        id(operator): replace(operator, rows=table)
        for operator, table in zip(deduplicating(roads), tables, strict=True)
    }
    return [Road(road.topic, tuple(bound.get(id(one), one) for one in road.operators)) for road in roads]
