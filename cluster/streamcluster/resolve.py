"""Resolving: a declaration and what the brokers have become the frozen topology, or every problem at once. Pure.

Partition counts follow the sources: a repartition topic has as many as the topic it is made from, a table as many as
the topics that its agents read. Topics of one count are one task group.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from .settings import Settings
from .topology import (
    AgentSpec,
    BrokerTopic,
    Declared,
    Problem,
    ResolvedTable,
    ResolvedTopic,
    TableSpec,
    TopicSpec,
    Topology,
)


def resolve(declared: Declared, broker: Mapping[str, BrokerTopic], settings: Settings) -> Topology | list[Problem]:
    """Join `declared` with the topics that exist.

    Args:
        declared: what the app says.
        broker: every topic of the cluster, by name.
        settings: for the defaults of what is created.

    Returns:
        The topology, in which `create` marks the topics to be made; or all problems, each with what to do.
    """
    resolution = _Resolution(broker, settings)
    expanded = _expand_patterns(declared, broker, resolution)
    for spec in expanded.topics:
        if spec.role in ("source", "output", "dead_letter"):
            resolution.count_own(spec)
    for spec in expanded.topics:
        if spec.role == "repartition":
            resolution.count_repartition(spec)
    groups = {spec.name: resolution.group_of(spec, expanded) for spec in expanded.tables}
    specs = {spec.name: spec for spec in expanded.topics}
    for table in expanded.tables:
        if groups[table.name] is not None:
            resolution.count_changelog(specs[table.changelog], groups[table.name] or 0)
    for spec in expanded.topics:
        resolution.check_policy(spec)
    if resolution.problems:
        return resolution.problems
    topics = tuple(resolution.topic(spec) for spec in expanded.topics)
    tables = tuple(
        ResolvedTable(name=table.name, changelog=table.changelog, group=groups[table.name] or 0)
        for table in expanded.tables
    )
    return Topology(app_id=declared.app_id, topics=topics, agents=expanded.agents, tables=tables)


def _expand_patterns(declared: Declared, broker: Mapping[str, BrokerTopic], resolution: _Resolution) -> Declared:
    """Put the topics that exist in the place of patterns ("^..." names)."""
    matches: dict[str, tuple[str, ...]] = {}
    topics: dict[str, TopicSpec] = {spec.name: spec for spec in declared.topics if not spec.name.startswith("^")}
    for spec in declared.topics:
        if not spec.name.startswith("^"):
            continue
        found = tuple(sorted(n for n in broker if re.fullmatch(spec.name[1:], n) and not n.startswith("__")))
        matches[spec.name] = found
        if not found:
            resolution.problem(
                f"no topic matches pattern {spec.name[1:]!r} (read by {_listed(spec.used_by)}): create one, or change it."
            )
        for name in found:
            topics.setdefault(name, msgspec.structs.replace(spec, name=name, partitions=None, create=False))

    def expand(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(real for name in names for real in matches.get(name, (name,)))

    return Declared(
        app_id=declared.app_id,
        topics=tuple(msgspec.structs.replace(spec, like=expand(spec.like)) for spec in topics.values()),
        agents=tuple(msgspec.structs.replace(a, topics=expand(a.topics)) for a in declared.agents),
        tables=tuple(msgspec.structs.replace(t, sources=expand(t.sources)) for t in declared.tables),
    )


@dataclass(slots=True)
class _Resolution:
    """Partition counts found so far, and the problems."""

    broker: Mapping[str, BrokerTopic]
    settings: Settings
    counts: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def problem(self, text: str, *, incompatible: bool = False) -> None:
        self.problems.append(Problem(text=text, incompatible=incompatible))

    def count_own(self, spec: TopicSpec) -> None:
        """A topic that has a count of its own: what is there, or what the app says."""
        there = self.broker.get(spec.name)
        if there is not None:
            self.counts[spec.name] = there.partitions
            if spec.role == "source" and spec.create and spec.partitions not in (None, there.partitions):
                self._say_count(spec, there.partitions)
        elif spec.create:
            self.counts[spec.name] = spec.partitions or self.settings.topic_partitions
        elif spec.role == "output":
            # Written only, by name: the broker says so at the first record if it is still missing then.
            self._say_missing(spec, "written by the app")
        else:
            self._say_missing(spec, f"read by {_listed(spec.used_by)}")

    def _say_count(self, spec: TopicSpec, there: int) -> None:
        self.problem(
            f"topic {spec.name!r} has {there} partitions, and the app says partitions={spec.partitions}: "
            "change the app, or the topic."
        )

    def _say_missing(self, spec: TopicSpec, why: str) -> None:
        near = difflib.get_close_matches(spec.name, self.broker, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        self.problem(
            f"topic {spec.name!r} does not exist ({why}).{hint} Create it, or let streamcluster create it: "
            f"app.topic({spec.name!r}, partitions=N)."
        )

    def count_repartition(self, spec: TopicSpec) -> None:
        """A topic that is made from another one."""
        wanted = spec.partitions or next((self.counts[name] for name in spec.like if name in self.counts), None)
        there = self.broker.get(spec.name)
        if wanted is None:
            wanted = there.partitions if there is not None else None
        if wanted is None:
            return  # Its source has a problem of its own.
        self.counts[spec.name] = wanted
        if there is not None and there.partitions != wanted:
            self.problem(
                f"repartition topic {spec.name!r} has {there.partitions} partitions and must have {wanted}, as "
                f"{_listed(spec.like) or 'the app says'}. Give the source its old count back, or stop the app and run "
                "`streamcluster reset --topics`, which deletes internal topics with what is not processed in them.",
                incompatible=True,
            )

    def group_of(self, table: TableSpec, declared: Declared) -> int | None:
        """The partition count that a table lives with; None after a problem."""
        users = [agent for agent in declared.agents if table.name in agent.tables]
        counts = {name: self.counts[name] for name in table.sources if name in self.counts}
        if len(set(counts.values())) > 1:
            self.problem(
                f"table {table.name!r} is used by {_listed(tuple(agent.name for agent in users))}, which read topics of "
                f"different partition counts: {_counted(counts)}. Use group_by(..., partitions=N) to bring them together."
            )
            return None
        found = next(iter(counts.values()), None)
        if table.partitions is not None and found is not None and found != table.partitions:
            self.problem(
                f"table {table.name!r} says partitions={table.partitions}, and is used with {_counted(counts)}: "
                "leave partitions= out, a table has as many as its topics."
            )
            return None
        return found or table.partitions or self._only_group(table, declared.agents)

    def _only_group(self, table: TableSpec, agents: tuple[AgentSpec, ...]) -> int | None:
        """The one count that there is, for a table that no agent is seen to use."""
        read = {name: self.counts[name] for agent in agents for name in agent.topics if name in self.counts}
        if len(set(read.values())) == 1:
            return next(iter(read.values()))
        if read:
            self.problem(
                f"table {table.name!r}: no agent is seen to use it, and the app reads topics of different partition "
                f"counts ({_counted(read)}): say Table({table.name!r}, partitions=N)."
            )
        elif not self.problems:
            self.problem(f"table {table.name!r}: the app reads no topic that it could live with.")
        return None

    def count_changelog(self, spec: TopicSpec, group: int) -> None:
        """A table's changelog: exactly as many partitions as the table has shards."""
        self.counts[spec.name] = group
        there = self.broker.get(spec.name)
        if there is not None and there.partitions != group:
            self.problem(
                f"changelog {spec.name!r} has {there.partitions} partitions, and table {_listed(spec.used_by)} now needs "
                f"{group}: its keys would be in other shards. Give the topics their old count back, or stop the app and "
                "run `streamcluster reset --topics --offsets` to build the state anew from the input.",
                incompatible=True,
            )

    def check_policy(self, spec: TopicSpec) -> None:
        """A changelog must be compacted, or it loses state."""
        there = self.broker.get(spec.name)
        policy = there.config.get("cleanup.policy", "compact") if there is not None else "compact"
        if spec.role == "changelog" and "compact" not in policy:
            self.problem(
                f"changelog {spec.name!r} has cleanup.policy={policy}, so the broker deletes state that is still needed: "
                f"set cleanup.policy=compact on it."
            )

    def topic(self, spec: TopicSpec) -> ResolvedTopic:
        """The topic with its count."""
        there = self.broker.get(spec.name)
        limit = there.config.get("max.message.bytes") if there is not None else spec.config.get("max.message.bytes")
        return ResolvedTopic(
            name=spec.name,
            role=spec.role,
            partitions=self.counts[spec.name],
            create=there is None,
            config=spec.config,
            message_bytes_max=int(limit) if limit is not None else None,
        )


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(map(repr, names)) or "nobody"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count} partitions)" for name, count in sorted(counts.items()))
