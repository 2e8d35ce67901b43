"""Windowed tables on the driver: what agents write, what closes, what is late, and what a crash changes: nothing."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcluster import App, AppError, Record, current_event
from streamcluster.codecs.table_coding import make_table_coder
from streamcluster.testing import Driver
from streamcluster.windows.keys import END_INDEX, windowed
from streamcluster.windows.kinds import DAY_MS, Days, Hopping, Window
from streamcluster.windows.windowed import WindowedTable

YEAR_MS = 366 * DAY_MS
ZONES = ("Europe/Berlin", "America/Sao_Paulo", "Asia/Beirut", "Australia/Lord_Howe", "America/Havana", "UTC")


class View(Record):
    page: str
    time: float


@dataclass
class Counting:
    app: App
    views: WindowedTable


def counting(**window: Any) -> Counting:
    """Counts events by key in windows of 10 seconds; what closes goes to "closed"."""
    app = App("counting", error_retries=2)
    late = app.topic("late", key_type=str, value_type=int, partitions=1)
    closed = app.topic("closed", key_type=str, value_type=list, partitions=1)
    events = app.topic("events", key_type=str, value_type=int)
    views = app.Table("views", key_type=str, default=int).tumbling(10, **{"grace": 5, "late": late, **window})

    @app.agent(events)
    async def count(stream: Any) -> None:
        async for page, number in stream.items():
            views[page] += number

    @views.on_close
    async def close(page: str, window: Window, number: int) -> None:
        if number > 100:
            raise ValueError(number)
        await closed.send(key=page, value=[window.start, window.end, number])

    return Counting(app, views)


def closed_by(driver: Driver) -> list[tuple[str, list[float]]]:
    return [(one.key, one.value) for one in driver.output("closed")]


EVENTS = (("a", 1), ("b", 2), ("a", 3), ("a", 12), ("a", 9), ("a", 15), ("a", 8.5), ("b", 40))
CLOSED = [("a", [0, 10, 3]), ("b", [0, 10, 1]), ("a", [10, 20, 2])]


@pytest.mark.parametrize("lose_stores", [False, True])
@pytest.mark.parametrize("is_committed", [False, True])
@pytest.mark.parametrize("crash_at", range(1, len(EVENTS) + 1))
def test_each_window_closes_once_whatever_crashes(crash_at: int, is_committed: bool, lose_stores: bool) -> None:
    """Windows close oldest first, each once, and late events change nothing, with a crash at any event."""
    made = counting()
    with Driver(made.app) as driver:
        for number, (key, at) in enumerate(EVENTS, 1):
            driver.send("events", key=key, value=1, timestamp=at, commit=is_committed or number != crash_at)
            if number == crash_at:
                driver.crash(lose_stores=lose_stores)
        assert closed_by(driver) == CLOSED
        assert dict(made.views.items()) == {("b", Window(40, 50)): 1}
        assert [(one.key, one.timestamp) for one in driver.output("late")] == [("a", 8.5)]


def test_late_events_say_why() -> None:
    """A late event goes to its topic as it was, with headers that say which window, when and by how much."""
    made = counting()
    with Driver(made.app) as driver:
        driver.send("events", key="a", value=1, timestamp=30)
        driver.send("events", key="a", value=7, timestamp=2, headers={"of": "me"})
        (late,) = driver.output("late")
        assert (late.key, late.value, late.timestamp) == ("a", 7, 2)
        said = {name: value.decode() for name, value in late.headers.items()}
        assert said == {
            "of": "me",
            "late-table": "views",
            "late-window": "[0.0,10.0]",
            "late-time": "30.0",
            "late-by": "15.0",
            "late-timestamp": "2.0",
        }
        assert made.views.late_total == 1


def test_a_window_whose_function_fails_goes_to_the_dead_letters() -> None:
    """The others close, and the one that failed is kept as an event would be."""
    made = counting()
    with Driver(made.app) as driver:
        driver.send("events", key="a", value=200, timestamp=1)
        driver.send("events", key="b", value=2, timestamp=2)
        driver.send("events", key="b", value=5, timestamp=30)
        driver.advance(60)
        (letter,) = driver.dead_letters()
        assert letter.key == b'["a",[0.0,10.0]]'
        assert closed_by(driver)[0] == ("b", [0, 10, 2])


def test_windows_close_by_themselves_on_a_quiet_topic() -> None:
    """Behind live data time goes on, and the last window closes without another event."""
    made = counting()
    with Driver(made.app) as driver:
        driver.send("events", key="a", value=1, timestamp=1)
        assert closed_by(driver) == []
        driver.advance(120)
        assert closed_by(driver) == [("a", [0, 10, 1])]


def test_minutes_are_summed_up_to_hours() -> None:
    """What closes is of the last moment of its window, so the last minute of an hour is in that hour, and not late."""
    app = App("hours")
    events = app.topic("events", key_type=str, value_type=int)
    minutes = app.Table("minutes", key_type=str, default=int).tumbling(60, grace=0)
    hours = app.Table("hours", key_type=str, default=int).tumbling(3600, grace=0)
    closed: list[Any] = []

    @app.agent(events)
    async def count(stream: Any) -> None:
        async for page, number in stream.items():
            minutes[page] += number

    @minutes.on_close
    def add(page: str, window: Window, number: int) -> None:
        hours[page] += number

    @hours.on_close
    def close(page: str, window: Window, number: int) -> None:
        closed.append((page, window, number))

    with Driver(app) as driver:
        for at in (1, 3590, 3600):
            for page in "ab":
                driver.send("events", key=page, value=1, timestamp=at, commit=False)
        driver.send("events", key="a", value=1, timestamp=7300)
        assert closed[:2] == [("a", (0, 3600), 2), ("b", (0, 3600), 2)]
        assert hours.late_total == 0


def test_expires_keeps_closed_windows_to_be_read() -> None:
    """A window that is closed, and can be read until it expires, takes no event any more and closes once."""
    made = counting(expires=60)
    with Driver(made.app) as driver:
        driver.send("events", key="a", value=1, timestamp=1)
        driver.send("events", key="a", value=1, timestamp=20)
        driver.send("events", key="a", value=1, timestamp=2)
        assert closed_by(driver) == [("a", [0, 10, 1])]
        assert made.views["a"].windows(0, 100) == [(Window(0, 10), 1), (Window(20, 30), 1)]
        driver.send("events", key="a", value=1, timestamp=71)
        assert made.views["a"].windows(0, 100) == [(Window(20, 30), 1), (Window(70, 80), 1)]


def test_fausts_accessors() -> None:
    """value, current, delta and [event] are of the event's window; assignment writes all of its windows."""
    app = App("accessors")
    events = app.topic("events", key_type=str, value_type=int)
    views = app.Table("views", key_type=str, default=int).hopping(10, 5, expires=100)
    seen: list[Any] = []

    @app.agent(events)
    async def count(stream: Any) -> None:
        async for page, number in stream.items():
            event = current_event()
            if number < 0:
                views[page] = -number
            else:
                views[page] += number
            windows = views[page]
            seen.append((windows.value(), windows.current(), windows.delta(5), windows[event], windows[(0, 10)]))

    with Driver(app) as driver:
        driver.send("events", key="a", value=1, timestamp=6)
        driver.send("events", key="a", value=2, timestamp=11)
        driver.send("events", key="a", value=-7, timestamp=12)
        assert seen == [(1, 1, 1, 1, 1), (2, 2, 3, 2, 1), (7, 7, 7, 7, 1)]
        assert dict(views.items()) == {("a", (0, 10)): 1, ("a", (5, 15)): 7, ("a", (10, 20)): 7}


def test_values_that_are_changed_in_place_are_kept() -> None:
    """What `value()` hands out is the table's own, and closes with the window."""
    app = App("lists")
    events = app.topic("events", key_type=str, value_type=int)
    views = app.Table("views", key_type=str, default=list).tumbling(10)
    closed: list[Any] = []

    @app.agent(events)
    async def count(stream: Any) -> None:
        async for page, number in stream.items():
            views[page].value().append(number)

    @views.on_window_close
    def close(key: Any, numbers: list[int]) -> None:
        closed.append((key, numbers))

    with Driver(app) as driver:
        for at, number in ((1, 4), (2, 5), (11, 6)):
            driver.send("events", key="a", value=number, timestamp=at)
        # Faust's signature: (key, (start, end)), value.
        assert closed == [(("a", (0, 10)), [4, 5])]


def test_sessions_are_joined_by_an_event_between_them() -> None:
    """Two sessions become one, whose value `merge` makes."""
    app = App("sessions")
    events = app.topic("events", key_type=str, value_type=int)
    visits = app.Table("visits", key_type=str, default=int).session(10, grace=30)

    @app.agent(events)
    async def count(stream: Any) -> None:
        async for page, number in stream.items():
            visits[page] += number

    with Driver(app) as driver:
        for at in (1, 20, 11):
            driver.send("events", key="a", value=1, timestamp=at)
        driver.send("events", key="ab", value=1, timestamp=20)
        assert dict(visits.items()) == {("a", (1, 20)): 3, ("ab", (20, 20)): 1}
        driver.crash(lose_stores=True)
        assert dict(visits.items()) == {("a", (1, 20)): 3, ("ab", (20, 20)): 1}


def test_relative_to_field() -> None:
    """The window is that of a field of the value."""
    app = App("fields")
    events = app.topic("events", key_type=str, value_type=View)
    views = app.Table("views", key_type=str, default=int).tumbling(10).relative_to_field(View.time)

    @app.agent(events)
    async def count(stream: Any) -> None:
        async for view in stream:
            views[view.page] += 1

    with Driver(app) as driver:
        driver.send("events", key="a", value=View(page="p", time=25.5), timestamp=3)
        assert dict(views.items()) == {("p", (20, 30)): 1}


@pytest.mark.parametrize(
    ("declare", "says"),
    [
        (lambda table: table.hopping(10, 20), "step=20 is longer than size=10"),
        (lambda table: table.tumbling(0), "a millisecond or more"),
        (lambda table: table.tumbling("1m"), "is no duration"),
        (lambda table: table.tumbling(3600, tz="Europe/Berlin"), "whole days"),
        (lambda table: table.tumbling(86400, tz="Europe/Atlantis"), "no time zone"),
        (lambda table: table.tumbling(10, late="late"), "is no topic"),
        (lambda table: table.session(10), "say with merge="),
        (lambda table: table.tumbling(10).on_close(lambda key, window, value: None), "on_close needs grace="),
        (lambda table: table.tumbling(10, grace=0).on_close(lambda key: None), "takes (key, window, value)"),
        (lambda table: table.tumbling(10).relative_to_field("time"), "is no field of a Record"),
        (lambda table: (table.tumbling(10), table.tumbling(20)), "has windows already"),
    ],
)
def test_what_cannot_be_is_refused_where_it_is_declared(declare: Any, says: str) -> None:
    """The message says what to write instead."""
    table = App("refusals").Table("views", default=frozenset)
    with pytest.raises(AppError) as refused:
        declare(table)
    assert says in str(refused.value)


def test_merge_makes_sessions_of_any_values() -> None:
    """A function of two values is enough."""
    table = App("merges").Table("views", default=frozenset)
    assert table.session(10, merge=operator.or_).merged({1}, {2}) == {1, 2}


@given(
    at=st.integers(-YEAR_MS, 100 * YEAR_MS),
    size=st.integers(1, 10 * DAY_MS),
    parts=st.integers(1, 20),
    offset=st.integers(0, DAY_MS),
)
def test_hopping_windows_are_all_that_hold_the_time(at: int, size: int, parts: int, offset: int) -> None:
    """Each holds it, they are a step apart, and there is no room for another; none begins before 1970 needlessly."""
    step = max(1, size // parts)
    spans = Hopping(size, step, offset).spans(at)
    assert all(start <= at < end and end - start == size and (start - offset) % step == 0 for start, end in spans)
    assert [start for start, _ in spans] == list(range(spans[0][0], spans[-1][0] + 1, step))
    assert spans[-1][0] + step > at
    assert spans[0][1] - step <= at or spans[0][0] - step < 0 <= at
    assert Hopping(size, step, offset).current(at) == spans[-1]


@given(
    at=st.integers(0, 80 * YEAR_MS),
    days=st.integers(1, 7),
    zone=st.sampled_from(ZONES),
    hours=st.integers(0, 23),
)
def test_days_hold_the_time_and_follow_each_other(at: int, days: int, zone: str, hours: int) -> None:
    """A day begins where the one before it ends, at its hour of the zone."""
    kind = Days(days, ZoneInfo(zone), hours * 3_600_000)
    ((start, end),) = kind.spans(at)
    assert start <= at < end
    assert abs(end - start - days * DAY_MS) <= 3_600_000
    assert kind.current(end)[0] == end
    assert kind.current(start - 1)[1] == start


def test_days_have_23_and_25_hours() -> None:
    """Where the clock is put forward and back."""
    berlin = Days(1, ZoneInfo("Europe/Berlin"))
    lengths = []
    for month, day in ((3, 29), (6, 1), (10, 25)):
        noon = datetime(2026, month, day, 11, tzinfo=UTC)
        start, end = berlin.current(round(noon.timestamp() * 1000))
        lengths.append(timedelta(milliseconds=end - start) // timedelta(hours=1))
    assert lengths == [23, 24, 25]


@pytest.mark.parametrize("at", [1_750_000_000_000_000, 1 << 62, 253_402_300_799_000, -62_135_596_800_001])
def test_a_time_that_the_calendar_does_not_have_is_said(at: int) -> None:
    """As of microseconds where milliseconds are meant; windows that are no days take it."""
    with pytest.raises(AppError, match=f"the time {at} ms is on no day of Europe/Berlin: .* another unit"):
        Days(1, ZoneInfo("Europe/Berlin")).spans(at)


@given(key=st.text() | st.integers(), start=st.integers(-(1 << 50), 1 << 50), size=st.integers(0, 1 << 40))
def test_row_keys_come_back(key: Any, start: int, size: int) -> None:
    """To the millisecond, and the index knows the end."""
    encode, decode = windowed(make_table_coder(None, None, is_key=True, allow_pickle=False))
    data = encode((key, start, start + size))
    assert decode(data) == (key, start, start + size)
    assert END_INDEX.entry(data, b"") is not None
    assert END_INDEX.place(data[:5], b"") is None
