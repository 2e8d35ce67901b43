"""What a few records of each source say: keys by another rule, odd timestamps, and what does not decode."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamcluster.codecs.coding import shown_bytes
from streamcluster.outside import Unreadable, parse
from streamcluster.topics import Topic
from streamcluster.topology import Topology
from streamcluster.topology.partitioning import MURMUR2, USERS, Partitioning, partitioning_of

# Timestamps of our days in other units, and the least that they are: ms of before May 1970, and of after the year 5100.
_UNITS = (("nanoseconds", 10**17), ("microseconds", 10**14), ("milliseconds", 10**10), ("seconds", 10**8))


@dataclass(slots=True)
class Sample:
    """Records of one topic: partition -> keys that are not null; values that are not; and timestamps, in ms."""

    partitions: int
    keys: dict[int, list[bytes]] = field(default_factory=dict)
    values: list[bytes] = field(default_factory=list)
    times: list[int] = field(default_factory=list)


def texts_of(samples: Mapping[str, Sample], topology: Topology, topics: Sequence[Topic], bytes_max: int) -> list[str]:
    """Warnings, those of topics that are brought together last. topics: as the app declares them, with their codecs."""
    found = {name: partitioning_of(sample.keys, sample.partitions) for name, sample in samples.items()}
    known = {name: one for name, one in found.items() if one is not None}
    texts = [_text_of(name, one) for name, one in known.items() if one.rule != MURMUR2]
    for name, sample in samples.items():
        texts += _of_other_unit(name, sample.times)
        declared = next((topic for topic in topics if topic.covers(name)), None)
        if declared is not None:
            keys = [key for those in sample.keys.values() for key in those]
            texts += _undecodable(name, "key", keys, declared.coders.decode_key, bytes_max)
            texts += _undecodable(name, "value", sample.values, declared.coders.decode_value, bytes_max)
    return [*texts, *_apart(topology, known)]


def _text_of(name: str, found: Partitioning) -> str:
    where = f"topic {name!r}: {found.elsewhere} of {found.keys} keys are not in the partition where murmur2 puts them"
    if found.rule in USERS:
        return f"{where}, as Java and this app do; all are where {found.rule} does. That is {USERS[found.rule]}."
    return (
        f"{where}, as Java and this app do, and no other rule explains all of them: its producers choose partitions "
        "themselves, or the topic got more partitions later. Tables and joins by key see a part of each key only: "
        "bring it together with group_by."
    )


def _of_other_unit(name: str, times: Sequence[int]) -> Iterator[str]:
    """Kafka takes any number for milliseconds since 1970."""
    units = [next((unit for unit, least in _UNITS if time >= least), "") for time in times]
    for unit in ("seconds", "microseconds", "nanoseconds"):
        if count := units.count(unit):
            wrong = times[units.index(unit)]
            yield (
                f"topic {name!r}: {count} of {len(times)} timestamps look like {unit}, as {wrong}: Kafka's are "
                "milliseconds since 1970. Windows, joins and ttl= go by them, and so does the topic's retention."
            )


def _undecodable(
    name: str, what: str, found: Sequence[bytes], decode: Callable[[bytes], Any], bytes_max: int
) -> Iterator[str]:
    wrong: list[tuple[bytes, Unreadable]] = []
    for data in found:
        try:
            parse(decode, data, bytes_max)
        except Unreadable as error:
            wrong.append((data, error))
    if wrong:
        data, why = wrong[0]
        yield (
            f"topic {name!r}: {len(wrong)} of {len(found)} {what}s cannot be read as the app declares them "
            f"({what}_type=, {what}_serializer=): {why}; {shown_bytes(data)}"
        )


def _apart(topology: Topology, known: Mapping[str, Partitioning]) -> Iterator[str]:
    """Topics whose keys meet, in an agent or in a table, and are partitioned by different rules."""
    by_table: dict[str, set[str]] = {}
    meeting = {f"agent {agent.name!r}": set(agent.topics) for agent in topology.agents if "@" not in agent.name}
    for agent in topology.agents:
        for table in agent.tables:
            by_table.setdefault(table, set()).update(agent.topics)
    meeting |= {f"table {table!r}": topics for table, topics in by_table.items()}
    said: set[frozenset[str]] = set()
    for where, topics in meeting.items():
        rules = {name: known[name].rule for name in sorted(topics) if name in known}
        if len(set(rules.values())) > 1 and frozenset(rules) not in said:
            said.add(frozenset(rules))
            listed = ", ".join(f"{name!r} ({rule})" for name, rule in rules.items())
            yield (
                f"{where} brings together topics whose keys are partitioned by different rules: {listed}. One key is "
                "in different partitions, so they never match. Have them written by one rule, or say group_by or on=."
            )
