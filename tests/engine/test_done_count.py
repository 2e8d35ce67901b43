"""EVENTS of `status`: what is done, not what was begun, read ahead, or rolled back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamcluster import App, Stream
from streamcluster.engine.done_count import DoneCount
from tests.engine.conftest import Drive

# Batches are joined up to 256 records.
Batches = st.lists(st.integers(1, 400), min_size=1, max_size=12)


@given(Batches, st.data())
def test_done_is_what_is_before_the_committed_position(batches: list[int], data: st.DataObject) -> None:
    """Without gaps it is exact at each commit, wherever it falls, also when everything behind it comes again."""
    count = DoneCount()
    count.rewind(0)
    total, committed, end = 0, 0, 0
    while batches:
        size = batches.pop(0)
        count.fed(end, end + size, size)
        end += size
        committed = data.draw(st.integers(committed, end))
        total += count.committed(committed)
        assert total == committed
        if data.draw(st.booleans()):
            count.rewind(committed)
            end = committed


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 300)), min_size=1, max_size=10), st.data())
def test_gaps_are_no_events(batches: list[tuple[int, int]], data: st.DataObject) -> None:
    """Transaction markers have offsets too: what is all committed counts exactly, and never more than there was."""
    count = DoneCount()
    total, records, end, committed = 0, 0, 0, 0
    for gap, size in batches:
        start = end + gap
        end = start + size + gap
        count.fed(start, end, size)
        records += size
        committed = data.draw(st.integers(committed, end))
        total += count.committed(committed)
        assert 0 <= total <= records
    assert total + count.committed(end) == records


def test_events_count_when_they_are_committed(drive: Drive) -> None:
    """What a crash takes back was not done, and is not counted twice."""
    app = App("a")
    numbers = app.topic("numbers", value_type=int)
    sums = app.Table("sums", default=int)

    @app.agent(numbers)
    async def add(stream: Stream[int]) -> None:
        async for value in stream:
            sums["all"] += value

    driver = drive(app)
    for value in range(10):
        driver.send("numbers", value=value, commit=False)
    assert driver.worker.engine.events_total == 0
    driver.send("numbers", value=10)
    assert driver.worker.engine.events_total == 11
    driver.send("numbers", value=11, commit=False)
    driver.crash()
    driver.send("numbers", value=12)
    assert (driver.worker.engine.events_total, driver.table("sums")) == (2, {"all": 78})


def test_event_that_is_retried_and_given_up_is_one_event(drive: Drive) -> None:
    """However often it was begun, and with the other reader of the topic far ahead of it."""
    app = App("a")
    numbers = app.topic("numbers", value_type=int)
    seen: list[int] = []

    @app.agent(numbers)
    async def divide(stream: Stream[int]) -> None:
        async for value in stream:
            seen.append(60 // value)

    @app.agent(numbers)
    async def read(stream: Stream[int]) -> None:
        async for _ in stream:
            continue

    driver = drive(app)
    for value in (1, 2, 0, 3, 0, 4):
        driver.send("numbers", value=value, commit=False)
    driver.advance(120)
    driver.send("numbers", value=5)
    driver.advance(120)
    assert len(driver.dead_letters()) == 2
    assert driver.worker.engine.events_total == 7
