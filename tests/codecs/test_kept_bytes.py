"""What encoders return is kept in caches and outboxes: it takes what it is long."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from streamcluster import Record
from streamcluster.codecs.plain import dumps
from streamcluster.codecs.table_coding import make_table_coder

COUNT = 200


class Order(Record):
    """A record of an app."""

    number: int
    note: str


@pytest.mark.parametrize("length", [20, 700, 5_000, 60_000])
@pytest.mark.parametrize(
    "encode",
    [
        pytest.param(lambda n: dumps({"note": "x" * n}), id="plain"),
        pytest.param(lambda n: dumps({1: "x" * n}), id="other-keys"),
        pytest.param(lambda n: make_table_coder(None, "json", allow_pickle=False)[0]({"note": "x" * n}), id="table"),
        pytest.param(lambda n: dumps(Order(number=1, note="x" * n)), id="record"),
    ],
)
def test_encoded_values_take_what_they_are_long(encode: Callable[[int], bytes], length: int) -> None:
    """orjson returns buffers of 4 KB for 20 bytes, 16 times what is in them; msgspec takes half as much more."""
    encode(length)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept = [encode(length) for _ in range(COUNT)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / COUNT < 1.6 * len(kept[0]) + 100
