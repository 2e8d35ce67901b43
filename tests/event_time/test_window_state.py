"""What is kept of windowed tables beside their rows: by which definition they were judged, and what `status` counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamcluster import App
from streamcluster.engine.event_time.task_time import COUNT_SECONDS, TimedCounts
from streamcluster.errors import StateIncompatible
from streamcluster.testing import Driver

from .stores import make_rocks
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


@pytest.mark.parametrize("store", ["memory", "rocks"])
@pytest.mark.parametrize("closes", [True, False])
def test_windows_that_were_kept_for_a_while_go_when_expires_is_taken_away(
    store: str, tmp_path: Path, *, closes: bool
) -> None:
    """They were given out, and would stay for ever: nobody else deletes them. on_close is not called for them again."""

    def make(*, closes: bool, **window: Any) -> App:
        app = App("counting", max_ahead=None)
        closed = app.topic("closed", key_type=str, value_type=float, partitions=1)
        views = app.Table("views", key_type=str, default=int).tumbling(10, grace=5, **window)

        @app.agent(app.topic("events", key_type=str, value_type=int))
        async def count(stream: Any) -> None:
            async for page, number in stream.items():
                views[page] += number

        if closes:

            @views.on_close
            async def close(page: str, window: Any, _number: int) -> None:
                await closed.send(key=page, value=window.start)

        return app

    with Driver(make(closes=True, expires=1000)) as before:
        for at in (0, 10, 20, 30, 40):
            before.send("events", key="a", value=1, timestamp=at)
        assert len(before.table("views")) == 5
        now = make(closes=closes)
        make_store = make_rocks(tmp_path)(now) if store == "rocks" else None
        with Driver(now, make_store=make_store) as after:
            after.logs.logs.update(before.logs.logs)
            after.worker.committed.update(before.worker.committed)
            after.crash(lose_stores=True)
            after.crash()
            after.advance(0)
            assert list(after.table("views")) == [("a", (30, 40)), ("a", (40, 50))]
            for at in (50, 60):
                after.send("events", key="a", value=1, timestamp=at)
                after.crash(lose_stores=at == 60)
            assert list(after.table("views")) == [("a", (50, 60)), ("a", (60, 70))]
            outputs = [one.value for one in after.output("closed")]
            assert outputs == ([0, 10, 20, 30, 40] if closes else [0, 10, 20])
            (time,) = after.worker.engine.times.tasks.values()
            assert time.left == {}
