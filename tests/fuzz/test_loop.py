"""The loops in C over hostile objects, for a moment; `python -m tests.fuzz.loop` goes on for long."""

from __future__ import annotations

import pytest

from streamcluster import loops

from .loop import fuzz


@pytest.mark.skipif(not loops.is_in_c(), reason="the loops were not built")
@pytest.mark.parametrize("seed", [1, 2])
def test_hostile_objects_end_with_an_error(seed: int) -> None:
    """Whatever happens inside of a call, values come or an error, and nothing is held that nobody has."""
    from streamcluster import _loop

    worlds, given, kept = fuzz(_loop, seed, 2.0)
    assert worlds > 20
    assert given > 100
    assert kept > 10
