"""Joins of tables that are new: where they begin in changelogs that others read already."""

from __future__ import annotations

from collections.abc import Iterable

from streamcluster.ahead import ahead_of, metadata_of, short_name
from streamcluster.engine.values import Committed
from streamcluster.ids import TP
from streamcluster_worker.data.begin import Begin
from streamcluster_worker.data.late_joins import JoinedChanges, with_late_joins

ROWS, KEPT, OTHER = "rows-changelog", "join-sides-changelog", "old-sides-changelog"
TWO = JoinedChanges({"join": KEPT, "old": OTHER}, {"watch": 1, "count": 3})


def begun(position: Committed, *, kept: int, begin: int = 10) -> Begin | None:
    """Where partition 1 begins when it was committed like that, and the new join's changelog ends at `kept`."""

    def ends(asked: Iterable[TP]) -> dict[TP, int]:
        return {tp: kept if tp.topic == KEPT else 5 for tp in asked}

    tp = TP(ROWS, 1)
    return with_late_joins({tp: Begin(position)}, {tp: begin}, {ROWS: TWO}, ends).get(tp)


def test_a_join_without_rows_begins_at_the_beginning_and_the_others_where_they_were() -> None:
    """What others had read is noted as read, also what they were ahead by, and an older join is one of them."""
    noted = metadata_of({"watch": [(4,)], "count": [(0, 7, 2)]})
    found = begun(Committed(110, noted), kept=0)
    assert found is not None
    assert found.is_new
    assert found.position.next_offset == 10
    assert ahead_of(found.position.metadata) == {
        short_name("watch"): [(104,)],
        short_name("count"): [(100, 107, 102)],
        short_name("old"): [(100,)],
    }


def test_lanes_that_were_not_ahead_are_noted_one_by_one() -> None:
    """Each lane of an agent with concurrency= has read as much as the position says."""
    found = begun(Committed(110), kept=0)
    assert found is not None
    assert ahead_of(found.position.metadata)[short_name("count")] == [(100, 100, 100)]


def test_a_join_that_has_rows_or_nothing_to_read_again_goes_on() -> None:
    """It is moved once only: behind that its rows are there."""
    assert begun(Committed(110), kept=3) is None
    assert begun(Committed(10), kept=0) is None
