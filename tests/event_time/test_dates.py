"""Dates of windows: what comes of one has the largest timestamp in it, whatever was committed, lost and moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcluster import App, current_event
from streamcluster.dates import dated, records_of
from streamcluster.engine.intake import SINGLE_EVENTS
from streamcluster.ids import TP
from streamcluster.testing import Driver

from .stores import make_rocks

# Time in seconds, whether it is committed, and what is done behind it.
EVENTS = st.lists(
    st.tuples(st.integers(1, 30), st.booleans(), st.sampled_from(["", "", "crash", "lose"])), min_size=1, max_size=12
)


def make_app(kind: str, value: str) -> App:
    app = App("dates")
    events = app.topic("events", key_type=str, value_type=int)
    closed = app.topic("closed", key_type=str, value_type=list, partitions=1)
    table = app.Table("counts", key_type=str, default=int if value == "numbers" else list)
    counts = table.session(1000, grace=0) if kind == "session" else getattr(table, kind)(100, grace=0)

    @app.agent(events)
    async def count(stream: Any) -> None:
        async for key, number in stream.items():
            if value == "numbers":
                counts[key] += number
            elif value == "lists":
                counts[key] += [number]  # type: ignore[operator]
            else:
                counts[key].value().append(number)

    @counts.on_close  # type: ignore[untyped-decorator]
    async def close(key: str, window: Any, number: Any) -> None:
        event = current_event()
        assert event is not None
        await closed.send(key=key, value=[event.message.timestamp, number])

    return app


def test_two_views_write_one_window() -> None:
    """Its row has the latest time of both, also where the earlier event comes last, in one run with the others."""
    app = App("views")
    events = app.topic("events", key_type=str, value_type=int, partitions=1)
    closed = app.topic("closed", key_type=str, value_type=int, partitions=1)
    first = app.Table("counts", key_type=str, default=int).tumbling(100, grace=0)
    second = first.relative_to_stream()

    @app.agent(events)
    async def count(stream: Any) -> None:
        async for key, number in stream.items():
            (first if number else second)[key] += 1

    @first.on_close
    async def close(key: str, window: Any, count: int) -> None:
        await closed.send(key=key, value=count)

    with Driver(app) as driver:
        # The first events come one at a time, and the others are a run.
        for number, at in [(1, 1)] * SINGLE_EVENTS + [(1, 10), (0, 20), (0, 60), (1, 50)]:
            record = {"key": b"a", "value": b"%d" % number, "timestamp": at * 1000, "partition": 0}
            driver.logs.append("events", record, 0.0)
        driver.run(driver.worker.process(commit=True))
        driver.send("events", key="z", value=1, timestamp=100)
        [got] = driver.output("closed")
    assert (got.value, got.timestamp) == (SINGLE_EVENTS + 4, 60)


@pytest.mark.parametrize("value", ["numbers", "lists", "in place"])
@settings(max_examples=30, deadline=None)
@given(events=EVENTS)
def test_what_comes_of_a_window_is_of_its_last_event(value: str, events: list[tuple[int, bool, str]]) -> None:
    """In any order of events, commits and crashes, with and without the store."""
    with Driver(make_app("tumbling", value)) as driver:
        for at, is_committed, then in events:
            driver.send("events", key="a", value=1, timestamp=at, commit=is_committed)
            if then:
                driver.crash(lose_stores=then == "lose")
        driver.send("events", key="z", value=1, timestamp=100)
        [got] = driver.output("closed")
        latest = max(at for at, _, _ in events)
        assert got.value == [latest, len(events) if value == "numbers" else [1] * len(events)]
        assert got.timestamp == latest


@pytest.mark.parametrize("store", ["memory", "rocks"])
@pytest.mark.parametrize("kind", ["tumbling", "session"])
def test_a_changelog_has_the_plain_value_and_the_date(kind: str, store: str, tmp_path: Path) -> None:
    """And a deletion is of the window's end: nothing there moves time further than the windows have."""
    app = make_app(kind, "numbers")
    with Driver(app, make_store=make_rocks(tmp_path)(app) if store == "rocks" else None) as driver:
        for at in (7, 12, 9):
            driver.send("events", key="a", value=1, timestamp=at)
        driver.send("events", key="z", value=1, timestamp=5000)
        records = [one for one in driver.logs.logs[TP("dates-counts-changelog", 0)] if b'["a"' in (one.key or b"")]
        got = [(one.value, one.timestamp) for one in records]
        if kind == "tumbling":
            assert got == [(b"1", 7000), (b"2", 12000), (b"3", 12000), (None, 99_999)]
        else:
            assert got == [(b"1", 7000), (None, 7000), (b"2", 12000), (b"3", 12000), (None, 12000)]


def test_two_coroutines_date_one_window(tmp_path: Path) -> None:
    """The later of theirs counts, whichever is finished first."""
    app = App("dates")
    events = app.topic("events", key_type=str, value_type=int)
    closed = app.topic("closed", key_type=str, value_type=int, partitions=1)
    counts = app.Table("counts", key_type=str, default=int).tumbling(100, grace=0)

    @app.agent(events, concurrency=2)
    async def count(stream: Any) -> None:
        async for number in stream:
            counts["all"] += number

    @counts.on_close
    async def close(key: str, window: Any, number: int) -> None:
        await closed.send(key=key, value=number)

    with Driver(app) as driver:
        for at, key in ((50, "a"), (20, "b"), (10, "c"), (60, "d"), (30, "e"), (5, "f")):
            driver.send("events", key=key, value=1, timestamp=at, commit=False)
        driver.send("events", key="z", value=0, timestamp=100)
        [got] = driver.output("closed")
        assert (got.value, got.timestamp) == (6, 60)


def test_deletions_are_of_the_time_that_somebody_has_said() -> None:
    """Of rows that are there their dates count."""
    changes = {b"a": dated(b"1", 5), b"b": None, b"c": None, b"d": dated(b"2", 6)}
    found = records_of(changes, lambda keys: [100] * len(keys), stamps={b"a": 7, b"b": 9})
    assert found.keys == [b"a", b"b", b"c", b"d"]
    assert found.timestamps == [5, 9, 100, 6]
