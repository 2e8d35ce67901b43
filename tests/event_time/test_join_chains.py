"""Joins behind joins: of three streams and more, with `&` and `deduplicate`, before group_by, take() and a task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamcluster import App, Record, Stream, loops
from streamcluster.errors import AppError
from streamcluster.testing import Driver
from streamcluster.topology.declare import freeze

TOPICS = ("a", "b", "c")
Event = tuple[str, str, int]
# Given the app and its topics, what is made of the first one's stream.
Prepare = Callable[..., Callable[[Any], Any]]
# A key, its time in ms, and what it is.
Row = tuple[str, int, Any]
KEEPS = {"join": (False, False), "left_join": (True, False), "right_join": (False, True), "outer_join": (True, True)}
# When all is over, in ms.
END = 100_000


def by_model(left: Iterable[Row], right: Iterable[Row], how: str, bounds: tuple[int, int]) -> list[Row]:
    """All pairs of rows of a key, and who is alone, of events that are never late."""
    before, after = bounds
    keeps_left, keeps_right = KEEPS[how]
    lefts, rights, found, met = [*left], [*right], [], set()
    for one, (key, time, value) in enumerate(lefts):
        for other, (other_key, other_time, other_value) in enumerate(rights):
            if key == other_key and -before <= other_time - time <= after:
                met |= {("left", one), ("right", other)}
                found.append((key, max(time, other_time), (value, other_value)))
    found += [(key, time, (value, None)) for at, (key, time, value) in enumerate(lefts) if ("left", at) not in met]
    alone = [(key, time, (None, value)) for at, (key, time, value) in enumerate(rights) if ("right", at) not in met]
    return [row for row in [*found, *alone] if (keeps_left or row[2][1] is not None) and (keeps_right or row[2][0])]


def rows_of(events: list[Event], topic: str) -> list[Row]:
    """The events of a topic, each named by its number."""
    return [(key, time, f"{topic}{number}") for number, (one, key, time) in enumerate(events) if one == topic]


def joined(stream: Any, other: Any, how: str, bounds: tuple[int, int]) -> Stream[Any]:
    """With no grace at all where it must be said."""
    before, after = bounds
    grace = {} if how == "join" else {"grace": 0}
    result: Stream[Any] = getattr(stream, how)(other, before=before / 1000, after=after / 1000, **grace)
    return result


def topics_of(app: App) -> list[Any]:
    """Three topics, and where results go."""
    return [app.topic(name, key_type=str, value_type=str, partitions=1) for name in TOPICS]


def in_agent(app: App, prepare: Prepare, pairs: Any) -> None:
    """The loop of an agent, over what `make` makes of the three."""
    topics = topics_of(app)
    make = prepare(app, *topics)

    @app.agent(topics[0], name="read")
    async def read(stream: Stream[Any]) -> None:
        async for key, value in make(stream).items():
            await pairs.send(key=key, value=value)


def in_batches(app: App, prepare: Prepare, pairs: Any) -> None:
    """Batches of it."""
    topics = topics_of(app)
    make = prepare(app, *topics)

    @app.agent(topics[0], name="read")
    async def read(stream: Stream[Any]) -> None:
        async for events in make(stream).take_events(2, within=1):
            for event in events:
                await pairs.send(key=event.key, value=event.value, timestamp=event.message.timestamp)


def in_task(app: App, prepare: Prepare, pairs: Any) -> None:
    """A task."""
    topics = topics_of(app)
    stream = prepare(app, *topics)(app.stream(topics[0]))

    @app.task
    async def read() -> None:
        async for key, value in stream.items():
            await pairs.send(key=key, value=value)


PLACES = {"agent": in_agent, "batches": in_batches, "task": in_task}


def played(prepare: Prepare, place: str, events: list[Event], uncommitted: set[int], crashes: set[int]) -> list[Row]:
    """What comes out, in an app of its own, with commits and crashes where they are said, and time at its end."""
    app = App("chains")
    pairs = app.topic("pairs", key_type=str, value_type=list, partitions=1)
    PLACES[place](app, prepare, pairs)
    with Driver(app) as driver:
        for number, (topic, key, time) in enumerate(events):
            value = f"{topic}{number}"
            driver.send(topic, key=key, value=value, timestamp=time / 1000, commit=number not in uncommitted)
            if number in crashes:
                driver.crash(lose_stores=number % 2 == 0)
        for topic in TOPICS:
            driver.send(topic, key=f"end of {topic}", value="end", timestamp=END / 1000)
        driver.advance(2)
        assert not driver.dead_letters()
        found = [(one.key, round(one.timestamp * 1000), one.value) for one in driver.output("pairs")]
    return [(key, time, as_pair(value)) for key, time, value in found if not key.startswith("end")]


def as_pair(value: Any) -> Any:
    """Pairs of pairs, as lists come back from JSON."""
    return tuple(map(as_pair, value)) if isinstance(value, list) else value


events_of_three = st.lists(
    st.tuples(st.sampled_from(TOPICS), st.sampled_from("kl"), st.integers(1, 80)), min_size=1, max_size=12
).map(lambda events: sorted(events, key=lambda event: event[2]))
# What waits in the first join comes out later than what is before it in the second one.
ALONE = [("a", "k", 1), ("c", "k", 9)]
HELD_BACK = [("a", "k", 1), ("c", "k", 1), ("a", "l", 10)]
# After the crash time stands until somebody has looked which rows still wait.
LOOKED_FOR_ANEW = [("a", "k", 1), ("c", "k", 1), ("c", "k", 2), ("c", "k", 22), ("c", "k", 22)]
hows, spans = st.sampled_from(sorted(KEEPS)), st.sampled_from([(0, 10), (10, 0), (5, 5), (20, 3)])


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(sorted(PLACES)),
    st.sampled_from(["on the left", "on the right"]),
    st.tuples(hows, spans),
    st.tuples(hows, spans),
    events_of_three,
    st.sets(st.integers(0, 11)),
    st.sets(st.integers(0, 11)),
)
@example("agent", "on the left", ("left_join", (0, 10)), ("join", (0, 10)), ALONE, set(), set())
@example("agent", "on the left", ("left_join", (0, 10)), ("join", (0, 10)), HELD_BACK, set(), set())
@example("agent", "on the right", ("outer_join", (10, 0)), ("join", (0, 10)), LOOKED_FOR_ANEW, {3}, {2})
def test_what_a_join_gives_meets_the_third_stream(
    place: str,
    side: str,
    first: tuple[str, tuple[int, int]],
    second: tuple[str, tuple[int, int]],
    events: list[Event],
    uncommitted: set[int],
    crashes: set[int],
) -> None:
    """Each pair and each that is alone once, at its time: nothing that the first join held back is late for the second.

    So it is without any grace, for events that are in order.
    """
    a, b, c = (rows_of(events, topic) for topic in TOPICS)
    if side == "on the left":
        expected = by_model(by_model(a, b, *first), c, *second)
    else:
        expected = by_model(a, by_model(b, c, *first), *second)

    def prepare(app: App, _: Any, b: Any, c: Any) -> Callable[[Any], Any]:
        if side == "on the left":
            return lambda stream: joined(joined(stream, b, *first), c, *second)
        other = joined(app.stream(b), c, *first)
        return lambda stream: joined(stream, other, *second)

    found = played(prepare, place, events, uncommitted, crashes)
    if place == "batches":
        # A batch has the time of its latest event.
        found, expected = ([(key, 0, pair) for key, _, pair in rows] for rows in (found, expected))
    assert sorted(found, key=repr) == sorted(expected, key=repr)


class Order(Record):
    id: str
    user: str


class Payment(Record):
    amount: int


def shop() -> tuple[App, Any, Any, Any]:
    """Orders, payments, and where it is told what came of them."""
    app = App("shop")
    orders = app.topic("orders", key_type=str, value_type=Order, partitions=2)
    payments = app.topic("payments", key_type=str, value_type=Payment, partitions=2)
    return app, orders, payments, app.topic("told", key_type=str, value_type=list, partitions=1)


def told(driver: Driver) -> list[tuple[Any, Any]]:
    """In any order."""
    assert not driver.dead_letters()
    return sorted([(one.key, as_pair(one.value)) for one in driver.output("told")], key=repr)


def test_pairs_are_repartitioned_and_meet_a_table() -> None:
    """By a function of the pair: what is in it is of its own types there."""
    app, orders, payments, topic = shop()
    users = app.Table("users", source=app.topic("users", key_type=str, value_type=str, partitions=2))

    @app.agent(orders, name="read")
    async def read(stream: Stream[Any]) -> None:
        paid = stream.left_join(payments, within=10, grace=0)
        async for (order, payment), user in paid.left_join(users, on=lambda pair: pair[0].user):
            await topic.send(key=order.id, value=[payment and payment.amount, user])

    with Driver(app) as driver:
        driver.send("users", key="u", value="Anna", timestamp=1)
        driver.send(orders, key="x", value=Order("o1", "u"), timestamp=2)
        driver.send(payments, key="x", value=Payment(5), timestamp=3)
        driver.send(orders, key="y", value=Order("o2", "v"), timestamp=4)
        for number in range(8):
            driver.send(orders, key=f"end{number}", value=Order("end", "v"), timestamp=100)
            driver.send(payments, key=f"end{number}", value=Payment(0), timestamp=100)
        assert [one for one in told(driver) if one[0] != "end"] == [("o1", (5, "Anna")), ("o2", (None, None))]


def test_a_field_of_what_is_in_a_pair_is_no_key() -> None:
    """A pair has no fields: it is said where it is written, with what to write."""
    app, orders, payments, _ = shop()
    stream: Any = app.stream(orders).join(payments, within=1)
    wrongs: tuple[Callable[[], Any], ...] = (
        lambda: stream.group_by(Order.user),
        lambda: stream.join(payments, within=1, on=Order.user),
        lambda: stream.deduplicate(by=Order.id, within=1),
    )
    for wrong in wrongs:
        with pytest.raises(AppError, match=r"lambda pair: pair\[0\]\.(user|id)"):
            wrong()
    stream.add_processor(lambda pair: pair[0])
    stream.group_by(Order.user)


def test_what_is_joined_is_merged_and_deduplicated() -> None:
    """`&`, `deduplicate` and group_by behind a join, and deduplicate before group_by, in one loop."""
    app, orders, payments, topic = shop()
    others = app.topic("others", key_type=str, value_type=str, partitions=2)

    @app.agent(orders, name="read")
    async def read(stream: Stream[Any]) -> None:
        once = stream.deduplicate(by=Order.id, within=100).group_by(lambda order: order.id, name="id")
        pairs = once.join(payments, within=10).deduplicate(by=lambda pair: pair[1].amount, within=100)
        async for key, value in (pairs & others).items():
            await topic.send(key=key, value=[value if isinstance(value, str) else value[1].amount])

    with Driver(app) as driver:
        for _ in range(2):
            driver.send(orders, key="k", value=Order("o1", "u"), timestamp=1)
            driver.send(payments, key="o1", value=Payment(5), timestamp=2)
            driver.send(payments, key="o1", value=Payment(6), timestamp=2)
            driver.send(others, key="z", value="other", timestamp=2)
        assert told(driver) == [("o1", (5,)), ("o1", (6,)), ("z", ("other",)), ("z", ("other",))]


@pytest.mark.parametrize("lose_stores", [False, True])
def test_a_task_reads_what_is_deduplicated_and_merged(*, lose_stores: bool) -> None:
    """Each once, whatever a crash takes back, and with the values that the records have."""
    app, orders, payments, topic = shop()
    once = app.stream(orders).deduplicate(by=Order.id, within=100)
    both = once & app.stream(payments).filter(lambda payment: payment.amount > 0)

    @app.task
    async def read() -> None:
        async for event in both.events():
            kind = type(event.value).__name__
            await topic.send(key=event.key, value=[kind, event.message.timestamp, event.headers.get("h", b"").decode()])

    with Driver(app) as driver:
        for number in range(3):
            driver.send(orders, key="k", value=Order("o1", "u"), timestamp=1, headers={"h": b"x"}, commit=number == 0)
            driver.send(payments, key="l", value=Payment(number), timestamp=2, commit=number == 2)
            driver.crash(lose_stores=lose_stores)
        driver.advance(0)
        assert told(driver) == [("k", ("Order", 1.0, "x")), *[("l", ("Payment", 2.0, ""))] * 2]


@pytest.mark.parametrize(
    "make",
    [
        lambda stream, payments: stream.join(payments, within=1),
        lambda stream, _: stream.group_by(Order.user),
        lambda stream, _: stream.deduplicate(within=1),
        lambda stream, payments: stream & payments,
    ],
)
def test_what_a_task_does_to_its_stream_must_be_declared(make: Callable[[Any, Any], Any]) -> None:
    """A join in its body has no rows, and group_by no topic: that is said, where it was left out before."""
    app, orders, payments, _ = shop()
    stream, seen = app.stream(orders), list[str]()

    @app.task
    async def read() -> None:
        try:
            await anext(aiter(make(stream, payments)))
        except AppError as error:
            seen.append(str(error))
        async for order in stream.filter(lambda order: order.id != "o2"):
            seen.append(order.id)

    with Driver(app) as driver:
        for number in range(1, 4):
            driver.send(orders, key="k", value=Order(f"o{number}", "u"))
    assert "is declared before the start" in seen[0]
    assert seen[1:] == ["o1", "o3"]


@pytest.mark.parametrize(
    "make",
    [
        lambda stream, other: stream.join(other, within=1),
        lambda stream, other: stream.join(other.filter(lambda payment: payment.amount > 0), within=1),
        lambda stream, other: stream.group_by(str, name="text").join(other.group_by(str, name="text"), within=1),
        lambda stream, other: stream & other.deduplicate(within=1),
    ],
    ids=["join", "filter", "group_by", "merge"],
)
def test_the_other_side_of_a_stream_that_a_task_reads_is_read_there_alone(make: Callable[[Any, Any], Any]) -> None:
    """Nobody read it a second time: its position stood still, its topic was forwarded twice, and its buffer filled."""
    app, orders, payments, _ = shop()
    both = make(app.stream(orders), app.stream(payments))

    @app.task
    async def read() -> None:
        async for _ in both:
            pass

    plan, _ = asyncio.run(freeze(app))
    assert [shared.stream for shared in plan.shared] == [both]
    with Driver(app) as driver:
        driver.send(payments, key="k", value=Payment(1), timestamp=1)
        read_of = {tp.topic: position for tp, position in driver.positions().items() if position}
        assert payments.name in read_of


@pytest.mark.parametrize("is_in_c", [True, False])
@pytest.mark.parametrize("leaves", ["break", "return"])
@pytest.mark.parametrize(
    "read",
    [
        lambda stream: stream,
        lambda stream: stream.filter(lambda _: True),
        lambda stream: stream.items(),
        lambda stream: stream.events(),
    ],
    ids=["values", "behind a filter", "items", "events"],
)
def test_a_loop_that_is_left_gives_the_next_one_the_other_pairs(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[Any], Any], leaves: str, *, is_in_c: bool
) -> None:
    """An event that brings several is in hand until each was handed out: they were lost."""
    if not is_in_c:
        monkeypatch.setattr(loops, "_in_c", False)
    elif not loops.is_in_c():
        pytest.skip("the loops were not built")
    app = App("left")
    numbers = app.topic("numbers", key_type=str, value_type=int, partitions=1)
    told_to = app.topic("told", value_type=list, partitions=1)

    @app.agent(numbers, name="read")
    async def leaving(stream: Stream[Any]) -> None:
        while True:
            async for one in read(stream.join(numbers, within=10)):
                pair = one.value if hasattr(one, "value") else one[1] if isinstance(one[0], str) else one
                await told_to.send(value=[*pair])
                break
            if leaves == "return":
                return

    with Driver(app) as driver:
        for number in range(4):
            driver.send(numbers, key="k", value=number, timestamp=1 + number % 2, commit=number % 2 == 1)
        driver.crash()
        driver.advance(0)
        assert sorted(one.value for one in driver.output("told")) == [
            [one, other] for one in range(4) for other in range(4)
        ]
        assert not driver.dead_letters()


def test_tables_of_a_chain_are_numbered_along_it() -> None:
    """So one that gets another join keeps the rows of the first."""
    app, orders, payments, _ = shop()

    @app.agent(orders, name="read")
    async def read(stream: Stream[Any]) -> None:
        once = stream.deduplicate(within=5).join(payments, within=1)
        async for _ in once.join(payments, within=1).deduplicate(within=5):
            raise AssertionError

    plan, _ = asyncio.run(freeze(app))
    kept = [table.name for unit in plan.units for table in unit.tables]
    assert kept == ["read-join", "read-deduplicate", "read-join-2", "read-deduplicate-2"]
