"""An operator with several inputs: which event is next, what T is, and who holds it back."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcluster import App
from streamcluster.batch import Batch
from streamcluster.current import Run, cursor_var
from streamcluster.engine.event_time.least import time_of_inputs
from streamcluster.engine.event_time.ordering import Ordering
from streamcluster.ids import TP, TaskId
from streamcluster.testing import Driver
from streamcluster.times import NO_TIME
from tests.event_time.windows_by_hand import add, make_windows

LEFT, RIGHT = TP("left", 0), TP("right", 0)
TASK = TaskId(1, 0)
LEFT_OUT = "it stands until one that was left out has caught up: "


def run_of(tp: TP, times: list[int]) -> Run:
    """Events of these times."""
    count = len(times)
    batch = Batch(tp, range(count), times, [None] * count, [b""] * count)
    return Run(TASK, batch, list(times), count, bytes)


def taken(queue: list[Run], at_end: set[TP], step_ms: int = 1) -> list[tuple[str, int]]:
    """Everything that an ordering gives of these runs, in its order."""
    ordering = Ordering([LEFT, RIGHT], lambda tp: tp not in at_end, lambda: None, step_ms)
    found: list[tuple[str, int]] = []
    while (run := ordering.first(queue)) is not None:
        queue.remove(run)
        if (count := ordering.count(run, queue)) < len(run.values):
            queue.insert(0, run.cut(count))
        found += [(run.tp.topic, value) for value in run.values]
    return found


def test_the_least_timestamp_is_next() -> None:
    """Of two inputs, each in its own order, the head with the least timestamp goes first."""
    queue = [run_of(RIGHT, [5, 6, 20]), run_of(LEFT, [1, 9, 7, 30])]
    order = [("left", 1), ("right", 5), ("right", 6), ("left", 9), ("left", 7), ("right", 20), ("left", 30)]
    assert taken(queue, {LEFT, RIGHT}) == order


def test_an_input_that_may_have_records_is_waited_for() -> None:
    """Behind the last known record of an input that is not at its end, nothing is taken of the others."""
    queue = [run_of(RIGHT, [5]), run_of(LEFT, [1, 9])]
    assert taken(queue, {LEFT}) == [("left", 1), ("right", 5)]
    assert [run.values for run in queue] == [[9]]


def test_in_a_step_of_time_one_input_comes_after_the_other() -> None:
    """So two inputs that alternate are not runs of one event each."""
    queue = [run_of(RIGHT, [1, 3, 9, 10, 31]), run_of(LEFT, [0, 2, 8, 12, 11, 5, 20])]
    order = [("left", 0), ("left", 2), ("left", 8), ("right", 1), ("right", 3), ("right", 9)]
    order += [("left", 12), ("left", 11), ("left", 5), ("right", 10), ("left", 20), ("right", 31)]
    assert taken(queue, {LEFT, RIGHT}, 10) == order


@given(st.lists(st.integers(-50, 50)), st.lists(st.integers(-50, 50)), st.integers(1, 20), st.sampled_from([1, 10]))
@settings(max_examples=200, deadline=None)
def test_the_order_does_not_depend_on_the_runs(left: list[int], right: list[int], size: int, step_ms: int) -> None:
    """However they were fetched, the order is that of the largest time up to each, the input and the offset."""

    def pieces(tp: TP, times: list[int], size: int) -> list[Run]:
        return [run_of(tp, times[start : start + size]) for start in range(0, len(times), size)]

    once = taken([*pieces(LEFT, left, 1000), *pieces(RIGHT, right, 1000)], {LEFT, RIGHT}, step_ms)
    again = taken([*pieces(RIGHT, right, size), *pieces(LEFT, left, size)], {LEFT, RIGHT}, step_ms)
    places = [
        (latest // step_ms, tp.topic, offset, time)
        for tp, times in ((LEFT, left), (RIGHT, right))
        for offset, (latest, time) in enumerate(zip(accumulate(times, max), times, strict=True))
    ]
    assert once == [(topic, time) for _, topic, _, time in sorted(places)]
    assert once == again
    assert [time for topic, time in once if topic == "left"] == left
    assert [time for topic, time in once if topic == "right"] == right


@pytest.mark.parametrize(
    ("before", "inputs", "after"),
    [
        (NO_TIME, [(5, False), (9, False)], 5),
        (NO_TIME, [(5, True), (9, False)], 9),
        (3, [(5, True), (9, True)], 9),
        # One that was left out counts again once it has caught up.
        (7, [(10, False), (3, False)], 10),
        (7, [(10, True), (3, False)], 7),
        (7, [(10, False), (8, False)], 8),
        (7, [(5, True), (6, True)], 7),
        (NO_TIME, [(NO_TIME, False), (9, False)], NO_TIME),
    ],
)
def test_time_is_the_least_of_the_live_inputs(before: int, inputs: list[tuple[int, bool]], after: int) -> None:
    """Idle inputs do not count; all idle: the largest; it never goes back."""
    assert time_of_inputs(before, inputs) == after


@dataclass
class Two:
    """Two agents that write one windowed table, each from a topic of its own."""

    app: App
    closed: list[tuple[str, int]] = field(default_factory=list)
    times: list[tuple[str, int]] = field(default_factory=list)


def make_two() -> Two:
    """The same table for two topics: cogroup."""
    app = App("two")
    two = Two(app)

    def close(row: str, value: int) -> None:
        two.closed.append((row, value))

    table = make_windows(app, "windows", close)

    def agent(name: str) -> None:
        topic = app.topic(name, key_type=str, value_type=int)

        @app.agent(topic, name=name)
        async def count(stream: Any) -> None:
            async for key, value in stream.items():
                cursor, time = cursor_var.get(), table.shard_var.get().time
                assert cursor is not None
                assert time is not None
                two.times.append((name, time.now(cursor)))
                add(table, key, value)

    agent("left")
    agent("right")
    return two


def test_time_is_common_to_all_who_write_a_table() -> None:
    """One at its end does not hold the other back; what that closes is late for it."""
    two = make_two()
    with Driver(two.app) as driver:
        driver.send("left", key="a", value=1, timestamp=5)
        driver.send("right", key="a", value=1, timestamp=3)
        driver.send("right", key="a", value=1, timestamp=12)
        driver.send("left", key="a", value=1, timestamp=6)
        assert two.closed == [("a/10000", 2)]
        assert two.times == [("left", 5_000), ("right", 5_000), ("right", 12_000), ("left", 12_000)]
        assert driver.table("windows") == {"a/20000": 1}


def test_what_is_there_of_the_other_input_holds_time_back() -> None:
    """Records of both are there: neither's time is ahead of what the other has finished."""
    two = make_two()
    with Driver(two.app) as driver:
        for key, name, at in (("a", "left", 25), ("a", "right", 3), ("a", "right", 4)):
            message = {"key": key.encode(), "value": b"1", "timestamp": at * 1000}
            driver.logs.append(name, message, 0.0)
        driver.send("right", key="a", value=1, timestamp=30)
        assert sum(value for _, value in two.closed) == 3
        assert sorted(two.closed) == [("a/10000", 2), ("a/30000", 1)]


def test_one_agent_takes_two_topics_in_the_order_of_time() -> None:
    """A stream of several topics whose agent is timed: what is there of both comes merged, and nothing is late."""
    app = App("merged")
    seen: list[int] = []
    late: list[int] = []
    table = make_windows(app, "windows", lambda _row, _value: None)

    @app.agent(app.topic("left", "right", key_type=str, value_type=int))
    async def count(stream: Any) -> None:
        async for event in stream.events():
            seen.append(event.value)
            if not add(table, event.key, 1):
                late.append(event.value)

    with Driver(app) as driver:
        for name, at in (("left", 1), ("left", 11), ("left", 31), ("right", 5), ("right", 8), ("right", 32)):
            message = {"key": b"a", "value": b"%d" % at, "timestamp": at * 1000}
            driver.logs.append(name, message, 0.0)
        driver.send("right", key="a", value=40, timestamp=40)
        assert seen == [1, 5, 8, 11, 31, 32, 40]
        assert late == []
        assert driver.table("windows") == {"a/50000": 1}


def test_it_is_said_which_input_holds_time_back() -> None:
    """Where T is, and whom it waits for: an input with records that are not finished, or nobody."""
    two = make_two()
    with Driver(two.app) as driver:
        (time,) = driver.worker.engine.times.tasks.values()
        assert time.said() == (
            "event time of windows: not known yet; it waits for left[0], of which no record is finished yet",
        )
        driver.send("left", key="a", value=1, timestamp=5)
        (text,) = time.said()
        assert text.startswith("event time of windows: 1970-01-01T00:00:05.000+00:00; all inputs are at their ends")
        driver.logs.append("right", {"key": b"a", "value": b"1", "timestamp": 9_000}, 0.0)
        driver.worker.engine.feed(driver.worker.reads.poll(lambda count: count))
        (text,) = time.said()
        assert text.endswith(f"{LEFT_OUT}right[0], of which no record is finished yet")


def test_an_input_that_was_left_out_is_not_said_to_be_waited_for() -> None:
    """It has come back behind the others, which are at their ends: T stands until it has caught up.

    Once another one has records too, that one is waited for.
    """
    two = make_two()
    with Driver(two.app) as driver:
        (time,) = driver.worker.engine.times.tasks.values()
        driver.send("right", key="a", value=1, timestamp=2)
        driver.send("left", key="a", value=1, timestamp=5)
        driver.send("right", key="a", value=1, timestamp=3, commit=False)
        driver.logs.append("right", {"key": b"a", "value": b"1", "timestamp": 4_000}, 0.0)
        driver.worker.engine.feed(driver.worker.reads.poll(lambda count: count))
        (text,) = time.said()
        assert text.endswith(f"{LEFT_OUT}right[0], which is at 1970-01-01T00:00:03.000+00:00")
        driver.logs.append("left", {"key": b"a", "value": b"1", "timestamp": 7_000}, 0.0)
        driver.worker.engine.feed(driver.worker.reads.poll(lambda count: count))
        (text,) = time.said()
        assert text.endswith("it waits for left[0], which is at 1970-01-01T00:00:05.000+00:00")
