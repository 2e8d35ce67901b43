"""Chains: what a stream's operators need: a unit for each repartition, the topics that its loop reads, its tables."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from ..app import App
from ..deduplication import seen_table
from ..errors import AppError, NotOffered
from ..operators import Chain, GroupBy, Merge, Processor, Side, StreamJoin, TableJoin
from ..roads import Road, deduplicating
from ..stream_joins.joining import Arriving, buffer_table
from ..tables import Table
from ..topics import Topic
from . import TopicSpec

# Records come here with the timestamps that they have: of any time, also ahead of the broker's clock.
ANY_TIME = {"message.timestamp.type": "CreateTime", "message.timestamp.after.max.ms": str(2**63 - 1)}


def partners_of(chain: Chain) -> list[Chain]:
    """The streams that this one is combined with, and theirs."""
    others = [other for operator in chain.operators if isinstance(operator, Merge) for other in operator.others]
    others += [operator.other for operator in chain.operators if isinstance(operator, StreamJoin)]
    return [found for other in others for found in (other, *partners_of(other))]


@dataclass(frozen=True, slots=True, eq=False)
class JoinedStream:
    """A topic that the loop of an agent reads, and a table that it is joined with."""

    agent: str
    topic: Topic
    table: Table[Any, Any]


def tables_joined(app: App, name: str, roads: list[Road]) -> list[JoinedStream]:
    """The tables that the loop of `name` is joined with, whose keys are compared with those of the topics.

    Raises:
        AppError: they can never be the same, or a table is none of the app.
    """
    found: list[JoinedStream] = []
    for road in roads:
        for operator in road.operators:
            if isinstance(operator, TableJoin):
                _check_join(app, name, road.topic, operator.table)
                found.append(JoinedStream(name, road.topic, operator.table))
    return found


def stream_join_of(app: App, agent: str, name: str, roads: list[Road]) -> Table[Any, Any]:
    """The table that the join of two streams keeps its rows in, which is named as the join is.

    Raises:
        AppError: keys of the two are never the same.
    """
    first = roads[0].topic
    for road in roads:
        if road.topic.pattern is not None or len(road.topic.names) > 1:
            raise AppError(
                f"{agent!r} joins {road.topic.describe()}: give one topic with one name; `&` combines several."
            )
        if is_free(first) != is_free(road.topic):
            free, fixed = (first, road.topic) if is_free(first) else (road.topic, first)
            free.keyed_as(fixed)
        keys, others = keys_of(app, first), keys_of(app, road.topic)
        if keys != others:
            raise AppError(
                f"{agent!r} joins {first.describe()}, whose keys are {keys}, with {road.topic.describe()}, "
                f"whose keys are {others}: no key is ever the same. Give both the same key_type= and "
                "key_serializer=, or say on= or group_by."
            )
    return buffer_table(name, span_of_join(roads))


def seen_tables_of(agent: str, name: str, count: int, roads: list[Road]) -> tuple[Table[Any, Any], ...]:
    """The tables in which a loop keeps what its `deduplicate` have seen, in the order of the roads.

    name: their first part; count: so many others have it already.

    Raises:
        NotOffered: one stands where an event comes to it twice.
    """
    sides: dict[int, bytes] = {}
    for road in roads:
        side = next((operator for operator in road.operators if isinstance(operator, Side)), None)
        for operator in deduplicating([road]) if side is not None else ():
            if side is not None and sides.setdefault(id(operator), side.side) != side.side:
                raise NotOffered(
                    f"{agent!r} joins a deduplicated stream with itself: call deduplicate once for each side."
                )
    found = enumerate(deduplicating(roads), count + 1)
    return tuple(
        seen_table(f"{name}-deduplicate" + (f"-{number}" if number > 1 else ""), operator.within_ms)
        for number, operator in found
    )


def span_of_join(roads: list[Road]) -> Arriving:
    """What kind of join of two streams it is that these roads lead to."""
    return next(operator.span for road in roads for operator in road.operators if isinstance(operator, Side))


def is_free(topic: Topic) -> bool:
    """A repartition topic by a function, whose keys may be of any type: they may be written as a partner has them."""
    return topic.keeps_keys and topic.key_type is None


def keys_of(app: App, topic: Topic) -> str:
    """How keys of the topic are written. Text and bytes are the same, and whole numbers are as text and as JSON."""
    serializer = "json" if topic.keeps_keys else topic.key_serializer or app.conf.key_serializer
    if topic.key_type is int and serializer in ("raw", "json"):
        return "int"
    kind = getattr(topic.key_type, "__name__", str(topic.key_type))
    return "raw" if serializer == "raw" and topic.key_type in (None, str, bytes) else f"{kind} as {serializer}"


# Keys of two of these types are never the same key.
_APART = (str, bytes, int, float, bool, UUID, datetime, date)


def _check_join(app: App, name: str, topic: Topic, table: Table[Any, Any]) -> None:
    if app.tables.get(table.name) is not table:
        raise AppError(f"{name!r} joins {topic.describe()} with table {table.name!r}, which this app has not declared.")
    is_raw = not topic.keeps_keys and (topic.key_serializer or app.conf.key_serializer) == "raw"
    keys = topic.key_type or (bytes if is_raw else None)
    if keys in _APART and table.key_type in _APART and keys is not table.key_type:
        raise AppError(
            f"{name!r} joins {topic.describe()}, whose keys are {keys.__name__}, with table {table.name!r}, whose keys "
            f"are {table.key_type.__name__}: no key is ever the same. Give both the same key_type=, or say on=."
        )


def check_regroup(name: str, roads: list[Road]) -> None:
    """Refuse what would be sent on as something else than it is."""
    kinds = {(_value_type(road), road.topic.value_serializer) for road in roads}
    if len(kinds) > 1:
        listed = ", ".join(road.topic.describe() for road in roads)
        raise AppError(
            f"{name!r}: group_by or through brings {listed} to one topic, but their values are of different types. Do "
            "it to each of them before they are combined."
        )


def names_of(topic: Topic) -> tuple[str, ...]:
    """Its names, or its pattern with a ^."""
    return topic.names or (f"^{topic.pattern}",)


def _value_type(road: Road) -> Any:
    """What comes out of it, as far as annotations say."""
    value_type = road.topic.value_type
    for operator in road.operators:
        if isinstance(operator, Processor):
            value_type = inspect.get_annotations(operator.fun).get("return", value_type)
            if isinstance(value_type, str):
                value_type = inspect.get_annotations(operator.fun, eval_str=True)["return"]
    return value_type


def destination_topic(name: str, road: Road, group_by: GroupBy) -> Topic:
    """What group_by or through brings a road to."""
    if group_by.through is not None:
        return group_by.through
    label = re.sub(r"[^A-Za-z0-9._-]+", "_", group_by.label)
    source = road.topic
    origin = source.names[0] if source.names else "pattern"
    return Topic(
        names=(f"{name}-{origin}-{label}-repartition",),
        key_type=group_by.key_type,
        value_type=_value_type(road),
        key_serializer="raw" if group_by.key_type in (str, bytes) else "json",
        value_serializer=source.value_serializer,
        partitions=group_by.partitions,
        keeps_keys=group_by.key_type is None,
    )


def repartition_spec(name: str, sources: list[Topic], destination: Topic, group_by: GroupBy) -> TopicSpec:
    """How that topic is made."""
    partitions = group_by.partitions or destination.partitions
    return TopicSpec(
        name=destination.name,
        role="repartition",
        partitions=partitions,
        create=True,
        replicas=destination.replicas,
        like=() if partitions else tuple(dict.fromkeys(name for source in sources for name in source.names[:1])),
        config={"cleanup.policy": "delete", "retention.ms": "-1", **ANY_TIME, **destination.topic_config()},
        used_by=(name,),
        purge=group_by.through is None,
    )
