"""The module in C under wrong arguments, for a moment; `python -m tests.fuzz.native` goes on for long."""

from __future__ import annotations

import pytest
from confluent_kafka import cimpl

from .native import fuzz


@pytest.mark.parametrize("seed", [1, 2])
def test_wrong_arguments_end_with_what_is_documented(seed: int) -> None:
    """Each call takes records or says what is wrong with them, beside clients that come, fail and go."""
    native = pytest.importorskip("streamcluster_worker._native")
    native.load(cimpl.__file__, native.__file__)
    calls, gives, taken = fuzz(native, seed, 2.0)
    assert calls > 100
    assert gives > 10
    assert taken > 100
