"""Windowed tables as people in a hurry write them: odd times, odd uses of table[key], values changed in place."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from streamcluster import App, AppError, Record
from streamcluster.errors import StreamclusterError
from streamcluster.testing import Driver
from streamcluster.windows.kinds import Window
from streamcluster.windows.windowed import WindowedTable

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
Body = Callable[[WindowedTable, str, Any], Any]


class Text(Record):
    time: str


class Number(Record):
    time: float | None


class Moment(Record):
    time: datetime


@pytest.fixture
def elsewhere() -> Iterator[None]:
    """A host whose clock shows the time of Tokyo."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()
    yield
    os.environ.pop("TZ") if before is None else os.environ.update(TZ=before)
    time.tzset()


def naive(seconds: int) -> datetime:
    """Without a zone."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)


def by_field(record: type[Any], *values: Any) -> tuple[dict[Any, Any], list[str]]:
    """Count records in minutes of their field `time`; the windows, and the reasons of the dead letters."""
    app = App("field", error_retries=0)
    events = app.topic("events", key_type=str, value_type=record)
    table = app.Table("views", key_type=str, default=int).tumbling(60).relative_to_field(record.time)

    @app.agent(events)
    async def count(stream: Any) -> None:
        async for _ in stream:
            table["a"] += 1

    with Driver(app) as driver:
        for value in values:
            driver.send(events, key="a", value=record(value), timestamp=1000)
        return dict(table.items()), [one.headers["dead-letter-error"].decode() for one in driver.dead_letters()]


def at_events(kind: Callable[[Any], WindowedTable], body: Body, default: Any, *sent: Any) -> WindowedTable:
    """Call `body` at events ("a", value) that come at the times; "crash" is one that loses the stores."""
    app = App("hurry", error_retries=0)
    events = app.topic("events", key_type=str)
    table = kind(app.Table("views", key_type=str, default=default))

    @app.agent(events)
    async def work(stream: Any) -> None:
        async for key, value in stream.items():
            body(table, key, value)

    with Driver(app) as driver:
        for one in sent:
            if one == "crash":
                driver.crash(lose_stores=True)
            else:
                driver.send(events, key="a", value=one[1], timestamp=one[0])
        assert driver.dead_letters() == []
        table.found = dict(table.items())  # type: ignore[attr-defined]
    return table


@pytest.mark.parametrize(
    ("record", "value", "said"),
    [
        (Text, "2026-11-29T12:00:00Z", "is '2026-11-29T12:00:00Z', a str: give seconds since 1970, or a datetime"),
        (Number, None, "is None, a NoneType: give seconds since 1970, or a datetime"),
        (Number, 1764417600000.0, "is 1764417600000.0, which no calendar has: give seconds since 1970, not millisec"),
    ],
)
def test_a_field_that_is_no_time_says_so(record: type[Any], value: Any, said: str) -> None:
    """Milliseconds opened a window in the year 57882 that nothing would ever close."""
    windows, dead = by_field(record, value)
    assert windows == {}
    assert len(dead) == 1
    assert f"table 'views': the time of the event {said}" in dead[0]


def test_a_datetime_without_a_zone_is_utc_on_every_host(elsewhere: None) -> None:
    """So a replay on another host counts in the same window."""
    windows, dead = by_field(Moment, NOON, NOON.replace(tzinfo=None))
    noon = NOON.timestamp()
    assert (windows, dead) == ({("a", Window(noon, noon + 60)): 2}, [])


def test_as_of_a_datetime_without_a_zone_is_utc(elsewhere: None) -> None:
    """As windows take it."""
    app = App("versions", error_retries=0)
    events = app.topic("events", key_type=str, value_type=int)
    table = app.Table("prices", key_type=str, default=int, history=3600)
    found = []

    @app.agent(events)
    async def keep(stream: Any) -> None:
        async for key, value in stream.items():
            table[key] = value
            found.append(table.as_of(naive(15)).get(key))

    with Driver(app) as driver:
        for at in (10, 20, 30):
            driver.send(events, key="a", value=at, timestamp=at)
    assert found == [10, 10, 10]


def test_as_of_an_event_s_text_fails_that_event_only() -> None:
    """It stopped the app."""
    app = App("versions", error_retries=0)
    events = app.topic("events", key_type=str, value_type=Text)
    table = app.Table("prices", key_type=str, default=int, history=3600)

    @app.agent(events)
    async def keep(stream: Any) -> None:
        async for key, value in stream.items():
            table[key] += 1
            table.as_of(value.time).get(key)

    with Driver(app) as driver:
        for at, text in ((10, "noon"), (20, "15")):
            driver.send(events, key="a", value=Text(text), timestamp=at)
        assert driver.table("prices") == {"a": 1}
        assert b"give seconds since 1970" in driver.dead_letters()[0].headers["dead-letter-error"]


USES: dict[str, Body] = {
    "compare": lambda table, key, _: table[key] == 0,  # type: ignore[comparison-overlap]
    "compare ": lambda table, key, _: table[key] > 0,  # type: ignore[operator]
    "ask whether it is true": lambda table, key, _: bool(table[key]),
    "reckon with": lambda table, key, _: table[key] + 1,  # type: ignore[operator]
    "look into": lambda table, key, _: list(table[key]),  # type: ignore[call-overload]
    "have no 'append'": lambda table, key, _: table[key].append(1),  # type: ignore[attr-defined]
    "[60] is no window": lambda table, key, _: table[key][60],
    "5 is no event": lambda table, key, _: table[key].value(5),  # type: ignore[arg-type]
    ".value(), .now()": lambda table, key, _: table.get(key),  # type: ignore[attr-defined]
    "window('x'): give seconds since 1970": lambda table, key, _: table[key].windows("x", 5),  # type: ignore[arg-type]
    "the table has windows": lambda table, key, _: table.table[key],  # type: ignore[index]
}


@pytest.mark.parametrize("said", USES)
def test_the_windows_of_a_key_are_not_taken_for_a_value(said: str) -> None:
    """`table[key] == 0` was False and `if table[key]` true, whatever was in the windows."""

    def use(table: WindowedTable, key: str, value: Any) -> None:
        with pytest.raises((TypeError, ValueError, AttributeError, StreamclusterError)) as caught:
            USES[said](table, key, value)
        assert said.strip() in str(caught.value)

    at_events(lambda table: table.tumbling(60), use, int, (1, 1))


def test_windows_are_read_between_datetimes() -> None:
    """A datetime without a zone is UTC."""
    found = []

    def read(table: WindowedTable, key: str, value: int) -> None:
        table[key] += value
        found.append(table[key].windows(naive(0), naive(120)))
        found.append(table[key][naive(0), datetime.fromtimestamp(60, UTC)])

    at_events(lambda table: table.tumbling(60), read, int, (1, 3))
    assert found == [[(Window(0, 60), 3)], 3]


@pytest.mark.parametrize("crash", [(), ("crash",)])
def test_a_list_given_to_several_windows_is_one_for_each(crash: tuple[str, ...]) -> None:
    """It was the same object in all, until a crash made several of it: what was appended depended on that."""

    def add(table: WindowedTable, key: str, value: str) -> None:
        if value == "first":
            found = table[key].value()
            found.append(value)
            table[key] = found
        else:
            table[key].value().append(value)

    table = at_events(lambda table: table.hopping(60, 20), add, list, (41, "first"), *crash, (45, "more"))
    assert table.found == {  # type: ignore[attr-defined]
        ("a", Window(0, 60)): ["first"],
        ("a", Window(20, 80)): ["first"],
        ("a", Window(40, 100)): ["first", "more"],
    }


def test_a_list_given_to_several_sliding_windows_is_one_for_each() -> None:
    """A function that changes the list and returns it was called on one list for all of them."""

    def add(table: WindowedTable, key: str, value: str) -> None:
        if value == "both":
            table[key] = [value]
        else:
            table[key].apply(appended, value)

    table = at_events(lambda table: table.sliding(60), add, list, (10, "first"), (20, "both"), (30, "more"))
    found = table.found  # type: ignore[attr-defined]
    assert {key: value for key, value in found.items() if "more" in value} == {
        ("a", Window(-30, 30)): ["both", "more"],
        ("a", Window(10.001, 70.001)): ["both", "more"],
        ("a", Window(20.001, 80.001)): ["more"],
    }


async def sends(*_: Any) -> Any:
    """As an agent with a sink would."""
    yield 1


@pytest.mark.parametrize(
    "use",
    [
        lambda app: app.Table("views", default=int).tumbling(60, grace=0).on_close(sends),
        lambda app: app.Table("views", default=int, on_window_close=sends),
        lambda app: app.timer(1)(sends),
        lambda app: app.task(sends),
        lambda app: app.stream(app.topic("events")).filter(sends),
    ],
)
def test_what_yields_where_nobody_takes_it_is_refused(use: Callable[[App], Any]) -> None:
    """on_close did nothing, and its windows were deleted."""
    with pytest.raises(AppError, match="yields, and nobody takes that here"):
        use(App("yields"))


def appended(values: list[str], value: str) -> list[str]:
    """Changes the list in place."""
    values.append(value)
    return values


@pytest.mark.parametrize("expires", [None, 3600])
@pytest.mark.parametrize("committed", [True, False])
def test_values_changed_in_place_of_windows_that_are_over_are_late(expires: float | None, committed: bool) -> None:
    """They stay what was given out; the event is counted and sent on as one that writes, once, and in its commit."""
    app = App("in-place")
    events = app.topic("events", key_type=str, value_type=int, partitions=1)
    late = app.topic("late", key_type=str, value_type=int, partitions=1)
    closed = app.topic("closed", key_type=str, value_type=list, partitions=1)
    table = app.Table("views", key_type=str, default=list).tumbling(60, grace=0, late=late, expires=expires)

    @app.agent(events)
    async def collect(stream: Any) -> None:
        async for page, number in stream.items():
            table[page].delta(60)
            table[page].value().append(number)
            table[page].value().append(-number)

    @table.on_close
    async def over(page: str, window: Window, numbers: list[int]) -> None:
        await closed.send(key=page, value=[window.start, numbers])

    with Driver(app) as driver:
        driver.send(events, key="a", value=1, timestamp=60)
        driver.send(events, key="z", value=2, timestamp=120, commit=committed)
        # The row is there still, if it is not committed that its window is over.
        driver.send(events, key="a", value=3, timestamp=119, commit=False)
        driver.send(events, key="b", value=4, timestamp=119, commit=False)
        driver.crash()
        driver.send(events, key="y", value=5, timestamp=180)
        assert [(one.key, one.value, one.headers["late-by"]) for one in driver.output(late)] == [
            ("a", 3, b"0.0"),
            ("b", 4, b"0.0"),
        ]
        assert [(one.key, one.value) for one in driver.output(closed)] == [
            ("a", [60.0, [1, -1]]),
            ("z", [120, [2, -2]]),
        ]
        kept = {("y", Window(180, 240)): [5, -5]}
        if expires is not None:
            kept |= {("a", Window(60, 120)): [1, -1], ("z", Window(120, 180)): [2, -2]}
        assert driver.table("views") == kept
        assert driver.dead_letters() == []


def test_an_event_that_writes_several_windows_is_late_once() -> None:
    """Who reads the topic of late events does each again, with all that it writes."""
    app = App("several")
    events = app.topic("events", key_type=str, value_type=int, partitions=1)
    late = app.topic("late", key_type=str, value_type=int, partitions=1)
    table = app.Table("views", key_type=str, default=int).tumbling(60, grace=0, late=late)
    lists = app.Table("lists", key_type=str, default=list).tumbling(60, grace=0, late=late)

    @app.agent(events)
    async def count(stream: Any) -> None:
        async for page, number in stream.items():
            table[page] += number
            table["all"] += number
            lists[page].value().append(number)
            lists["all"] += [number]

    with Driver(app) as driver:
        driver.send(events, key="z", value=1, timestamp=120)
        for number in (2, 3):
            driver.send(events, key="a", value=number, timestamp=60, commit=False)
        driver.crash()
        assert sorted((one.headers["late-table"], one.value) for one in driver.output(late)) == [
            (b"lists", 2),
            (b"lists", 3),
            (b"views", 2),
            (b"views", 3),
        ]
        (time,) = driver.worker.engine.times.tasks.values()
        assert {name: operator.late_total for name, operator in time.operators.items()} == {"views": 2, "lists": 2}
