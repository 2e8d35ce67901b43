"""The items of tables in C over hostile objects, for a moment; `python -m tests.fuzz.table` goes on for long."""

from __future__ import annotations

import pytest

from streamcluster import loops, tables
from streamcluster.engine.shard_view import ShardView

from .table import fuzz


@pytest.mark.skipif(not loops.is_in_c(), reason="it was not built")
@pytest.mark.parametrize("seed", [1, 2])
def test_hostile_shards_end_with_an_error(seed: int) -> None:
    """Whatever happens inside of a call, an entry is written or there is an error, and nothing is held."""
    from streamcluster import _table

    _table.detach()
    try:
        worlds, given = fuzz(_table, seed, 1.0)
    finally:
        loops.do_items_in_c(tables.Table, ShardView)
    assert worlds > 1
    assert given > 10
