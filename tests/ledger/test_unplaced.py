"""Records that a broker has without saying where: a producer that sends one again may hear no more than that."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.ledger.checks import verdict
from tests.ledger.right_history import right_history
from tests.process.checker import Row


@pytest.mark.parametrize("is_there", [True, False])
def test_record_without_an_offset_must_be_in_its_partition(*, is_there: bool) -> None:
    """Wherever it is there; when it is not, it is lost."""
    right = right_history(1, 30, 5)
    (partition, offset), row = next(iter(right.acked.items()))
    acked = {place: one for place, one in right.acked.items() if place != (partition, offset)}
    unplaced = row if is_there else Row("nobody", b"{}")

    found = verdict(replace(right, acked={**acked, (partition, -7): unplaced}))

    assert (found["no loss"] == []) == is_there
