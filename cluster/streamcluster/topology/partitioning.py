"""By which rule a topic's producers put keys into partitions, as far as samples tell.

Kafka's Java client, its kin and this app hash a key with murmur2; librdkafka's default, `consistent_random`, by CRC32;
Sarama with FNV-1a. Topics of different rules never match by key, and nothing raises an error: one key is in different
partitions.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .murmur2 import partition_for

MURMUR2 = "murmur2"
UNKNOWN = "no rule that is known"
_FNV_OFFSET, _FNV_PRIME, _MASK, _SIGN = 0x811C9DC5, 0x01000193, 0xFFFFFFFF, 0x80000000


def crc32_partition(key: bytes, count: int) -> int:
    """As librdkafka's `consistent` and `consistent_random`."""
    return zlib.crc32(key) % count


def fnv1a_partition(key: bytes, count: int) -> int:
    """As Sarama's hash partitioner, and librdkafka's `fnv1a`: of the absolute value of a signed hash."""
    found = _FNV_OFFSET
    for byte in key:
        found = (found ^ byte) * _FNV_PRIME & _MASK
    return ((1 << 32) - found if found & _SIGN else found) % count


# In the order in which they are taken for the rule: few keys may fit several.
RULES: Mapping[str, Callable[[bytes, int], int]] = {
    MURMUR2: partition_for,
    "crc32": crc32_partition,
    "fnv1a": fnv1a_partition,
}
# Who has such a rule.
USERS = {
    "crc32": "librdkafka's default, partitioner=consistent_random: set murmur2_random there",
    "fnv1a": "Sarama's default: set a murmur2 partitioner there",
}


@dataclass(frozen=True, slots=True)
class Partitioning:
    """rule: of RULES, or UNKNOWN. keys: how many were looked at; elsewhere: those that murmur2 puts elsewhere."""

    rule: str
    keys: int
    elsewhere: int


def partitioning_of(keys: Mapping[int, Sequence[bytes]], count: int) -> Partitioning | None:
    """keys: partition -> keys that were found in it; count: of the topic's partitions. None: they tell nothing."""
    placed = {(key, partition) for partition, found in keys.items() for key in found}
    if count < 2 or not placed:
        return None
    rule = next((name for name, place in RULES.items() if all(place(key, count) == at for key, at in placed)), UNKNOWN)
    elsewhere = sum(partition_for(key, count) != at for key, at in placed)
    return Partitioning(rule, len(placed), elsewhere)
