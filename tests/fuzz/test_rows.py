"""Each decoder of bytes from outside, fed with damaged valid ones: a value or the documented error, nothing else.

For hours: `python -m tests.fuzz --minutes 60`, from seeds that it prints.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from .mutating import damaged, damaged_tree
from .rows import Row, all_rows

ROWS = all_rows()


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_what_is_valid_is_taken(row: Row) -> None:
    """Or the changes would start from nothing."""
    for data in row.valid:
        row.check(data)


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_damaged_bytes_are_a_value_or_the_documented_error(row: Row) -> None:
    """Changed as bytes and as trees."""

    @settings(max_examples=row.examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.randoms(use_true_random=False))
    def holds(random: Random) -> None:
        data = change(random, row)
        note(repr(data[:2_000]))
        row.check(data)

    holds()


def change(random: Random, row: Row) -> bytes:
    """One input of a row."""
    if row.keeps_shape and row.form is not None:
        return damaged_tree(random, row.valid, row.form)
    return damaged(random, row.valid, row.form)
