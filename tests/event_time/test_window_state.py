"""What is kept of windowed tables beside their rows: by which definition they were judged, and what `status` counts."""

from __future__ import annotations

from typing import Any

import pytest

from streamcluster import App
from streamcluster.engine.event_time.task_time import COUNT_SECONDS, TimedCounts
from streamcluster.errors import StateIncompatible
from streamcluster.testing import Driver

from .test_windows import EVENTS, counting


@pytest.mark.parametrize("lose_stores", [False, True])
def test_status_counts_windows_and_late_events(lose_stores: bool) -> None:
    """Open and closed windows, late events, and records that are too far ahead: those of every run of the app."""
    made = counting(expires=100)
    with Driver(made.app) as driver:
        for key, at in EVENTS:
            driver.send("events", key=key, value=1, timestamp=at)
        driver.send("events", key="a", value=1, timestamp=3, commit=False)
        assert counts_of(driver) == TimedCounts(open=1, closed=3, late=1, ahead=0)
        driver.crash(lose_stores=lose_stores)
        assert counts_of(driver) == TimedCounts(open=1, closed=3, late=2, ahead=0)
        driver.send("events", key="c", value=1, timestamp=41)
        driver.advance(COUNT_SECONDS)
        assert counts_of(driver, open_max=2).open == 2
        driver.logs.append("events", {"key": b"a", "value": b"1", "timestamp": 40_000_000}, 0.0)
        driver.advance(COUNT_SECONDS)
        assert counts_of(driver) == TimedCounts(open=3, closed=3, late=2, ahead=1)


def counts_of(driver: Driver, open_max: int = 10) -> TimedCounts:
    """Of the only task."""
    (time,) = driver.worker.engine.times.tasks.values()
    return time.counts(open_max)["views"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda table: table.tumbling(10, grace=5), None),
        (lambda table: table.tumbling(10, grace=5, expires=90), None),
        (lambda table: table.tumbling(20, grace=5), "size=20 s"),
        (lambda table: table.hopping(10, 5, grace=5), "step=5 s"),
        (lambda table: table.tumbling(10, grace=5, offset=1), "offset=1 s"),
        (lambda table: table.tumbling(10, grace=4), "grace=4 s"),
        (lambda table: table.tumbling(10, grace=60), "grace=60 s"),
        (lambda table: table.tumbling(86400, grace=5, tz="Europe/Berlin"), "tz='Europe/Berlin'"),
        (lambda table: table.session(10, grace=5), "gap=10 s"),
    ],
)
def test_other_windows_over_rows_that_are_there_are_refused(change: Any, says: str | None) -> None:
    """At the start, with what to do: what was closed would be open again, or closed twice."""

    def app(window: Any) -> App:
        app = App("changing")
        events = app.topic("events", key_type=str, value_type=int)
        views = window(app.Table("views", key_type=str, default=int))

        @app.agent(events)
        async def count(stream: Any) -> None:
            async for page, number in stream.items():
                views[page] += number

        return app

    with Driver(app(lambda table: table.tumbling(10, grace=5))) as before:
        before.send("events", key="a", value=1, timestamp=1)
        changed = app(change)
        with Driver(changed) as after:
            after.logs.logs.update(before.logs.logs)
            after.worker.committed.update(before.worker.committed)
            if says is not None:
                with pytest.raises(StateIncompatible) as refused:
                    after.crash(lose_stores=True)
                assert "table 'views' has windows of size=10 s" in str(refused.value)
                assert says in str(refused.value)
                return
            after.crash(lose_stores=True)
            after.send("events", key="a", value=1, timestamp=2)
            assert list(changed.tables["views"].items()) == [(("a", 0, 10_000), 2)]
