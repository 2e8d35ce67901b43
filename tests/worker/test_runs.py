"""How a poll's records are cut into runs of one partition each."""

from __future__ import annotations

import random

import pytest

from streamcluster_worker.kafka.batches import RUN_BLOCK, end_of_run

LENGTHS = [1, 2, RUN_BLOCK - 1, RUN_BLOCK, RUN_BLOCK + 1, 2 * RUN_BLOCK, 3 * RUN_BLOCK + 5]


@pytest.mark.parametrize("seed", range(200))
def test_a_run_ends_where_the_value_changes(seed: int) -> None:
    """Wherever that is in a block; and where it is told to end."""
    chance = random.Random(seed)
    values = [value for _ in range(6) for value in [chance.choice("ab")] * chance.choice(LENGTHS)]
    start = chance.randrange(len(values))
    end = chance.randint(start + 1, len(values))

    found = end_of_run(values, start, end)

    assert set(values[start:found]) == {values[start]}
    assert found == end or values[found] != values[start]
