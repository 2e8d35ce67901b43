"""The pairs of a join in C over hostile objects, for a moment; `python -m tests.fuzz.pairs` goes on for long."""

from __future__ import annotations

import pytest

from streamcluster import loops

from .pairs import fuzz


@pytest.mark.skipif(not loops.is_in_c(), reason="it was not built")
@pytest.mark.parametrize("seed", [1, 2])
def test_hostile_tables_end_with_an_error(seed: int) -> None:
    """Whatever happens inside of a call, pairs come or an error, and nothing is held that nobody has."""
    from streamcluster import _pairs

    worlds, given = fuzz(_pairs, seed, 2.0)
    assert worlds > 1
    assert given > 10
