"""Operators: what stands between a stream's source and its loop, as values, and how one value goes through them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import CoroutineType
from typing import Any, Protocol

from .current import Run
from .deduplication import Deduplicate
from .errors import AppError, Skip
from .output import OutputRecord
from .stream_joins.joining import Arriving
from .tables import Table
from .topics import Topic


@dataclass(frozen=True, slots=True)
class Processor:
    """Replaces each value by what `fun` returns; `Skip` drops the event."""

    fun: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Filter:
    """Keeps the events for which `fun` is true."""

    fun: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Echo:
    """Sends each value to `topics` and goes on."""

    topics: tuple[Topic, ...]


@dataclass(frozen=True, slots=True)
class GroupBy:
    """Sends each event to a repartition topic under a new key; what follows reads that topic.

    label: the part of the topic's name that says by what. is_field: the key is a field's value.
    through: the topic that `Stream.through` named, or None.
    """

    label: str
    key: Callable[[Any], Any] | None
    key_type: Any = None
    partitions: int | None = None
    through: Topic | None = None
    is_field: bool = False


class Chain(Protocol):
    """A stream, as those see it that are joined with it: what it reads, and its operators."""

    operators: tuple[Operator, ...]

    @property
    def topic(self) -> Topic: ...


@dataclass(frozen=True, slots=True)
class Merge:
    """The events of other streams come too, each with the operators of its own."""

    others: tuple[Chain, ...]


@dataclass(frozen=True, slots=True)
class TableJoin:
    """Makes each value a pair with what the table has now for the event's key.

    keeps: events without an entry come as well, with None (a left join).
    """

    table: Table[Any, Any]
    keeps: bool = False

    def pair(self, key: Any, value: Any) -> tuple[Any, Any]:
        """The pair. Raises Skip: nothing comes of this event."""
        found = None if key is None else self.table.get(key)
        if value is None or (found is None and not self.keeps):
            raise Skip
        return value, found


@dataclass(frozen=True, slots=True)
class StreamJoin:
    """Makes pairs of the values and those of another stream, by key and time (stream_joins/joining.py).

    late: a topic for events that come after their deadline.
    """

    other: Chain
    span: Arriving
    late: Topic | None = None


@dataclass(frozen=True, slots=True)
class Side:
    """Where a road comes to a join: of its left stream, or of its right one."""

    span: Arriving
    side: bytes
    late: Topic | None = None


Operator = Processor | Filter | Echo | GroupBy | Merge | TableJoin | Deduplicate | StreamJoin | Side


# Where a value comes from: the run, and its index there. None: no record is behind it.
Place = tuple[Run, int] | None
# A topic, and what `echo` sends there.
Echoed = tuple[Topic, OutputRecord]


async def apply(operators: tuple[Operator, ...], value: Any, place: Place, echoed: list[Echoed] | None = None) -> Any:
    """Run `value` through the operators. place: the record that an operator may need.

    echoed: collects what `echo` would send, for a caller that sends it later.

    Raises:
        Skip: an operator dropped the event.
    """
    for operator in operators:
        if isinstance(operator, Processor):
            value = operator.fun(value)
            if type(value) is CoroutineType:
                value = await value
        elif isinstance(operator, Filter):
            kept = operator.fun(value)
            if inspect.isawaitable(kept):
                kept = await kept
            if not kept:
                raise Skip
        elif isinstance(operator, Echo):
            for topic in operator.topics:
                record = _echo(topic, value, place)
                if echoed is not None:
                    echoed.append((topic, record))
                else:
                    await topic.give(record)
        elif isinstance(operator, TableJoin):
            value = operator.pair(None if place is None else place[0].key(place[1]), value)
        elif isinstance(operator, Deduplicate):
            name = None if operator.by is None or value is None else operator.by(value)
            if inspect.isawaitable(name):
                name = await name
            if place is None:
                raise AppError("stream.deduplicate() needs the keys and the times of events: use a topic's stream.")
            if not operator.is_first(name, *place):
                raise Skip
    return value


def _echo(topic: Topic, value: Any, place: Place) -> OutputRecord:
    """The value as it is now, with the key, the timestamp and the headers of its record."""
    if place is None:
        return topic.prepare(None, value)
    run, index = place
    return topic.prepare(run.key(index), value, headers=run.headers(index), carried=run.timestamp(index))
