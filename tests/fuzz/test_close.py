"""Windows that close in C over hostile objects, for a moment; `python -m tests.fuzz.close` goes on for long."""

from __future__ import annotations

import pytest

from streamcluster import loops

from .close import fuzz


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # Coroutines that nobody awaits: their owners were ended.
@pytest.mark.skipif(not loops.is_in_c(), reason="it was not built")
@pytest.mark.parametrize("seed", [1, 2])
def test_hostile_rows_end_with_an_error(seed: int) -> None:
    """Whatever happens inside of a call, rows are handled or there is an error, and nothing is held."""
    from streamcluster import _close

    worlds, given = fuzz(_close, seed, 2.0)
    assert worlds > 1
    assert given > 100
