"""Sliding windows: what a model by the definition says of random events, with crashes and commits anywhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcluster import App, AppError, current_event
from streamcluster.testing import Driver
from streamcluster.windows.kinds import Window

SIZE = 5
# Key, time in seconds, whether it is committed, and what is done behind it.
EVENTS = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(1, 30), st.booleans(), st.sampled_from(["", "", "", "crash", "lose"])),
    max_size=20,
)
Row = tuple[str, int, int, list[int], int]


@dataclass
class Model:
    """From the events themselves: for one at t the windows [t - SIZE, t], and [t + 1 ms, ...] when that holds one.

    Times are ms. Values are the numbers of the events in a window, in the order in which they came.
    """

    grace: int
    time: int = 0
    seen: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    windows: dict[tuple[str, int], tuple[list[int], int]] = field(default_factory=dict)
    late: int = 0
    size: int = SIZE * 1000

    def add(self, key: str, at: int, number: int) -> list[Row]:
        """What an event changes, oldest window first."""
        self.time = max(self.time, at)
        edge = self.time - self.grace
        if at + self.size < edge:
            self.late += 1
            return []
        seen = self.seen.setdefault(key, [])
        seen.append((at, number))
        times = {one for one, _ in seen}
        ends = times | {one + 1 + self.size for one in times if any(one < t <= one + 1 + self.size for t in times)}
        changed: list[Row] = []
        for end in sorted(ends):
            holds, appears = end - self.size <= at <= end, end == at + 1 + self.size and (key, end) not in self.windows
            if (holds or appears) and end >= edge:
                inside = [(t, n) for t, n in seen if end - self.size <= t <= end]
                self.windows[key, end] = [n for _, n in inside], max(t for t, _ in inside)
                changed.append((key, end - self.size, end, *self.windows[key, end]))
        return changed


def make_app(grace: int) -> App:
    app = App("sliding")
    events = app.topic("events", key_type=str, value_type=int)
    late = app.topic("late", key_type=str, value_type=int, partitions=1)
    closed = app.topic("closed", key_type=str, value_type=list, partitions=1)
    updates = app.topic("updates", key_type=str, value_type=list, partitions=1)
    reads = app.topic("reads", key_type=str, value_type=list, partitions=1)
    lists = app.Table("lists", key_type=str, default=list).sliding(SIZE, grace=grace, late=late)

    @app.agent(events)
    async def collect(stream: Any) -> None:
        async for key, number in stream.items():
            windows = lists[key].apply(append, number)
            for window, numbers in windows.written:
                await updates.send(key=key, value=[window.start, window.end, numbers])
            await reads.send(key=key, value=[number, lists[key].value()])

    @lists.on_close
    async def close(key: str, window: Window, numbers: list[int]) -> None:
        event = current_event()
        assert event is not None
        await closed.send(key=key, value=[window.start, window.end, numbers, event.message.timestamp])

    return app


def append(numbers: list[int], number: int) -> list[int]:
    """In place, as people do it: what other windows hold must not change with it."""
    numbers.append(number)
    return numbers


def in_ms(value: list[Any]) -> tuple[int, int, list[int]]:
    return round(value[0] * 1000), round(value[1] * 1000), value[2]


@settings(max_examples=25, deadline=None)
@given(events=EVENTS, grace=st.sampled_from([0, 2, 7, 20]))
def test_windows_are_those_of_the_model(events: list[tuple[str, int, bool, str]], grace: int) -> None:
    """Each update and each result, once, in order, and of the last event in it; whatever was lost in between."""
    model = Model(grace * 1000)
    updates: list[list[Any]] = []
    reads: list[list[Any]] = []
    with Driver(make_app(grace)) as driver:
        for number, (key, at, is_committed, then) in enumerate([*events, ("z", 1000, True, "")]):
            driver.send("events", key=key, value=number, timestamp=at, commit=is_committed)
            changed = model.add(key, at * 1000, number)
            updates += [[key, *row[1:4]] for row in changed]
            if at * 1000 >= model.time - model.grace:
                reads.append([number, model.windows[key, at * 1000][0]])
            if then:
                driver.crash(lose_stores=then == "lose")
        assert [[one.key, *in_ms(one.value)] for one in driver.output("updates")] == updates
        read = [one.value for one in driver.output("reads")]
        assert [one for one in read if one[0] in {number for number, _ in reads}] == reads
        closed = [(one.key, *in_ms(one.value), round(one.value[3] * 1000)) for one in driver.output("closed")]
        want = [(key, end - model.size, end, *found) for (key, end), found in model.windows.items() if key != "z"]
        assert sorted(closed) == sorted(want)
        assert [row[2] for row in closed] == sorted(row[2] for row in closed)
        assert len(driver.output("late")) == model.late


def test_nothing_is_left_of_windows_that_are_over() -> None:
    """Neither of them, nor of what was kept beside the table for others."""
    with Driver(make_app(0)) as driver:
        for number, at in enumerate((10, 7, 6, 12, 9, 8, 20, 16, 15, 400, 500)):
            driver.send("events", key="a", value=number, timestamp=at)
        shards = next(iter(driver.worker.engine.tasks.values())).shards
        assert [key[1:] for key, _ in shards["lists"].rows()] == [(495_000, 500_000)]
        assert not list(shards["lists-over"].rows())


def test_reads_of_a_sliding_window() -> None:
    """What came within the size up to any moment; outside of events it is said what can be read."""
    app = App("reads")
    events = app.topic("events", key_type=str, value_type=int)
    seen = app.topic("seen", value_type=list, partitions=1)
    sums = app.Table("sums", key_type=str, default=int).sliding(10, expires=3600)

    @app.agent(events)
    async def add(stream: Any) -> None:
        async for key, number in stream.items():
            sums[key] += number
            sums[key] -= 0
            windows = [[*window, value] for window, value in sums[key].windows(0, 8)]
            await seen.send(value=[sums[key].value(), sums[key].delta(3), sums[key].delta(60), windows])

    with Driver(app) as driver:
        for at, number in ((100, 1), (104, 2), (108, 4), (112, 8)):
            driver.send("events", key="a", value=number, timestamp=at)
        assert [one.value[:3] for one in driver.output("seen")] == [[1, 0, 0], [3, 1, 0], [7, 3, 0], [14, 7, 0]]
        with pytest.raises(AppError, match="there is no event here"):
            sums["a"].now()
        ends = [round(window.end * 1000) for (_, window), _ in sums.items()]
        assert sorted(ends) == [100_000, 104_000, 108_000, 110_001, 112_000, 114_001, 118_001]
        assert sums["a"][102, 112] == 14
        driver.crash(lose_stores=True)
        assert sums["a"][102, 112] == 14


def test_a_size_of_0_has_what_is_of_one_time() -> None:
    """As Kafka Streams has it; a duration of 0 may be a timedelta."""
    app = App("points")
    events = app.topic("events", key_type=str, value_type=int)
    closed = app.topic("closed", value_type=list, partitions=1)
    sums = app.Table("sums", key_type=str, default=int).sliding(timedelta(), grace=timedelta())

    @app.agent(events)
    async def add(stream: Any) -> None:
        async for key, number in stream.items():
            sums[key] += number

    @sums.on_close
    async def close(_: str, window: Window, number: int) -> None:
        await closed.send(value=[window.start, window.end, number])

    with Driver(app) as driver:
        for at, number in ((1, 1), (1, 2), (1.001, 4), (1, 8), (5, 16)):
            driver.send("events", key="a", value=number, timestamp=at)
        assert [one.value for one in driver.output("closed")] == [[1, 1, 3], [1.001, 1.001, 4]]
