"""Joins of tables, as they are declared: the topics between their agents, and whether keys of the two can meet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..app import App
from ..errors import AppError
from ..table_joins.building import SIMPLE, JoinedTables
from ..tables import Table
from ..topics import Topic
from . import AgentSpec, TopicSpec
from .chains import ANY_TIME, JoinedStream, is_free, keys_of, names_of
from .units import Unit


def name_topics(app: App) -> None:
    """Name what was not known when they were declared."""
    for join in app.table_joins:
        if join.asks is not None and join.answers is not None:
            join.asks.is_named(f"{app.conf.app_id}-{join.table.name}-subscriptions")
            join.answers.is_named(f"{app.conf.app_id}-{join.table.name}-answers")


def declare_joins(
    app: App, units: Sequence[Unit], specs: Sequence[AgentSpec], repartitions: dict[str, TopicSpec]
) -> None:
    """Add the topics, and see to it that partners are in the same partitions.

    specs: of the agents. repartitions: the topics that the app writes for itself, by name.

    Raises:
        AppError: they would not be.
    """
    ours = {topic for join in app.table_joins for topic in (join.asks, join.answers)}
    known = {name: topic for unit in units for topic in unit.inputs if topic not in ours for name in names_of(topic)}
    feeding = {
        table: {name: known[name] for spec in specs if table in spec.tables for name in spec.topics if name in known}
        for table in app.tables
    }
    for join in app.table_joins:
        left, right = (_placed_by(app, feeding, table, set()) for table in (join.left, join.right))
        _check_kinds(app, join, left, right)
        if join.asks is None or join.answers is None:
            _check_both(join, left, right)
            continue
        by = _only(join, right)
        # A subscription is put where the records are that feed the row.
        join.asks.keyed_as(by)
        for topic, table in ((join.asks, join.right), (join.answers, join.left)):
            changelog = next(read.name for read in table.changes_read)
            repartitions[topic.name] = TopicSpec(
                name=topic.name,
                role="repartition",
                create=True,
                like=(changelog,),
                config={"cleanup.policy": "delete", "retention.ms": "-1", **ANY_TIME},
                used_by=(join.table.name,),
                purge=True,
            )


def fit_streams(app: App, units: Sequence[Unit], specs: Sequence[AgentSpec], joins: Sequence[JoinedStream]) -> None:
    """Write keys of streams that are joined with tables as those do that feed the tables.

    Raises:
        AppError: they are written in another way, so that an event is not in the partition of its entry.
    """
    known = {name: topic for unit in units for topic in unit.inputs for name in names_of(topic)}
    joined = {(join.agent, join.table.name) for join in joins}
    feeding = {
        table: {
            name: known[name]
            for spec in specs
            if table in spec.tables and (spec.name, table) not in joined
            for name in spec.topics
            if name in known
        }
        for table in app.tables
    }
    for join in joins:
        placed = _placed_by(app, feeding, join.table, set())
        if len(placed) != 1:
            continue
        ((keys, feeds),) = placed.items()
        if is_free(join.topic) and not is_free(feeds):
            join.topic.keyed_as(feeds)
        mine = keys_of(app, join.topic)
        is_bare = feeds.key_type is None and keys == "raw" and join.table.source is not None
        if is_bare and join.table.key_type is None and join.topic.key_type in (str, int):
            raise AppError(
                f"{join.agent!r} joins {join.topic.describe()}, whose keys are {join.topic.key_type.__name__}, with "
                f"table {join.table.name!r}, which is fed by {feeds.describe()}, whose keys are bytes: no key is ever "
                f"the same. Topics without key_type= have bytes as keys: give {feeds.describe()} key_type=."
            )
        if mine != keys and "raw" in (mine, keys) and {mine, keys} & _QUOTED:
            raise AppError(
                f"{join.agent!r} joins {join.topic.describe()}, whose keys are written as {mine}, with table "
                f"{join.table.name!r}, which is fed by {feeds.describe()}, whose keys are written as {keys}: a key is "
                "in another partition there. Give both topics the same key_type= and key_serializer=, or say on=."
            )


# As JSON, text has quotes.
_QUOTED = {"None as json", "str as json", "bytes as json"}


def _placed_by(
    app: App, feeding: dict[str, dict[str, Topic]], table: Table[object, object], seen: set[str]
) -> dict[str, Topic]:
    """How keys are written in the topics that decide in which partition a row of the table is -> one of these."""
    found: dict[str, Topic] = {}
    if table.name not in seen:
        seen.add(table.name)
        for topic in feeding[table.name].values():
            # The changes of a table are where its rows are.
            origin = None if topic.changelog is None else app.tables.get(topic.changelog.table.name)
            if origin is not None:
                found |= _placed_by(app, feeding, origin, seen)
            elif topic.changelog is None:
                found.setdefault(keys_of(app, topic), topic)
    return found


def _check_kinds(app: App, join: JoinedTables, left: dict[str, Topic], right: dict[str, Topic]) -> None:
    """Refuse keys that are never the same, as far as declarations show."""
    theirs = _kind(app, join.right, right)
    mine = _kind(app, join.left, left) if join.foreign is None else join.foreign.kind
    if mine in SIMPLE and theirs in SIMPLE and mine is not theirs:
        whose = "whose keys are" if join.foreign is None else "where on= gives"
        raise AppError(
            f"table {join.table.name!r} joins {join.left.name!r}, {whose} {mine.__name__}, with "
            f"{join.right.name!r}, whose keys are {theirs.__name__}: no key is ever the same. "
            "Topics without key_type= have bytes as keys: give both tables, and what feeds them, the same one."
        )
    if join.foreign is not None and theirs is bytes:
        join.foreign.must_be(bytes)


def _kind(app: App, table: Table[object, object], placed: dict[str, Topic]) -> Any:
    """Of what type its keys are; None: of any."""
    if table.key_type is not None:
        return table.key_type
    raw = [topic for topic in placed.values() if topic.key_type is None and keys_of(app, topic) == "raw"]
    return bytes if raw and len(raw) == len(placed) else None


def _check_both(join: JoinedTables, left: dict[str, Topic], right: dict[str, Topic]) -> None:
    if len(left) == 1 and len(right) == 1 and left.keys() != right.keys():
        raise AppError(
            f"table {join.table.name!r} joins {_said(join.left, left)} with {_said(join.right, right)}: a key is in "
            "another partition there. Give both the same key_type= and key_serializer=, or use group_by."
        )


def _only(join: JoinedTables, right: dict[str, Topic]) -> Topic:
    """The topic that says where the row of a key is."""
    if len(right) == 1:
        return next(iter(right.values()))
    if not right:
        raise AppError(
            f"table {join.table.name!r} joins {join.left.name!r} with {join.right.name!r}, which no agent is seen to "
            "write: name the table in the agent, or in a function that it calls."
        )
    raise AppError(
        f"table {join.table.name!r} joins {join.left.name!r} with {_said(join.right, right)}: a key is in different "
        "partitions there, so nobody can say where its row is. Give these topics the same key_type= and "
        "key_serializer=."
    )


def _said(table: Table[object, object], placed: dict[str, Topic]) -> str:
    keys = ", ".join(f"{topic.describe()}, whose keys are {keys}" for keys, topic in placed.items())
    return f"{table.name!r} (of {keys})"
