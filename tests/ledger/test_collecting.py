"""The decoder of the brokers' offsets topic, on bytes as a Kafka 4 broker writes them."""

from __future__ import annotations

import struct

import pytest

from tests.ledger.collecting import claim_of, decode_offset_key, decode_offset_value
from tests.ledger.values import Claim


def text(value: bytes) -> bytes:
    """A text behind its length."""
    return struct.pack(">h", len(value)) + value


def test_a_key_names_group_topic_and_partition() -> None:
    """Versions 0 and 1 are offsets; 2 is a group's members, which is nothing for us."""
    key = struct.pack(">h", 1) + text(b"app") + text(b"in") + struct.pack(">i", 3)

    assert decode_offset_key(key) == ("app", "in", 3)
    assert decode_offset_key(struct.pack(">h", 2) + text(b"app")) is None


@pytest.mark.parametrize(
    ("version", "epoch", "metadata"),
    [(1, b"", text(b"{}")), (3, struct.pack(">i", 5), text(b"{}")), (4, struct.pack(">i", 5), b"\x03{}")],
)
def test_a_value_has_an_offset_and_its_metadata(version: int, epoch: bytes, metadata: bytes) -> None:
    """The layouts before and after the leader's epoch, and the flexible one."""
    assert decode_offset_value(struct.pack(">hq", version, 1234) + epoch + metadata + b"\0" * 9) == (1234, "{}")


def test_a_long_compact_text_has_a_long_length() -> None:
    """Lengths from 127 on take two bytes."""
    metadata = b"m" * 300
    length = bytes([(301 & 0x7F) | 0x80, 301 >> 7])

    assert decode_offset_value(struct.pack(">hqi", 4, 7, 1) + length + metadata) == (7, metadata.decode())


def test_a_claim_is_read_from_records_of_one_host_and_of_many() -> None:
    """With terms each record has an epoch of its own, and one without a leader says that the leader left."""
    one = b'{"epoch": 3, "host": "vm", "instance": "x", "slots": 2}'
    many = b'{"epoch": 9, "term": 4, "leader": {"host": "a", "instance": "y"}, "owners": {}}'
    left = b'{"epoch": 10, "term": 4, "leader": null, "successor": "b"}'

    assert claim_of(one) == Claim(3, 3, "x")
    assert claim_of(many) == Claim(4, 9, "y", strict=True)
    assert claim_of(left) == Claim(4, 10, "", strict=True)
