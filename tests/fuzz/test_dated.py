"""The dated rows of a commit in C over hostile objects, for a moment; `python -m tests.fuzz.dated` goes on for long."""

from __future__ import annotations

import pytest

from streamcluster import dated_rows

from .dated import fuzz


@pytest.mark.skipif(not dated_rows.is_in_c(), reason="it was not built")
@pytest.mark.parametrize("seed", [1, 2])
def test_hostile_rows_end_with_an_error(seed: int) -> None:
    """Whatever happens inside of a call, rows come or an error, and nothing is held that nobody has."""
    from streamcluster import _rows

    worlds, given = fuzz(_rows, seed, 1.0)
    assert worlds > 1
    assert given > 10
