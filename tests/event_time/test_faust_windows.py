"""Programs with windows as Faust's users write them: only the import is another one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import streamcluster as faust
from streamcluster import AppError, NotOffered
from streamcluster.testing import Driver
from streamcluster.windows import HoppingWindow, TumblingWindow


class View(faust.Record):
    """A page that was seen."""

    page: str
    user: str = ""


class Reading(faust.Record):
    """A value that was measured, with its own time."""

    date: datetime
    value: float


def at(seconds: float) -> datetime:
    """As a field has it."""
    return datetime.fromtimestamp(seconds, UTC)


def test_page_views_by_the_minute() -> None:
    """tumbling(size, expires=, key_index=True), and the views of now, the event and before."""
    app = faust.App("views")
    page_views = app.topic("page_views", value_type=View)
    views = app.Table("views", default=int).tumbling(timedelta(minutes=1), expires=timedelta(hours=1), key_index=True)
    seen: list[Any] = []

    @app.agent(page_views)
    async def count(stream: faust.Stream[View]) -> None:
        async for view in stream.group_by(View.page):
            views[view.page] += 1
            if view.user == "admin":
                seen.append((dict(views.items().current()), dict(views.items().delta(60))))
                seen.append((sorted(views.keys().current()), sorted(views.values().delta(timedelta(minutes=1)))))
                seen.append((view.page in views, "none" in views, views[view.page].delta(60)))

    with Driver(app) as driver:
        for time, page, user in [(0, "home", "a"), (10, "cart", "a"), (20, "home", "b"), (70, "home", "admin")]:
            driver.send("page_views", value=View(page, user), timestamp=time)
        assert seen == [({"home": 1}, {"home": 2, "cart": 1}), (["home"], [1, 2]), (True, False, 2)]
        assert (len(views), "home" in views, "none" in views) == (3, True, False)


def test_aggregate_of_a_list_when_its_window_closes() -> None:
    """on_window_close= with (key, (start, end)), relative_to_field, and a list that is read, changed and assigned."""
    app = faust.App("windowed-agg", max_ahead=None)
    source = app.topic("raw-event", value_type=Reading)
    sink = app.topic("agg-event", value_type=dict)

    def window_processor(key: Any, events: list[Reading]) -> None:
        values = [event.value for event in events]
        sink.send_soon(value={"start": key[1][0], "count": len(values), "mean": sum(values) / len(values)})

    tumbling_table = (
        app.Table("tumbling_table", default=list, partitions=1, on_window_close=window_processor)
        .tumbling(10, expires=timedelta(seconds=1))
        .relative_to_field(Reading.date)
    )

    @app.agent(source)
    async def collect(stream: faust.Stream[Reading]) -> None:
        async for event in stream:
            value_list = tumbling_table["events"].value()
            value_list.append(event)
            tumbling_table["events"] = value_list

    with Driver(app) as driver:
        for time, value in [(0, 1.0), (3, 2.0), (11, 5.0), (25, 7.0)]:
            driver.send("raw-event", value=Reading(at(time), value), timestamp=time)
        assert [one.value for one in driver.output("agg-event")] == [
            {"start": 0, "count": 2, "mean": 1.5},
            {"start": 10, "count": 1, "mean": 5.0},
        ]


def test_hopping_with_window_and_a_dict() -> None:
    """window=HoppingWindow(...): each event is in five windows, whose dicts are changed in place."""
    app = faust.App("power", max_ahead=None)
    telemetry = app.topic("telemetry", key_type=str, value_type=float)
    aggregates = app.Table(
        "power_aggregates",
        default=dict,
        window=faust.HoppingWindow(size=timedelta(minutes=10), step=timedelta(minutes=2), expires=600),
    )
    seen: list[Any] = []

    @app.agent(telemetry)
    async def process(stream: faust.Stream[float]) -> None:
        async for device, watts in stream.items():
            before = aggregates[device].value()
            aggregates[device] = {"sum": before.get("sum", 0) + watts}
            seen.append((aggregates[device].current(), aggregates[device].delta(timedelta(minutes=4))))

    with Driver(app) as driver:
        for time, value in [(0, 1.0), (130, 2.0), (400, 4.0)]:
            driver.send("telemetry", key="d", value=value, timestamp=time)
        # By the newest window of each event.
        assert seen == [({"sum": 1.0}, {}), ({"sum": 2.0}, {}), ({"sum": 4.0}, {"sum": 4.0})]


def test_using_window_and_two_views_of_one_table() -> None:
    """relative_to_... gives another view of the same windows, and leaves the first as it is."""
    app = faust.App("orders", max_ahead=None)
    orders = app.topic("orders", key_type=str, value_type=Reading)
    totals = app.Table("totals", default=float).using_window(TumblingWindow(60.0, expires=3600.0), key_index=True)
    by_date = totals.relative_to_field(Reading.date)
    by_call = totals.relative_to(lambda event: event.value.date)
    seen: list[Any] = []

    @app.agent(orders)
    async def add(stream: faust.Stream[Reading]) -> None:
        async for event in stream.events():
            totals[event.key] += event.value.value
            seen.append((totals[event.key].value(), by_date[event.key].value(), by_call[event.key][event]))

    with Driver(app) as driver:
        driver.send("orders", key="k", value=Reading(at(10), 5.0), timestamp=70)
        driver.send("orders", key="k", value=Reading(at(70), 3.0), timestamp=75)
        assert seen == [(5.0, 0.0, 5.0), (8.0, 8.0, 8.0)]


def test_clear_a_window_and_close_it_under_fausts_name() -> None:
    """del table[key] takes what the event's windows have; @table.on_window_close is told of what is left."""
    app = faust.App("fraud", max_ahead=None)
    attempts = app.topic("attempts", key_type=str, value_type=str)
    alerts = app.topic("alerts", key_type=str, value_type=int)
    failed = app.Table("failed", default=int, window=faust.TumblingWindow(30))

    @app.agent(attempts)
    async def watch(stream: faust.Stream[str]) -> None:
        async for user, what in stream.items():
            if what == "login":
                del failed[user]
            else:
                failed[user] += 1

    @failed.on_window_close
    async def closed(key: tuple[str, tuple[float, float]], count: int) -> None:
        await alerts.send(key=key[0], value=count)

    with Driver(app) as driver:
        for time, user, what in [(0, "a", "no"), (1, "b", "no"), (2, "a", "login"), (3, "b", "no"), (40, "c", "no")]:
            driver.send("attempts", key=user, value=what, timestamp=time)
        assert [(one.key, one.value) for one in driver.output("alerts")] == [("b", 2)]


def test_ranges_of_the_classes() -> None:
    """As values, windows say which ones a time is in."""
    assert TumblingWindow(10).ranges(25) == [(20, 30)]
    assert TumblingWindow(timedelta(seconds=10)).current(25) == (20, 30)
    assert TumblingWindow(10).delta(25, 10) == (10, 20)
    hopping = HoppingWindow(10, 5, expires=60)
    assert hopping.ranges(12) == [(5, 15), (10, 20)]
    assert (hopping.earliest(12), hopping.current(12), hopping.delta(12, 5)) == ((5, 15), (10, 20), (5, 15))
    assert TumblingWindow(10, offset=3).ranges(25) == [(23, 33)]
    assert TumblingWindow(10) == TumblingWindow(10)


@pytest.mark.parametrize(
    ("use", "text"),
    [
        (lambda _: faust.SlidingWindow, "no table of Faust's can use it"),  # type: ignore[attr-defined]
        (lambda _: faust.windows.SlidingWindow, "call .sliding"),  # type: ignore[attr-defined]
        (lambda _: faust.Window, "annotate with TumblingWindow"),  # type: ignore[attr-defined]
        (lambda _: TumblingWindow(10).stale, "windows go as event time passes them"),  # type: ignore[attr-defined]
        (lambda app: app.Table("t", window=TumblingWindow(10)).clone, "call .relative_to"),
        (lambda app: app.Table("t").tumbling(10).key_index, "use .items()"),
        (lambda app: app.Table("t").tumbling(10).as_ansitable(), "use `streamcluster table"),
        (lambda app: app.Table("t").tumbling(10).setdefault("k", 1), "write windows by"),
    ],
)
def test_what_is_not_offered_says_what_to_use(use: Callable[[faust.App], Any], text: str) -> None:
    """At the name, not later."""
    with pytest.raises(NotOffered, match=text):
        use(faust.App("x"))


def test_what_makes_no_sense_is_refused() -> None:
    """Something else as a window, a callback without windows, and two callbacks."""
    app = faust.App("x")
    with pytest.raises(AppError, match="window=60 is none: give TumblingWindow"):
        app.Table("a", window=60)
    with pytest.raises(AppError, match="step=20 is longer than size=10"):
        app.Table("b", window=HoppingWindow(10, 20))
    table = app.Table("c", default=int, on_window_close=lambda key, value: None).tumbling(10)
    with pytest.raises(AppError, match="has an on_close already"):
        table.relative_to_now().on_window_close(lambda key, value: None)
    app = faust.App("x")
    app.Table("d", default=int, on_window_close=lambda key, value: None)
    with pytest.raises(AppError, match="has on_window_close=, and no windows"):
        Driver(app)
