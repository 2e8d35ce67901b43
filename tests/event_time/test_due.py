"""Rows that come due by event time: each is handled once, in order, whatever crashes in between."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from streamcluster import App, Stream
from streamcluster.current import cursor_var
from streamcluster.testing import Driver
from streamcluster.times import NO_TIME
from tests.event_time.windows_by_hand import add, make_windows


@dataclass
class Counting:
    """Counts of windows of 10 seconds, made by hand: what windowed tables will do. Late events are noted."""

    app: App
    handled: list[tuple[str, int]] = field(default_factory=list)
    late: list[Any] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    fails: set[str] = field(default_factory=set)


def make_counting(closing: dict[str, Any] | None = None, **settings: Any) -> Counting:
    app = App("timed", **settings)
    counting = Counting(app)
    closed = app.topic("closed", key_type=str, value_type=int, partitions=1)
    events = app.topic("events", key_type=str, value_type=int)

    async def close(key: str, value: int) -> None:
        counting.handled.append((key, value))
        if key in counting.fails:
            raise ValueError(key)
        await closed.send(key=key, value=value)

    table = make_windows(app, "views", close, **(closing or {}))

    @app.agent(events)
    async def count(stream: Any) -> None:
        async for key, value in stream.items():
            cursor, time = cursor_var.get(), table.shard_var.get().time
            assert cursor is not None
            assert time is not None
            counting.times.append(time.now(cursor))
            if not add(table, key, value):
                counting.late.append((key, cursor.timestamp()))

    return counting


def closed(driver: Driver) -> list[tuple[str, int]]:
    return [(one.key, one.value) for one in driver.output("closed")]


def test_now_is_the_largest_timestamp_up_to_the_event() -> None:
    """T at an event counts its own partition up to it, in the order of the log."""
    counting = make_counting()
    with Driver(counting.app) as driver:
        for at in (5, 3, 9, 7):
            driver.send("events", key="a", value=1, timestamp=at)
    assert counting.times == [5_000, 5_000, 9_000, 9_000]


def test_rows_that_are_due_are_handled_oldest_first_and_are_gone() -> None:
    """What T has passed is handled oldest first, once, and deleted; what comes for it then is late."""
    counting = make_counting()
    with Driver(counting.app) as driver:
        for key, at in (("b", 1), ("a", 2), ("a", 3), ("c", 12), ("a", 9)):
            driver.send("events", key=key, value=1, timestamp=at)
        # At 12 the first window is over; what comes for it then is late.
        assert closed(driver) == [("a/10000", 2), ("b/10000", 1)]
        assert counting.late == [("a", 9_000)]
        assert driver.table("views") == {"c/20000": 1}
        driver.send("events", key="a", value=1, timestamp=30)
        assert closed(driver)[2:] == [("c/20000", 1)]


@pytest.mark.parametrize("lose_stores", [False, True])
def test_time_comes_back_after_a_crash(lose_stores: bool) -> None:
    """T is committed with the position, and comes back with the store or from the changelog."""
    counting = make_counting()
    with Driver(counting.app) as driver:
        driver.send("events", key="a", value=1, timestamp=1)
        driver.send("events", key="a", value=1, timestamp=15)
        driver.crash(lose_stores=lose_stores)
        driver.send("events", key="a", value=1, timestamp=2)
        assert counting.late == [("a", 2_000)]
        assert closed(driver) == [("a/10000", 1)]
        driver.send("events", key="a", value=1, timestamp=20)
        assert closed(driver) == [("a/10000", 1), ("a/20000", 1)]


def test_what_moved_time_and_was_not_committed_moves_it_again() -> None:
    """A crash before the commit: nothing was closed, and the same event closes it afterwards."""
    counting = make_counting()
    with Driver(counting.app) as driver:
        driver.send("events", key="a", value=1, timestamp=1)
        driver.send("events", key="a", value=1, timestamp=15, commit=False)
        assert closed(driver) == []
        driver.crash()
        assert closed(driver) == [("a/10000", 1)]
        assert driver.table("views") == {"a/20000": 1}


def test_a_row_whose_handler_fails_goes_to_the_dead_letters() -> None:
    """A row that its handler cannot take is given up as an event is, and the others are handled."""
    counting = make_counting(error_retries=2)
    counting.fails = {"a/10000"}
    with Driver(counting.app) as driver:
        driver.send("events", key="a", value=1, timestamp=1)
        driver.send("events", key="b", value=1, timestamp=2)
        driver.send("events", key="b", value=5, timestamp=15)
        driver.advance(10)
        assert closed(driver) == [("b/10000", 1)]
        (letter,) = driver.dead_letters()
        assert letter.key == b'"a/10000"'
        assert driver.table("views") == {"b/20000": 5}


def test_more_rows_than_a_page_come_due_at_once() -> None:
    """Pages follow each other without a new event."""
    counting = make_counting()
    with Driver(counting.app) as driver:
        for number in range(2500):
            driver.send("events", key=f"k{number}", value=1, timestamp=1, commit=False)
        driver.send("events", key="z", value=1, timestamp=11)
        assert closed(driver) == sorted((f"k{number}/10000", 1) for number in range(2500))


def test_nothing_is_known_at_first() -> None:
    """Before the first record T is before every timestamp."""
    counting = make_counting()
    with Driver(counting.app) as driver:
        (time,) = driver.worker.engine.times.tasks.values()
        assert time.operators["views"].finished == NO_TIME


def test_the_last_window_of_a_quiet_topic_closes_with_the_clock() -> None:
    """All inputs are idle behind live data: after close_idle_after T is the time of day, and not before."""
    counting = make_counting()
    with Driver(counting.app) as driver:
        driver.send("events", key="a", value=1, timestamp=1_000_001)
        driver.advance(59)
        assert closed(driver) == []
        driver.advance(2)
        assert closed(driver) == [("a/1000010000", 1)]
        driver.send("events", key="a", value=1, timestamp=1_000_005)
        assert counting.late == [("a", 1_000_005_000)]


def test_time_stands_still_behind_old_data() -> None:
    """What was old when it was read was uploaded: nobody knows how old the next record will be."""
    counting = make_counting()
    with Driver(counting.app, start_time=2_000_000) as driver:
        driver.send("events", key="a", value=1, timestamp=1_000_001)
        driver.advance(1_000)
        assert closed(driver) == []
        driver.send("events", key="a", value=1, timestamp=1_000_005)
        assert counting.late == []


def test_a_record_from_the_future_does_not_move_time() -> None:
    """A clock that is wrong by more than max_ahead closes nothing."""
    counting = make_counting(max_ahead=100.0)
    with Driver(counting.app, start_time=1_000_000) as driver:
        driver.send("events", key="a", value=1, timestamp=1_000_001)
        driver.send("events", key="a", value=1, timestamp=1_005_000)
        driver.send("events", key="a", value=1, timestamp=1_000_002)
        assert counting.late == []
        assert closed(driver) == []
        driver.send("events", key="a", value=1, timestamp=1_000_050)
        assert closed(driver) == [("a/1000010000", 2)]


def test_out_of_orderness_holds_time_back() -> None:
    """The watermark is that much below the largest timestamp."""
    counting = make_counting(max_out_of_orderness=5.0)
    with Driver(counting.app) as driver:
        for at in (1, 12, 9, 15):
            driver.send("events", key="a", value=1, timestamp=at)
        assert counting.times == [-4_000, 7_000, 7_000, 10_000]
        assert counting.late == []
        assert closed(driver) == [("a/10000", 2)]


@pytest.mark.parametrize("lose_stores", [False, True])
def test_rows_that_stay_are_handled_once(lose_stores: bool) -> None:
    """The position is behind them, after a crash too; a delay and an exclusive bound are kept."""
    counting = make_counting({"deletes": False, "delay_ms": 2_000, "is_inclusive": False})
    with Driver(counting.app) as driver:
        driver.send("events", key="a", value=1, timestamp=1)
        driver.send("events", key="a", value=1, timestamp=12)
        assert closed(driver) == []
        driver.send("events", key="a", value=1, timestamp=12.001)
        assert closed(driver) == [("a/10000", 1)]
        driver.crash(lose_stores=lose_stores)
        driver.send("events", key="a", value=1, timestamp=30)
        assert closed(driver) == [("a/10000", 1), ("a/20000", 2)]
        assert driver.table("views") == {"a/10000": 1, "a/20000": 2, "a/40000": 1}


@pytest.mark.parametrize("steps", range(8))
@pytest.mark.parametrize("lose_stores", [False, True])
def test_a_crash_at_each_step_of_a_close_repeats_and_loses_nothing(steps: int, lose_stores: bool) -> None:
    """Time moves, that is committed, rows come due, they are handled, that is committed: once, wherever it stops."""
    counting = make_counting()
    with Driver(counting.app) as driver:
        for key in "abc":
            driver.send("events", key=key, value=1, timestamp=1)
        driver.logs.append("events", {"key": b"a", "value": b"1", "timestamp": 12_000}, 0.0)
        for _ in range(steps):
            driver.run(driver.worker.pump.step())
        driver.crash(lose_stores=lose_stores)
        assert closed(driver) == [("a/10000", 1), ("b/10000", 1), ("c/10000", 1)]
        assert driver.table("views") == {"a/20000": 1}


def test_a_test_may_say_what_time_it_is() -> None:
    """Without a record, and that is committed as what records say."""
    counting = make_counting()
    with Driver(counting.app) as driver:
        driver.send("events", key="a", value=1, timestamp=1)
        driver.time(10)
        assert closed(driver) == [("a/10000", 1)]
        driver.crash(lose_stores=True)
        driver.send("events", key="a", value=1, timestamp=2)
        assert counting.late == [("a", 2_000)]


@pytest.mark.parametrize("place", [26_000, 31_000])
def test_the_driver_tells_of_a_row_that_nobody_expects(place: int) -> None:
    """One that is due before the next that is known: it would be late, and nobody would know why."""
    app = App("forgetful", max_ahead=None)
    events = app.topic("events", key_type=str, value_type=int, partitions=1)
    windows = make_windows(app, "windows", None)

    @app.agent(events, name="count")
    async def count(stream: Stream[int]) -> None:
        async for key, value in stream.items():
            if key == "forgets":
                windows[f"{key}/{value}"] = 1
            else:
                add(windows, key, value)

    with Driver(app) as driver:
        for time in (1, 25):
            driver.send("events", key="a", value=1, timestamp=time)
        if place > 30_000:
            driver.send("events", key="forgets", value=place, timestamp=25)
            return
        with pytest.raises(AssertionError, match="written without expect"):
            driver.send("events", key="forgets", value=place, timestamp=25)
