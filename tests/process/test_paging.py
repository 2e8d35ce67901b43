"""A table that changes is paged: what does not change is in the pages once, and the app is not held up."""

from __future__ import annotations

from tests.conftest import MakeTopic
from tests.process.conftest import StartApp
from tests.process.paging import PARTITIONS, Paging, fill, page_beside_a_load

ROWS, RATE = 20_000, 1_000


def test_pages_have_each_row_once_while_the_table_changes(
    running: StartApp, make_topic: MakeTopic, topic_prefix: str, bootstrap: str
) -> None:
    """The whole figure is `python -m tests.process.paging`: 300,000 rows beside 5,000 events/s."""
    for name in ("in", "out"):
        make_topic(f"{topic_prefix}{name}", PARTITIONS)
    run = running("obedient")
    run.start()
    run.until_running()
    fill(run, bootstrap, topic_prefix, ROWS)

    paging: Paging = page_beside_a_load(run, bootstrap, topic_prefix, ROWS, RATE)

    assert (paging.missing, paging.twice) == (0, 0), str(paging)
    assert paging.rows > ROWS
    assert paging.fed > 0
