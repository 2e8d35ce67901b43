"""Windows behind windows, and joins behind joins, through topics of the user: nothing of one is late for the other."""

from __future__ import annotations

import operator
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from streamcluster import App, Record
from streamcluster.testing import Driver
from streamcluster.windows.kinds import Days, Hopping
from streamcluster.windows.windowed import WindowedTable

NOON = 1_700_006_400
HOUR = 3600


class Tens:
    """Clicks of ten minutes are counted, sent to a topic under another key, and added up to hours there."""

    def __init__(self, way: str) -> None:
        self.app = app = App("tens", error_retries=0)
        clicks = app.topic("clicks", key_type=str, value_type=str, partitions=2)
        counts = app.topic("counts", key_type=str, value_type=int, partitions=2)
        self.closed: dict[float, int] = {}
        self.tens = tens = app.Table("tens", key_type=str, default=int).tumbling(600, grace=5)
        self.hours = hours = app.Table("hours", default=int).tumbling(HOUR, grace=0)

        @app.agent(clicks)
        async def count(stream: Any) -> None:
            async for page in stream:
                tens[page] += 1

        @app.agent(counts)
        async def add_up(stream: Any) -> None:
            async for number in stream if way == "topic" else stream.group_by(int.bit_count, name="by-bits"):
                hours["all" if way == "topic" else number.bit_count()] += number

        @tens.on_close
        async def ten_over(page: str, window: Any, number: int) -> None:
            await counts.send(key="all", value=number)

        @hours.on_close
        def hour_over(_key: Any, window: Any, number: int) -> None:
            self.closed[window.start - NOON] = self.closed.get(window.start - NOON, 0) + number


@pytest.mark.parametrize("way", ["topic", "group_by"])
@pytest.mark.parametrize("seed", [1, 2])
def test_an_hour_has_all_its_ten_minutes(way: str, seed: int) -> None:
    """Counts come seldom, and some later after their time than others; the last hour closes by itself."""
    chance = random.Random(seed)
    tens = Tens(way)
    want: Counter[float] = Counter()
    with Driver(tens.app, start_time=NOON) as driver:
        while (now := driver.clock.wall()) < NOON + 3 * HOUR:
            page = chance.choice(["/", "/a", "/b"])
            driver.send("clicks", key=page, value=page, timestamp=now)
            want[(now - NOON) // HOUR * HOUR] += 1
            driver.advance(chance.expovariate(1 / 90))
            if chance.random() < 0.05:
                driver.crash(lose_stores=True)
        assert (tens.tens.late_total, tens.hours.late_total) == (0, 0)
        for _ in range(200):
            driver.advance(10)
    assert tens.closed == want


class Order(Record):
    id: str


class Paid(Record):
    order: Order
    amount: int | None = None


def test_three_topics_are_joined_one_after_the_other() -> None:
    """`driver.time` moves what the app writes behind what it reads: what is alone in the first join meets the third."""
    app = App("orders", error_retries=0)
    orders = app.topic("orders", key_type=str, value_type=Order)
    payments = app.topic("payments", key_type=str, value_type=int)
    shipments = app.topic("shipments", key_type=str, value_type=str)
    paid = app.topic("paid", key_type=str, value_type=Paid, partitions=1)
    done = app.topic("done", key_type=str, value_type=list, partitions=1)

    @app.agent(orders)
    async def pay(stream: Any) -> None:
        async for order, amount in stream.left_join(payments, before=0, after=60, grace=5):
            await paid.send(key=order.id, value=Paid(order, amount))

    @app.agent(paid)
    async def ship(stream: Any) -> None:
        async for one, by in stream.left_join(shipments, before=0, after=120, grace=70):
            await done.send(key=one.order.id, value=[one.amount, by])

    with Driver(app) as driver:
        for number in range(12):
            name = f"o{number}"
            driver.send(orders, key=name, value=Order(name), timestamp=NOON + number)
            if number % 2 == 0:
                driver.send(payments, key=name, value=number, timestamp=NOON + number + 10)
            if number % 3 == 0:
                driver.send(shipments, key=name, value="post", timestamp=NOON + number + 30)
            if number == 6:
                driver.crash(lose_stores=True)
        driver.time(NOON + 10_000)
        assert {one.key: one.value for one in driver.output(done)} == {
            f"o{number}": [None if number % 2 else number, None if number % 3 else "post"] for number in range(12)
        }
        assert len(driver.output(done)) == 12


def test_the_driver_has_windows_as_items_has_them() -> None:
    """A test reads by key and window, in seconds."""
    tens = Tens("topic")
    with Driver(tens.app) as driver:
        driver.send("clicks", key="/", value="/", timestamp=NOON)
        assert driver.table("tens") == dict(tens.tens.items()) == {("/", (NOON, NOON + 600)): 1}


def said(driver: Driver, operator: str) -> str:
    """What `status` says of its time in the first task."""
    times = driver.worker.engine.times.tasks
    return next(line for line in times[min(times)].said() if line.startswith(f"event time of {operator}:"))


def test_status_says_whether_the_last_window_closes_by_itself() -> None:
    """Not "if the last record was no older": whether it was."""
    tens = Tens("topic")
    with Driver(tens.app, start_time=NOON) as driver:
        assert said(driver, "tens").endswith(
            "not known yet; it waits for clicks[0], of which no record is finished yet"
        )
        for page in ("/", "/a", "/b", "/c"):
            driver.send("clicks", key=page, value=page, timestamp=NOON)
        assert said(driver, "tens").endswith("the next record, or 60 s after the last one with the clock")
        for page in ("/", "/a", "/b", "/c"):
            driver.send("counts", key=page, value=1, timestamp=NOON)
        assert said(driver, "hours").endswith(
            "with the clock, 665 s behind it, since so old records come of other windows or joins"
        )
    tens = Tens("topic")
    with Driver(tens.app, start_time=NOON + 61) as driver:
        for page in ("/", "/a", "/b", "/c"):
            driver.send("clicks", key=page, value=page, timestamp=NOON)
        assert said(driver, "tens").endswith(
            "and not with the clock 60 s after the last one, which was older than that when it was read, as of an "
            "upload of old data"
        )


def test_time_goes_on_with_the_clock_from_where_it_is_behind_group_by() -> None:
    """A partition without records for long, whose time the others have moved: that was not so long ago."""
    app = App("apart", error_retries=0)
    events = app.topic("events", key_type=str, value_type=str)
    counts = app.Table("counts", key_type=str, default=int).tumbling(10, grace=0)

    @app.agent(events)
    async def count(stream: Any) -> None:
        async for word in stream.group_by(str.lower, name="words"):
            counts[word.lower()] += 1

    with Driver(app, partitions=4, start_time=NOON) as driver:
        # Records are half a minute old when they come.
        for word in "abcdefgh":
            driver.send(events, key="k", value=word, timestamp=driver.clock.wall() - 30)
        for _ in range(20):
            driver.advance(5)
            driver.send(events, key="k", value="a", timestamp=driver.clock.wall() - 30)
        driver.advance(75)
        for word in "abcdefgh":
            driver.send(events, key="k", value=word, timestamp=driver.clock.wall() - 29)
        assert counts.late_total == 0


class User(Record):
    region: str


@pytest.mark.parametrize("loses", [False, True])
@pytest.mark.parametrize("on", ["key", "field"])
def test_events_that_wait_in_a_join_are_in_time_for_windows(on: str, loses: bool) -> None:
    """An app begins over topics with a month in them: users as they were, counted by hour."""
    app = App("month", error_retries=0)
    views = app.topic("views", key_type=str, value_type=str, partitions=2)
    topic = app.topic("users", key_type=str, value_type=User, partitions=2)
    users = app.Table("users", source=topic, history=86_400)
    hours = app.Table("hours", key_type=str, default=int).tumbling(HOUR, grace=0)
    closed: Counter[tuple[str, float]] = Counter()

    @app.agent(views)
    async def count(stream: Any) -> None:
        options: dict[str, Any] = {"on": _itself} if on == "field" else {}
        async for view, user in stream.left_join(users, as_of=True, **options):
            hours[f"{view} {user.region if user else '?'}"] += 1

    @hours.on_close
    def over(name: str, window: Any, number: int) -> None:
        closed[name, window.start] += number

    chance = random.Random(3)
    want: Counter[tuple[str, float]] = Counter()
    with Driver(app, start_time=NOON + 40 * 86_400) as driver:
        was: dict[str, str] = {}
        for at in sorted(chance.uniform(NOON, NOON + 30 * 86_400) for _ in range(400)):
            name = chance.choice("abcdef")
            record: dict[str, Any] = {"key": name.encode(), "timestamp": round(at * 1000)}
            if chance.random() < 0.2:
                was[name] = chance.choice(["eu", "us"])
                driver.logs.append("users", record | {"value": b'{"region":"%s"}' % was[name].encode()}, at)
            else:
                driver.logs.append("views", record | {"value": b'"%s"' % name.encode()}, at)
                want[f"{name} {was.get(name, '?')}", at // HOUR * HOUR] += 1
        driver.advance(1)
        driver.crash(lose_stores=loses)
        driver.time(NOON + 31 * 86_400)
    assert hours.late_total == 0
    assert closed == want


def _itself(value: str) -> str:
    return value


def test_what_comes_out_of_a_join_alone_is_in_time_for_windows() -> None:
    """Orders are counted when no payment has come, each in its own minute."""
    app = App("unpaid", error_retries=0)
    orders = app.topic("orders", key_type=str, value_type=int)
    payments = app.topic("payments", key_type=str, value_type=int)
    minutes = app.Table("minutes", key_type=str, default=int).tumbling(60, grace=0)
    closed: list[tuple[str, float, int]] = []

    @app.agent(orders)
    async def count(stream: Any) -> None:
        async for _, payment in stream.left_join(payments, before=0, after=600, grace=5):
            minutes["paid" if payment else "unpaid"] += 1

    minutes.on_close(lambda name, window, number: closed.append((name, window.start - NOON, number)))
    with Driver(app, start_time=NOON) as driver:
        for number in range(40):
            driver.send(orders, key=f"{number}", value=number, timestamp=driver.clock.wall())
            driver.advance(15)
            if number % 4 == 0:
                driver.send(payments, key=f"{number}", value=1, timestamp=driver.clock.wall())
            if number == 20:
                driver.crash()
        for _ in range(80):
            driver.advance(10)
    assert minutes.late_total == 0
    assert sorted(closed) == [
        (name, 60.0 * at, count) for name, count in (("paid", 1), ("unpaid", 3)) for at in range(10)
    ]


Windows = list[tuple[str, float, float, int]]
FED: dict[str, Callable[[Any], WindowedTable]] = {
    "minutes": lambda table: table.tumbling(60, grace=5),
    "steps": lambda table: table.hopping(180, 60, grace=5),
    "merged": lambda table: table.hopping(180, 60, grace=5, merge=operator.add),
}
FED_BY_THEM: dict[str, Callable[[Any], WindowedTable]] = {
    "session": lambda table: table.session(100, grace=0),
    "longer": lambda table: table.tumbling(90, grace=0),
    "shorter": lambda table: table.tumbling(20, grace=0),
    "beside": lambda table: table.tumbling(600, grace=0, offset=30),
    "days": lambda table: table.tumbling(86400, grace=0, tz="Asia/Kathmandu"),
    "hours": lambda table: table.tumbling(HOUR, grace=0),
}


def windows_of(kind: str, table: WindowedTable, events: list[tuple[str, float, int]]) -> Windows:
    """What comes of (key, time, number) when nothing is late."""
    found: Windows = []
    for key, at, number in sorted(events):
        if kind == "session":
            start = end = at
            if found and found[-1][0] == key and at - found[-1][2] <= 100:
                _, start, _, before = found.pop()
                number += before
        else:
            assert isinstance(table.kind, (Hopping, Days))
            ((first, last),) = table.kind.spans(round(at * 1000))
            start, end = first / 1000, last / 1000
            if found and found[-1][:2] == (key, start):
                number += found.pop()[3]
        found.append((key, start, end, number))
    return found


@pytest.mark.parametrize("fed", FED)
@pytest.mark.parametrize("kind", FED_BY_THEM)
def test_nothing_is_late_for_windows_that_are_written_as_others_close(fed: str, kind: str) -> None:
    """However they lie to each other: those that end within others wait for what comes of these."""
    chance = random.Random(len(kind))
    app = App("nested", error_retries=0)
    clicks = app.topic("clicks", key_type=str, value_type=int, partitions=2)
    inner = FED[fed](app.Table("inner", key_type=str, default=int))
    outer = FED_BY_THEM[kind](app.Table("outer", key_type=str, default=int))
    out = app.topic("out", key_type=str, value_type=list, partitions=2)
    between = app.topic("between", key_type=str, value_type=int, partitions=2)

    @app.agent(clicks)
    async def count(stream: Any) -> None:
        async for user, number in stream.items():
            inner[user] += number

    @inner.on_close
    async def inner_over(user: str, window: Any, number: int) -> None:
        outer[user] += number
        await between.send(key=user, value=number)

    @outer.on_close
    async def outer_over(user: str, window: Any, number: int) -> None:
        await out.send(key=user, value=[window.start, window.end, number])

    now = float(NOON)
    with Driver(app) as driver:
        for _ in range(100):
            now = round(now + chance.choice([0, 7, 30, 70]), 3)
            user = chance.choice("abcd")
            driver.send(clicks, key=user, value=1, timestamp=now, commit=chance.random() < 0.5)
            if chance.random() < 0.1:
                driver.crash(lose_stores=chance.random() < 0.5)
        driver.time(now + 10**6)
        assert outer.late_total == 0
        given_out = [(one.key, *one.value) for one in driver.output(out)]
        events = [(one.key, one.timestamp, one.value) for one in driver.output(between)]
        assert sorted(given_out) == windows_of(kind, outer, events)
        assert driver.dead_letters() == []
