"""When a task counts as having results of earlier events, so that lost offsets must stop the app."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streamcluster.engine.values import Committed
from streamcluster.errors import StateIncompatible
from streamcluster.ids import TP
from streamcluster.settings import make_settings
from streamcluster.stores import MemoryStore, TaskStore
from streamcluster_worker.data.positions import Start, has_rows, refuse_lost_offsets
from streamcluster_worker.state.memory import Memory
from streamcluster_worker.state.rocks import RocksStore

MIB = 1024 * 1024
TABLES = ["a", "b"]


@pytest.fixture(params=["memory", "rocksdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TaskStore]:
    """An empty store of each kind."""
    opened: TaskStore
    if request.param == "memory":
        opened = MemoryStore(TABLES)
    else:
        opened = RocksStore.open(tmp_path / "store", TABLES, Memory(MIB, MIB))
    yield opened
    opened.close()


@pytest.mark.parametrize("next_offset", [0, 2])
def test_task_that_never_had_an_event_has_no_results(store: TaskStore, next_offset: int) -> None:
    """A restore of an empty changelog (also one that only has aborted records) leaves no results behind."""
    assert not has_rows(store, TABLES)
    for table in TABLES:
        store.restore(table, [], next_offset)
    assert not has_rows(store, TABLES)


def test_one_row_in_any_table_is_a_result(store: TaskStore) -> None:
    """A row counts in whichever table of the task it is, and no longer once it is deleted."""
    store.write({"b": {b"k": b"1"}}, {"b": 1})
    assert has_rows(store, TABLES)
    store.write({"b": {b"k": None}}, {"b": 2})
    assert not has_rows(store, TABLES)


def test_results_without_a_committed_offset_are_refused_wherever_they_came_from(store: TaskStore) -> None:
    """Rows and no committed offset: the app stops, with what to do; a first start and a known position go on."""
    settings = make_settings({"id": "shop"})
    tp = TP("orders", 0)
    first, known = Start({tp: Committed(0)}, has_committed=False), Start({tp: Committed(7)}, has_committed=True)
    refuse_lost_offsets(settings, first, store, TABLES)
    store.restore("a", [(b"k", b"1")], 1)
    refuse_lost_offsets(settings, known, store, TABLES)
    with pytest.raises(StateIncompatible, match=r"no committed offset for orders\[0\].*streamcluster reset"):
        refuse_lost_offsets(settings, first, store, TABLES)
