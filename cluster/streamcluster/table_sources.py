"""Tables of topics: what keeps the newest value of each key of a topic in a table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from .errors import AppError
from .streams import Stream
from .table_joins.sides import stamp
from .tables import Table
from .topics import Topic


def as_of_topic(name: str, source: object, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the table, with what the topic says of its keys and values.

    Raises:
        AppError: `source` is no topic with a name, or its records cannot be found again by their keys.
    """
    if not isinstance(source, Topic) or len(source.names) != 1:
        raise AppError(f"table {name!r}: source={source!r} is no topic with one name: give app.topic(...).")
    declared = {"key_type": source.key_type, "value_type": source.value_type}
    if source.value_serializer is not None:
        declared["value_serializer"] = source.value_serializer
    return {**declared, **arguments}


def loads_first(name: str, source: object, load: str) -> bool:
    """Whether the topic of a table is read to its end before anybody reads the table.

    Raises:
        AppError: there is no such way, or no topic.
    """
    if load not in ("time", "first"):
        raise AppError(f'table {name!r}: load={load!r}: say "first", or leave it out: then it goes by time.')
    if load == "first" and source is None:
        raise AppError(f'table {name!r}: load="first" is for tables of a topic: give source=.')
    return load == "first"


def feeder_name(table: Table[Any, Any]) -> str:
    """The agent that reads the table's topic."""
    return f"{table.name}-source"


def feeder_of(table: Table[Any, Any]) -> Callable[[Stream[Any]], Awaitable[None]]:
    """The body of the agent that reads the topic. A record without a value deletes; one without a key is nothing."""

    async def feed(stream: Stream[Any]) -> None:
        async for key, value in stream.items():
            if key is None:
                continue
            if value is not None:
                table[key] = value
            elif table.pop(key, None) is None:
                continue
            if table.is_stamped:
                stamp(table, key)

    async def feed_versions(stream: Stream[Any]) -> None:
        async for key, value in stream.items():
            if key is None:
                continue
            if value is None:
                del table.as_of()[key]
            else:
                table.as_of()[key] = value

    return feed if table.history_ms is None else feed_versions
