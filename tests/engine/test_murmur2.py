"""The partitioner is Java's: known values of org.apache.kafka.common.utils.Utils.murmur2."""

from __future__ import annotations

import pytest

from streamcluster.topology.murmur2 import murmur2, partition_for

JAVA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("data", "signed"), JAVA.items())
def test_murmur2_is_that_of_java(data: bytes, signed: int) -> None:
    """The hash, read as a signed 32-bit integer, is what the Java client computes."""
    assert murmur2(data) == signed % 2**32


def test_partition_takes_the_positive_part() -> None:
    """Java masks the sign bit before the remainder."""
    assert partition_for(b"21", 10) == (-973932308 & 0x7FFFFFFF) % 10
    assert partition_for(b"", 1) == 0
