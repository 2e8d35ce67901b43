"""The topology: which topics, agents and tables an app has, and which partition counts they get.

`Declared` is what the code says (made by `declare.py` from an App); `resolve` joins it with what the brokers have
and returns the frozen `Topology` or every problem at once. Pure: it knows no Kafka client.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from ..ids import TP, TaskId


class TopicSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One topic by name.

    role: "source" is read by agents; "repartition" is written by group_by/through and read again; "changelog" is behind
    a table; "output" is only written; "dead_letter" takes failing records.
    partitions: wished for; None: "as its source" (repartition, changelog) or "whatever is there" (source, output).
    replicas: copies to create it with; None: the settings decide.
    create: streamcluster may create it when it is missing.
    like: names of the topics whose partition count this one must share ("" entries never occur).
    used_by: names of the agents or tables, for messages.
    purge: what this app has read and committed may be deleted: it made the topic for itself.
    is_read: it is a changelog that an agent reads.
    """

    name: str
    role: Literal["source", "repartition", "changelog", "output", "dead_letter"]
    partitions: int | None = None
    is_read: bool = False
    create: bool = False
    replicas: int | None = None
    like: tuple[str, ...] = ()
    config: dict[str, str] = {}
    used_by: tuple[str, ...] = ()
    purge: bool = False


class AgentSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One agent: the topics that its body reads, how many coroutines a task has of it, and its help text."""

    name: str
    topics: tuple[str, ...]
    concurrency: int = 1
    sinks: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    help: str = ""


class TableSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One table: its changelog topic; partitions as asked for, else None; the topics its agents read.

    due: what its rows that come due are read as (`units.Due.label`). source: the topic that it is made of, if any;
    feeder: the agent that reads that. keeps: why it needs a changelog beside it; "": the topic can be its changelog.
    """

    name: str
    changelog: str
    partitions: int | None = None
    sources: tuple[str, ...] = ()
    help: str = ""
    due: tuple[str, ...] = ()
    source: str = ""
    feeder: str = ""
    keeps: str = ""


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """What the app's code says, before any broker was asked. patterns: regular expressions of source topics."""

    app_id: str
    topics: tuple[TopicSpec, ...]
    agents: tuple[AgentSpec, ...]
    tables: tuple[TableSpec, ...]


class ResolvedTopic(msgspec.Struct, frozen=True, kw_only=True):
    """A topic with its partition count; added: partitions beyond those, which are not read.

    message_bytes_max: the topic's own limit on one record batch. ahead_ms_max, behind_ms_max: how far a timestamp may
    be from the broker's clock. None: no limit that is known. purge, is_read: as in TopicSpec.
    """

    name: str
    role: str
    partitions: int
    added: int = 0
    create: bool = False
    replicas: int | None = None
    config: dict[str, str] = {}
    message_bytes_max: int | None = None
    ahead_ms_max: int | None = None
    behind_ms_max: int | None = None
    purge: bool = False
    is_read: bool = False


class ResolvedTable(msgspec.Struct, frozen=True, kw_only=True):
    """A table with the task group that its shards live in. due: as of `TableSpec`.

    feeder: its changelog is the topic that it is made of, and it has what that has up to where this agent has read it;
    "": it has a changelog of its own.
    """

    name: str
    changelog: str
    group: int
    due: tuple[str, ...] = ()
    feeder: str = ""


class Topology(msgspec.Struct, frozen=True, kw_only=True):
    """The frozen topology that every worker gets."""

    app_id: str
    topics: tuple[ResolvedTopic, ...]
    agents: tuple[AgentSpec, ...]
    tables: tuple[ResolvedTable, ...]

    def tasks(self) -> list[TaskId]:
        """Every task of the app, in order: one per partition number of each group that has something to read."""
        groups = {topic.partitions for topic in self.topics if topic.role in ("source", "repartition")}
        return [TaskId(group, partition) for group in sorted(groups) for partition in range(group)]

    def sources(self, task: TaskId) -> list[str]:
        """Names of the topics that `task` reads, sorted."""
        read = ("source", "repartition")
        return sorted(t.name for t in self.topics if (t.role in read or t.is_read) and t.partitions == task.group)

    def source_partitions(self) -> list[TP]:
        """Every partition that a task reads, in order."""
        return [TP(topic, task.partition) for task in self.tasks() for topic in self.sources(task)]

    def noted_partitions(self) -> list[TP]:
        """What may be in hand when a process dies: every partition that a task reads, and rows that come due in it."""
        due = [TP(name, number) for table in self.tables for name in table.due for number in range(table.group)]
        return [*self.source_partitions(), *due]

    def unread(self) -> list[TP]:
        """Partitions that were added to topics which feed tables, and are not read."""
        return [
            TP(topic.name, number)
            for topic in self.topics
            for number in range(topic.partitions, topic.partitions + topic.added)
        ]

    def unread_texts(self) -> list[str]:
        """What is not read, and why, a line for each topic."""
        return [self._unread_text(topic) for topic in self.topics if topic.added]

    def _unread_text(self, topic: ResolvedTopic) -> str:
        has, last = topic.partitions + topic.added, topic.partitions + topic.added - 1
        added = f"partition {last} is" if topic.added == 1 else f"partitions {topic.partitions} to {last} are"
        tables = ", ".join(table.name for table in self.tables if table.group == topic.partitions)
        return (
            f"topic {topic.name!r} has {has} partitions now, and {added} not read: they were added after tables "
            f"({tables}) were made with {topic.partitions} shards, and Kafka puts new records of a key into another "
            "partition than the ones before, so the entries of a key would be in two shards. Kafka cannot take the "
            f"partitions away again. Let the app read a new topic with {has} partitions, under a new id, and copy the "
            f"records there; or start from nothing with all {has}: stop all hosts, `streamcluster reset --offsets "
            "--topics`, and start (what the topics still hold is processed again)"
        )

    def tables_of(self, task: TaskId) -> list[ResolvedTable]:
        """The tables that have a shard in `task`."""
        return [table for table in self.tables if table.group == task.group]

    def hash(self) -> str:
        """16 hex digits that change when tasks, agents or tables do; creation and limits do not count."""
        shape = (
            self.app_id,
            sorted((t.name, t.role, t.partitions) for t in self.topics),
            sorted((a.name, a.topics, a.concurrency) for a in self.agents),
            sorted((t.name, t.changelog, t.group) for t in self.tables),
        )
        return hashlib.sha256(msgspec.json.encode(shape)).hexdigest()[:16]


class BrokerTopic(msgspec.Struct, frozen=True, kw_only=True):
    """What the brokers say of one topic."""

    name: str
    partitions: int
    config: dict[str, str] = {}


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that stops the app from starting: what it is, where, and what to do.

    incompatible: the state of an earlier run does not fit (exit 65), as opposed to a wrong configuration (exit 78).
    """

    text: str
    incompatible: bool = False
