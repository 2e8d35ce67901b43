"""Agents that read a table of a topic: its records and theirs are taken in the order of time, or it is loaded first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamcluster import App, Stream
from streamcluster.batch import Batch
from streamcluster.errors import AppError
from streamcluster.ids import TP
from streamcluster.testing import Driver
from streamcluster.testing.brokers import SimulatedReads
from tests.event_time.test_join_order import in_pieces

# (time in ms, key) of prices and of orders, each in the order of its log.
Records = list[tuple[int, str]]
RECORDS = st.lists(st.tuples(st.integers(1, 30), st.sampled_from("ab")), max_size=25)
ORDERS, PRICES = TP("orders", 0), TP("prices", 0)


def shop(*, load: str = "time", fails: Callable[[int], bool] = lambda number: False, **agent: Any) -> App:
    """Orders with the price of what was ordered; the price is the number of its record."""
    app = App("shop", error_retries=2, error_backoff=0.5)
    orders = app.topic("orders", key_type=str, value_type=int, partitions=1)
    priced = app.topic("priced", key_type=str, value_type=list, partitions=1)
    topic = app.topic("prices", key_type=str, value_type=int, partitions=1)
    prices = app.Table("prices", source=topic, load=load)

    @app.agent(orders, **agent)
    async def price(stream: Stream[int]) -> None:
        async for event in stream.left_join(prices).events():
            if fails(event.value[0]):
                raise ValueError(event.value)
            await priced.send(key=event.key, value=[*event.value])

    return app


def fill(driver: Driver, topic: str, records: Records, first: int = 0) -> None:
    """Write them to the log; nothing is processed yet."""
    for number, (time, key) in enumerate(records, first):
        message = {"key": key.encode(), "value": b"%d" % number, "timestamp": time, "partition": 0}
        driver.logs.append(topic, message, driver.worker.time())


def expected(prices: Records, orders: Records) -> list[list[Any]]:
    """The least timestamp of both heads goes next; of equal ones the price."""
    known: dict[str, int] = {}
    found: list[list[Any]] = []
    at = 0
    for number, (time, key) in enumerate(orders):
        while at < len(prices) and prices[at][0] <= time:
            known[prices[at][1]] = at
            at += 1
        found.append([number, known.get(key)])
    return found


def pairs_of(driver: Driver) -> list[Any]:
    """What came out: [order, price]."""
    return [one.value for one in driver.output("priced")]


def play(driver: Driver) -> None:
    """Everything is read, and committed in the end; what failed is tried again."""
    driver.run(driver.worker.process(commit=True))
    driver.advance(30)


@given(RECORDS, RECORDS, st.sampled_from([1, 3, 1000]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_join_is_by_time(prices: Records, orders: Records, size: int, crashes: bool) -> None:
    """Whatever is read at once, and whatever a crash takes back."""
    with pytest.MonkeyPatch.context() as patched, Driver(shop()) as driver:
        patched.setattr(SimulatedReads, "poll", in_pieces(size))
        fill(driver, "orders", orders)
        fill(driver, "prices", prices)
        if crashes:
            driver.run(driver.worker.process(commit=False))
            driver.crash(lose_stores=True)
        play(driver)
        assert pairs_of(driver) == expected(prices, orders)
        assert driver.table("prices") == {key: number for number, (_, key) in enumerate(prices)}


@pytest.mark.parametrize("load", ["time", "first"])
@given(RECORDS, RECORDS, st.integers(0, 24), st.sampled_from([1, 3, 1000]))
@example([(3, "a"), (1, "a"), (1, "a")], [(1, "a"), (24, "a"), (1, "a")], 0, 1)
@settings(max_examples=40, deadline=None)
def test_an_event_that_fails_changes_nothing_of_the_order(
    load: str, prices: Records, orders: Records, bad: int, size: int
) -> None:
    """It is rolled back, tried alone, and given up; those before and behind it find what they find without it."""
    with pytest.MonkeyPatch.context() as patched, Driver(shop(load=load, fails=lambda number: number == bad)) as driver:
        patched.setattr(SimulatedReads, "poll", in_pieces(size))
        fill(driver, "orders", orders)
        fill(driver, "prices", prices)
        driver.crash()
        play(driver)
        newest = {key: number for number, (_, key) in enumerate(prices)}
        all_there = [[number, newest.get(key)] for number, (_, key) in enumerate(orders)]
        pairs = expected(prices, orders) if load == "time" else all_there
        assert pairs_of(driver) == [pair for pair in pairs if pair[0] != bad]
        assert len(driver.dead_letters()) == (bad < len(orders))


@given(RECORDS, RECORDS, st.sampled_from([1, 3, 1000]))
@settings(max_examples=20, deadline=None)
def test_several_coroutines_of_an_agent_go_by_time(prices: Records, orders: Records, size: int) -> None:
    """concurrency=3: each key in its order, and with what the table had at the time."""
    orders = sorted(orders)
    with pytest.MonkeyPatch.context() as patched, Driver(shop(concurrency=3)) as driver:
        patched.setattr(SimulatedReads, "poll", in_pieces(size))
        fill(driver, "orders", orders)
        fill(driver, "prices", prices)
        play(driver)
        assert sorted(pairs_of(driver)) == expected(prices, orders)


def test_a_topic_at_its_end_is_not_waited_for() -> None:
    """An order behind the last price comes at once, and a price that is late is for what follows."""
    with Driver(shop()) as driver:
        driver.send("orders", key="a", value=0, timestamp=5)
        assert pairs_of(driver) == [[0, None]]
        driver.send("prices", key="a", value=7, timestamp=1)
        driver.send("orders", key="a", value=1, timestamp=4)
        driver.send("prices", key="a", value=8, timestamp=90)
        driver.send("orders", key="a", value=2, timestamp=6)
        assert pairs_of(driver) == [[0, None], [1, 7], [2, 8]]


def test_a_topic_with_more_to_read_is_waited_for() -> None:
    """Its records come later than the orders, and no order was told what it had before."""
    with pytest.MonkeyPatch.context() as patched, Driver(shop()) as driver:
        poll = SimulatedReads.poll
        held = {PRICES}

        def poll_others(reads: SimulatedReads, room: Callable[[int], int]) -> list[Batch]:
            found = [batch for batch in poll(reads, room) if batch.tp not in held]
            for tp in held:
                reads.positions[tp] = 0
                reads.ended.pop(tp, None)
                reads._ended_at.pop(tp, None)
            return found

        patched.setattr(SimulatedReads, "poll", poll_others)
        driver.crash()
        fill(driver, "prices", [(1, "a")])
        fill(driver, "orders", [(2, "a")])
        play(driver)
        assert pairs_of(driver) == []
        held.clear()
        play(driver)
        assert pairs_of(driver) == [[0, 0]]


def test_a_table_that_is_read_in_the_loop_goes_by_time_too() -> None:
    """No join: the agent names the table."""
    app = App("named")
    orders = app.topic("orders", key_type=str, value_type=int, partitions=1)
    prices = app.Table("prices", source=app.topic("prices", key_type=str, value_type=int, partitions=1))
    found: list[Any] = []

    @app.agent(orders)
    async def price(stream: Stream[int]) -> None:
        async for key, _ in stream.items():
            found.append(prices.get(key))

    with Driver(app) as driver:
        fill(driver, "orders", [(5, "a"), (15, "a")])
        fill(driver, "prices", [(10, "a"), (20, "a")])
        play(driver)
    assert found == [None, 0]


@given(RECORDS, RECORDS, st.sampled_from([1, 3, 1000]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_what_is_loaded_first_is_all_there(prices: Records, orders: Records, size: int, crashes: bool) -> None:
    """Every order finds the newest price, of whatever time, also where the first try crashed."""
    with pytest.MonkeyPatch.context() as patched, Driver(shop(load="first")) as driver:
        patched.setattr(SimulatedReads, "poll", in_pieces(size))
        driver.crash()
        fill(driver, "orders", orders)
        fill(driver, "prices", prices)
        driver.crash()
        if crashes:
            driver.run(driver.worker.process(commit=False))
            driver.crash(lose_stores=True)
        play(driver)
        newest = {key: number for number, (_, key) in enumerate(prices)}
        assert pairs_of(driver) == [[number, newest.get(key)] for number, (_, key) in enumerate(orders)]


def test_what_came_while_nothing_ran_is_loaded_first() -> None:
    """After a restart with a lag in both topics; and later orders never wait for a topic that goes on."""
    with Driver(shop(load="first")) as driver:
        driver.send("orders", key="a", value=0, timestamp=5)
        assert pairs_of(driver) == [[0, None]]
        driver.send("prices", key="a", value=0, timestamp=6)
        fill(driver, "orders", [(7, "a"), (8, "b")], 1)
        fill(driver, "prices", [(9, "a"), (100, "b")], 1)
        driver.crash()
        play(driver)
        driver.send("prices", key="a", value=9, timestamp=500)
        driver.send("orders", key="a", value=3, timestamp=10)
        assert pairs_of(driver) == [[0, None], [1, 1], [2, 2], [3, 9]]


def test_another_way_to_load_is_refused() -> None:
    """With the two that there are; and without a topic there is nothing to load."""
    with pytest.raises(AppError, match=r'load=.later.: say "first"'):
        shop(load="later")
    with pytest.raises(AppError, match="give source="):
        App("none").Table("kept", load="first")
