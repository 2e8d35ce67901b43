"""The changelogs of tables, as they are declared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..app import App
from ..errors import AppError
from ..tables import Table
from ..topics import Topic
from . import TableSpec, TopicSpec


def changelog_name(app: App, table: Table[Any, Any]) -> str:
    """Of its topic."""
    topic = table.changelog_topic
    return (topic.name if isinstance(topic, Topic) else topic) or f"{app.conf.app_id}-{table.name}-changelog"


def changelog_spec(table: Table[Any, Any], spec: TableSpec) -> TopicSpec:
    """Of its topic."""
    config = {"cleanup.policy": "compact"}
    if table.dated is not None or table.is_stamped:
        config["message.timestamp.type"] = "CreateTime"
    config |= {k: str(v) for k, v in table.extra_topic_configs.items()}
    return TopicSpec(
        name=spec.changelog,
        role="changelog",
        partitions=spec.partitions,
        create=True,
        like=spec.sources,
        config=config,
        used_by=(table.name,),
    )


def why_beside(table: Table[Any, Any], others: Iterable[Table[Any, Any]]) -> str:
    """Why a table of a topic needs a changelog beside that; "": the topic can be its changelog.

    It can if a row is nothing but what the newest record of a key says, so that whoever reads the records again gets
    the same rows. others: tables of the app that come before it.
    """
    if table.changelog_topic is not None:
        return "changelog_topic= names one"
    if table.extra_topic_configs:
        return "extra_topic_configs= is for one"
    if table.ttl_ms is not None:
        return "ttl= deletes rows that the topic has"
    if table.history_ms is not None:
        return "history= keeps what compaction takes from the topic"
    if table.changes_read:
        return "its changes are read"
    if table.timed or table.closings or table.indexes or table.key_coding or table.definition or table.is_stamped:
        return "it is more than the newest record of each key"
    for other in others:
        if other.source is not None and table.source is not None and other.source.names == table.source.names:
            return f"the topic is the changelog of table {other.name!r}"
    return ""


def check_changelogs(app: App, tables: Iterable[Table[Any, Any]]) -> None:
    """Refuse what would write a topic full of what is read of it, or mix the rows of two tables.

    Raises:
        AppError: the topic that a table is made of, or the changelog of another table, is to be its changelog.
    """
    owners: dict[str, str] = {}
    for table in tables:
        name = changelog_name(app, table)
        if table.source is not None and name in table.source.names:
            raise AppError(
                f"table {table.name!r}: topic {name!r} cannot be its source= and its changelog_topic=: each record "
                "that is read there would be written there again. Leave changelog_topic= out: the table has a "
                "changelog of its own."
            )
        if name in owners:
            raise AppError(
                f"tables {owners[name]!r} and {table.name!r} have one changelog, topic {name!r}, where the rows of one "
                "would be taken for those of the other: give each its own changelog_topic=, or leave that out."
            )
        owners[name] = table.name
