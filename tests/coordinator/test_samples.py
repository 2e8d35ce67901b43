"""`check --samples`: which topics are partitioned by another rule, and what does not decode."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streamcluster import App
from streamcluster.topology import BrokerTopic, Topology
from streamcluster.topology.declare import freeze
from streamcluster.topology.murmur2 import partition_for
from streamcluster.topology.partitioning import (
    RULES,
    UNKNOWN,
    Partitioning,
    crc32_partition,
    fnv1a_partition,
    partitioning_of,
)
from streamcluster.topology.resolve import resolve
from streamcluster_coordinator.samples import Sample, texts_of

KEYS = [f"user-{number}".encode() for number in range(40)]


def placed(rule: Any, count: int = 3) -> dict[int, list[bytes]]:
    """Keys in the partitions of a rule."""
    found: dict[int, list[bytes]] = {}
    for key in KEYS:
        found.setdefault(rule(key, count), []).append(key)
    return found


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_is_found(rule: str) -> None:
    """Whatever it is, and none when there is one partition or no key."""
    found = partitioning_of(placed(RULES[rule]), 3)
    assert found is not None
    assert (found.rule, found.keys) == (rule, len(KEYS))
    assert (found.elsewhere == 0) == (rule == "murmur2")
    assert partitioning_of({0: KEYS}, 1) is None
    assert partitioning_of({}, 3) is None


def test_hashes_are_those_of_the_others() -> None:
    """The known values of CRC-32 and of FNV-1a, which Sarama takes the absolute value of."""
    assert crc32_partition(b"123456789", 1 << 40) == 0xCBF43926
    assert fnv1a_partition(b"a", 1 << 40) == (1 << 32) - 0xE40C292C
    assert fnv1a_partition(b"foobar", 1 << 40) == (1 << 32) - 0xBF9CF968
    assert fnv1a_partition(b"b", 1 << 40) == (1 << 32) - 0xE70C2DE5


def test_keys_by_no_rule() -> None:
    """Where each producer has chosen for itself."""
    keys = placed(partition_for)
    keys.setdefault((partition_for(b"odd", 3) + 1) % 3, []).append(b"odd")
    found = partitioning_of(keys, 3)
    assert found == Partitioning(UNKNOWN, len(KEYS) + 1, 1)


def shop() -> tuple[App, Topology, list[Any]]:
    """Clicks joined with users, and orders that nobody joins."""
    app = App("shop")
    users = app.Table("users", source=app.topic("users", key_type=str, value_type=int))
    clicks = app.topic("clicks", key_type=str, value_type=int)
    orders = app.topic("orders", key_type=int, value_type=str)

    @app.agent(clicks, name="who")
    async def who(stream: Any) -> None:
        async for _ in stream.join(users):
            pass

    @app.agent(orders, name="pay")
    async def pay(stream: Any) -> None:
        async for _ in stream:
            pass

    plan, declared = asyncio.run(freeze(app))
    there = {name: BrokerTopic(name=name, partitions=3) for name in ("users", "clicks", "orders")}
    topology = resolve(declared, there, app.conf)
    assert isinstance(topology, Topology)
    return app, topology, plan.sources()


def test_topics_that_meet_and_differ_are_named_together() -> None:
    """Both with their rules, once; what is of the same rule is not."""
    _, topology, topics = shop()
    same = {name: Sample(3, placed(partition_for)) for name in ("users", "clicks")}
    assert texts_of(same, topology, topics, 1000) == []
    differ = {"users": Sample(3, placed(partition_for)), "clicks": Sample(3, placed(crc32_partition))}
    rule, apart = texts_of(differ, topology, topics, 1000)
    assert "topic 'clicks'" in rule
    assert "partitioner=consistent_random: set murmur2_random there" in rule
    assert "'clicks' (crc32), 'users' (murmur2)" in apart
    assert "never match" in apart
    both = {name: Sample(3, placed(crc32_partition)) for name in ("users", "clicks")}
    assert [text[:14] for text in texts_of(both, topology, topics, 1000)] == ["topic 'users':", "topic 'clicks'"]


def test_what_does_not_decode_is_counted_and_shown() -> None:
    """Keys and values, by the declared types."""
    _, topology, topics = shop()
    sample = Sample(3, {partition_for(b"7", 3): [b"7"], partition_for(b"x", 3): [b"x"]}, [b"text", b"\xff"])
    texts = texts_of({"orders": sample}, topology, topics, 1000)
    assert any("1 of 2 keys cannot be read as the app declares them (key_type=" in text for text in texts)
    assert any("2 of 2 values" in text and "value_type=" in text for text in texts)
    assert len(texts) == 2


@pytest.mark.parametrize(
    ("unit", "factor"), [("seconds", 1), ("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9)]
)
@pytest.mark.parametrize("seconds", [315_532_800, 1_700_000_000, 4_102_444_800])
def test_timestamps_of_another_unit(unit: str, factor: int, seconds: int) -> None:
    """From 1980 to 2100; Kafka takes all of them for milliseconds, and records without any are no matter."""
    _, topology, topics = shop()
    samples = {"clicks": Sample(3, times=[seconds * factor, 1_700_000_000_000, -1])}

    texts = texts_of(samples, topology, topics, 1000)

    if unit == "milliseconds":
        assert texts == []
    else:
        [text] = texts
        assert text.startswith(f"topic 'clicks': 1 of 3 timestamps look like {unit}, as {seconds * factor}: ")
