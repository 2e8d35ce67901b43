"""Joins what the code declares with what the brokers have: the frozen topology, or every problem at once.

Pure: it creates nothing and asks nobody. A repartition topic takes its source's partition count, a changelog that of
the topics that feed its table; both are checked when they exist. Kafka can add partitions to a topic and not take them
away, and then new records of a key are elsewhere. What has no state reads the new ones; a table stays as it is, and of
what feeds it the partitions are read that it has shards for (`ResolvedTopic.added` are not).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..settings import Settings
from . import BrokerTopic, Declared, Problem, ResolvedTable, ResolvedTopic, TableSpec, TopicSpec, Topology

_READ = ("source", "repartition")
_OURS = ("repartition", "changelog")
# Kafka's word for "no bound" is the largest 64-bit integer.
_EVER_MS = 2**62
_HOUR_MS = 3_600_000
_POLICY = "cleanup.policy"


def resolve(
    declared: Declared,
    broker: Mapping[str, BrokerTopic],
    settings: Settings,
    before: Mapping[str, tuple[str, int]] | None = None,
) -> Topology | list[Problem]:
    """Give every topic its partition count and every table its group.

    Args:
        declared: what the code says.
        broker: the topics that exist, by name.
        settings: for the partition count of topics that nothing else decides.
        before: of the app's last run, the tables whose changelog was their topic: table -> topic, and group.
    """
    return _Resolution(declared, broker, settings, before or {}).run()


def growth(before: Topology, now: Topology) -> list[str]:
    """Topics that have got partitions which the app can read, a line for each; empty: none, or more than that changed.

    Args:
        before: what runs.
        now: what would run with the topics as they are.
    """
    old = {topic.name: topic.partitions for topic in before.topics if topic.role in _READ}
    new = {topic.name: topic.partitions for topic in now.topics if topic.role in _READ}
    if before.tables != now.tables or any(new.get(name, 0) < count for name, count in old.items()):
        return []
    return [
        f"topic {name!r} has {_partitions(new[name])} now, and had {count}"
        for name, count in sorted(old.items())
        if new[name] > count
    ]


@dataclass(slots=True)
class _Resolution:
    """One pass over a declaration."""

    declared: Declared
    broker: Mapping[str, BrokerTopic]
    settings: Settings
    before: Mapping[str, tuple[str, int]]
    # Tables whose changelog is the topic that they are made of.
    of_topics: dict[str, TableSpec] = field(default_factory=dict)
    # Specs by name, patterns replaced by the topics that they match.
    specs: dict[str, TopicSpec] = field(default_factory=dict)
    # Pattern (with its ^) -> the names that it matches.
    matches: dict[str, tuple[str, ...]] = field(default_factory=dict)
    # Partition counts found so far; None: a problem was noted, and what depends on it stays silent.
    counts: dict[str, int | None] = field(default_factory=dict)
    # Tables of which it was said that what feeds them has different counts, by what was said.
    uneven: dict[str, list[str]] = field(default_factory=dict)
    # Topics that have more partitions than the tables that they feed have shards -> the count of those.
    shards: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def run(self) -> Topology | list[Problem]:
        """The answer."""
        self._expand_patterns()
        for table in self.declared.tables:
            if self._is_of_topic(table):
                self.of_topics[table.name] = table
                del self.specs[table.changelog]
        for table in self.declared.tables:
            self._find_shards(table)
        tables = {table.changelog: table for table in self.declared.tables if table.name not in self.of_topics}
        for name in sorted(self.specs):
            if name not in tables:
                self._count(name)
        for changelog, table in sorted(tables.items()):
            self._table(changelog, table)
        for table in self.of_topics.values():
            self._table(table.source, table)
        if self.problems:
            return self.problems
        return Topology(
            app_id=self.declared.app_id,
            topics=tuple(self._resolved(self.specs[name]) for name in sorted(self.specs)),
            agents=self.declared.agents,
            tables=tuple(
                self._resolved_table(table) for table in sorted(self.declared.tables, key=lambda table: table.name)
            ),
        )

    def _is_of_topic(self, table: TableSpec) -> bool:
        """Whether the table's topic is its changelog: it was, or the topic is compacted and no changelog is there.

        A topic that is deleted from as well has not all rows. What the table was restored from once has its rows: to
        take another log for it would lose them.
        """
        spec, existing = self.specs.get(table.source), self.broker.get(table.source)
        policy = (existing.config if existing is not None else spec.config if spec is not None else {}).get(_POLICY)
        if table.name not in self.before:
            is_able = bool(table.source) and not table.keeps and spec is not None and spec.role == "source"
            return is_able and table.changelog not in self.broker and policy == "compact"
        log, mend = self.before[table.name][0], "Undo that"
        if not table.source:
            reason = "it is made of no topic now"
        elif log != table.source:
            reason = f"it is made of {table.source!r} now"
        elif table.keeps:
            reason = f"it needs a changelog of its own now: {table.keeps}"
        elif policy in ("compact", None):
            return True
        else:
            reason = f"that topic has cleanup.policy={policy} now, so the broker deletes rows of the table with time"
            mend = f"Set cleanup.policy=compact on {log!r}"
        self._problem(
            f"table {table.name!r} has no changelog beside topic {log!r}, which it was made of and which was compacted "
            f"when it began. But {reason}. {mend}; or give the table another name, under which it begins empty; or "
            "start from nothing: `streamcluster reset --offsets --topics`.",
            incompatible=True,
        )
        return False

    def _resolved_table(self, table: TableSpec) -> ResolvedTable:
        is_of_topic = table.name in self.of_topics
        log = table.source if is_of_topic else table.changelog
        feeder = table.feeder if is_of_topic else ""
        return ResolvedTable(name=table.name, changelog=log, group=self._known(log), due=table.due, feeder=feeder)

    def _expand_patterns(self) -> None:
        for spec in self.declared.topics:
            if not spec.name.startswith("^"):
                self.specs[spec.name] = spec
        for spec in self.declared.topics:
            if spec.name.startswith("^"):
                self._expand(spec)

    def _expand(self, spec: TopicSpec) -> None:
        """Replace a pattern by what it matches. Internal topics are never meant."""
        ours = {one.name for one in self.declared.topics if one.role in (*_OURS, "dead_letter")}
        try:
            pattern = re.compile(spec.name[1:])
        except re.error as error:
            self._problem(f"the topic pattern {spec.name[1:]!r}{_needed_by(spec)} is no regular expression: {error}.")
            return
        hidden = (*ours, f"{self.declared.app_id}-ctl", f"{self.declared.app_id}-status")
        names = sorted(n for n in self.broker if pattern.fullmatch(n) and n not in hidden and not n.startswith("__"))
        self.matches[spec.name] = tuple(names)
        if not names:
            self._problem(
                f"no topic matches the pattern {spec.name[1:]!r}{_needed_by(spec)}: create one, then start again."
            )
        for name in names:
            found = TopicSpec(name=name, role="source", used_by=spec.used_by)
            if name not in self.specs or self.specs[name].role not in _READ:
                self.specs[name] = found

    def _find_shards(self, table: TableSpec) -> None:
        """Note the topics that have got more partitions since the table's changelog was made."""
        changelog = self.broker.get(table.changelog)
        count = changelog.partitions if changelog is not None else None
        if table.name in self.of_topics:
            count = self.before[table.name][1] if table.name in self.before else None
        if count is None:
            return
        feeding = self._named(table.sources) or [name for name, spec in self.specs.items() if spec.role in _READ]
        there = {name: self.broker[name].partitions for name in feeding if name in self.broker}
        if not table.sources and len(set(there.values())) > 1:
            return
        for name in sorted(there):
            if there[name] > count:
                self.shards.setdefault(name, count)

    def _count(self, name: str) -> int | None:
        """The partition count of a topic that is no changelog; notes what is wrong, once."""
        if name in self.counts:
            return self.counts[name]
        self.counts[name] = None  # ends a circle of `like`, which would be our own mistake
        spec = self.specs[name]
        wished = spec.partitions if spec.partitions is not None else self._like(spec)
        existing = self.broker.get(name)
        if existing is None:
            self.counts[name] = self._missing(spec, wished)
        elif spec.partitions is not None and not self._may_have(spec, existing.partitions, spec.partitions):
            self._wrong_count(spec, existing.partitions, spec.partitions)
        else:
            self.counts[name] = self.shards.get(name, existing.partitions)
        return self.counts[name]

    def _may_have(self, spec: TopicSpec, existing: int, wished: int) -> bool:
        """Whether a topic may have another count than it is created with: others' topics get partitions added."""
        return existing == wished or (existing > wished and spec.role not in _OURS)

    def _like(self, spec: TopicSpec) -> int | None:
        counts = {name: count for name in self._named(spec.like) if (count := self._count(name)) is not None}
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{name!r} has {_partitions(count)}" for name, count in sorted(counts.items()))
            self._problem(
                f"{spec.role} topic {spec.name!r} cannot be like all its sources: {listed}. Give it partitions=."
            )
        return next(iter(counts.values())) if len(set(counts.values())) == 1 else None

    def _named(self, names: Sequence[str]) -> list[str]:
        """Names with patterns replaced by their matches; what is not declared is left out."""
        every = [match for name in names for match in self.matches.get(name, (name,))]
        return [name for name in every if name in self.specs]

    def _missing(self, spec: TopicSpec, wished: int | None) -> int | None:
        if spec.create:
            if wished is None and self._named(spec.like):
                return None  # a problem with its sources was noted
            return wished or (1 if spec.role == "dead_letter" else self.settings.topic_partitions)
        near = difflib.get_close_matches(spec.name, sorted(n for n in self.broker if not n.startswith("__")), n=1)
        partitions = wished or self.settings.topic_partitions
        self._problem(
            f"topic {spec.name!r} does not exist{_needed_by(spec)}: create it with {partitions} partitions, or declare "
            f"app.topic({spec.name!r}, partitions={partitions}, internal=True)."
            + (f" Did you mean {near[0]!r}?" if near else "")
            + _unseen(self.settings)
        )
        return None

    def _wrong_count(self, spec: TopicSpec, existing: int, wished: int) -> None:
        if spec.role in _OURS:
            self._incompatible(spec, existing, wished, f"{wished} are declared", f"declare partitions={existing}")
        else:
            self._problem(
                f"topic {spec.name!r} has {_partitions(existing)}, but the app declares partitions={wished}: declare "
                f"partitions={existing}, or make a new topic with {_partitions(wished)}."
            )

    def _incompatible(self, spec: TopicSpec, existing: int, wished: int, reason: str, remedy: str) -> None:
        self._problem(
            f"{spec.role} topic {spec.name!r} of an earlier run has {_partitions(existing)}, but {reason}. Either "
            f"{remedy}, or start from nothing with {_partitions(wished)}: `streamcluster reset --offsets --topics` "
            "deletes what is stored.",
            incompatible=True,
        )

    def _table(self, changelog: str, table: TableSpec) -> None:
        """Find the group of a table, and check its changelog."""
        sources = self._named(table.sources)
        counts = {name: self._count(name) for name in sources}
        known = {name: count for name, count in counts.items() if count is not None}
        if table.name not in self.of_topics:
            self.counts[changelog] = None
        if len(set(known.values())) > 1:
            listed = ", ".join(f"{name!r} has {_partitions(count)}" for name, count in sorted(known.items()))
            # What stands beside a table has its name, and what is fed alike would say the same once more.
            if any(table.name.startswith(f"{other}-") for other in self.uneven.get(listed, ())):
                return
            self.uneven.setdefault(listed, []).append(table.name)
            self._problem(
                f"table {table.name!r} is used by agents of topics with different partition counts: {listed}. A key "
                "must be on the same partition in all of them: give them one count, or bring the records together with "
                "group_by(..., partitions=N)."
            )
        elif len(known) == len(counts):
            group = next(iter(known.values())) if known else self._group_without_sources(table)
            if group is not None:
                self._changelog(changelog, table, group)

    def _group_without_sources(self, table: TableSpec) -> int | None:
        """The group of a table that no agent is seen to use: the only one, or the one asked for."""
        read = [count for name, count in self.counts.items() if self.specs[name].role in _READ]
        groups = {count for count in read if count is not None}
        if table.partitions is not None and (not groups or table.partitions in groups):
            return table.partitions
        if len(groups) <= 1:
            return groups.pop() if groups else table.partitions or self.settings.topic_partitions
        if None in read:
            return None
        self._problem(
            f"table {table.name!r}: the code does not show which agents use it, and the app reads topics with "
            f"{', '.join(map(str, sorted(groups)))} partitions. Declare it with partitions= one of these."
        )
        return None

    def _changelog(self, changelog: str, table: TableSpec, group: int) -> None:
        if table.partitions is not None and table.partitions != group:
            feeding = ", ".join(map(repr, table.sources)) or "topics"
            self._problem(
                f"table {table.name!r} is declared with partitions={table.partitions}, but its agents read {feeding}, "
                f"with {_partitions(group)}: leave partitions= out, or make them the same."
            )
            return
        if table.name in self.of_topics:
            return
        spec, existing = self.specs[changelog], self.broker.get(changelog)
        if existing is not None and existing.partitions != group:
            feeding = ", ".join(map(repr, self._named(table.sources))) or "the topics that the app reads"
            more = existing.partitions > group
            remedy = f"add partitions to {feeding} until there are {existing.partitions} (`kafka-topics --alter`)"
            other = f"let the table be fed by topics with {_partitions(existing.partitions)}"
            reason = f"what feeds the table has {group}"
            self._incompatible(spec, existing.partitions, group, reason, remedy if more else other)
            return
        policy = existing.config.get("cleanup.policy", "compact") if existing is not None else "compact"
        if "compact" not in policy:
            self._problem(
                f"changelog topic {spec.name!r} has cleanup.policy={policy}, so the broker deletes entries of table "
                f"{table.name!r} with time. Set cleanup.policy=compact on it."
            )
            return
        self.counts[changelog] = group

    def _resolved(self, spec: TopicSpec) -> ResolvedTopic:
        existing = self.broker.get(spec.name)
        config = existing.config if existing is not None else spec.config
        limit = config.get("max.message.bytes")
        keeps_ours = config.get("message.timestamp.type", "CreateTime") == "CreateTime"
        return ResolvedTopic(
            name=spec.name,
            role=spec.role,
            partitions=self._known(spec.name),
            added=existing.partitions - self._known(spec.name) if existing is not None and spec.role in _READ else 0,
            create=existing is None,
            replicas=spec.replicas,
            config=spec.config,
            message_bytes_max=int(limit) if limit is not None else None,
            # The broker's default for topics that are not there yet.
            ahead_ms_max=_time_bound(config.get("message.timestamp.after.max.ms", _HOUR_MS)) if keeps_ours else None,
            behind_ms_max=_time_bound(config.get("message.timestamp.before.max.ms")) if keeps_ours else None,
            purge=spec.purge,
            is_read=spec.is_read,
        )

    def _known(self, name: str) -> int:
        count = self.counts[name]
        assert count is not None, f"{name} has no partition count, and no problem says why"
        return count

    def _problem(self, text: str, *, incompatible: bool = False) -> None:
        self.problems.append(Problem(text=text, incompatible=incompatible))


def _time_bound(setting: str | int | None) -> int | None:
    """A bound in ms; None: there is none. Brokers that have none say that it is 292 million years."""
    return None if setting is None or int(setting) >= _EVER_MS else int(setting)


def _needed_by(spec: TopicSpec) -> str:
    """` (needed by agents a, b)`, or nothing."""
    if not spec.used_by:
        return ""
    return f" (needed by {'agent' if len(spec.used_by) == 1 else 'agents'} {', '.join(spec.used_by)})"


def _partitions(count: int) -> str:
    return f"{count} partition" if count == 1 else f"{count} partitions"


def _unseen(settings: Settings) -> str:
    """Brokers answer alike for a topic that is not there and one that the user may not see."""
    if settings.sasl_mechanism is None and settings.ssl_certificate_location is None:
        return ""
    who = settings.sasl_username or settings.oauth_client_id or "this client"
    return f" If it is there, {who} has no right to see it: `streamcluster rights` prints them."
