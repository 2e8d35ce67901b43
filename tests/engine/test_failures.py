"""Failing events: what is rolled back, tried again, put aside, and what goes on."""

from __future__ import annotations

from typing import Any

import pytest

from streamcluster import App, Record, Stream, retry
from streamcluster.ids import TP
from tests.engine.conftest import Drive


class Order(Record):
    account_id: str
    amount: int


class Devil(Exception):
    """What the agents of these tests fail with."""


def send_all(driver: Any, topic: str, values: list[int]) -> None:
    """All records at once, so that they are one run and one commit."""
    for value in values:
        driver.logs.append(topic, {"key": b"k%d" % (value % 2), "value": b"%d" % value}, driver.clock.now())
    driver.advance(0.0)


def test_failing_event_goes_to_the_dead_letters_and_the_rest_goes_on(drive: Drive) -> None:
    """Tables and outputs of the failing event are rolled back, those around it are there once, in order."""
    app = App("a")
    out = app.topic("out", value_type=int, partitions=1)
    sums = app.Table("sums", default=int)

    @app.agent(app.topic("numbers", key_type=str, value_type=int), name="shop.fails")
    async def fails(stream: Stream[int]) -> None:
        async for key, value in stream.items():
            sums[key] += value
            await out.send(value=value)
            if value == 5:
                raise Devil("five")
            sums["count"] += 1

    driver = drive(app)
    send_all(driver, "numbers", list(range(10)))
    assert driver.table("sums") == {"k0": 20, "k1": 20, "count": 9}
    assert [o.value for o in driver.output("out")] == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    [letter] = driver.dead_letters()
    assert (letter.key, letter.value) == (b"k1", b"5")
    assert letter.headers["dead-letter-topic"] == b"numbers"
    assert letter.headers["dead-letter-partition"] == b"0"
    assert letter.headers["dead-letter-offset"] == b"5"
    assert letter.headers["dead-letter-agent"] == b"shop.fails"
    assert b"Devil: five" in letter.headers["dead-letter-error"]
    assert b'raise Devil("five")' in letter.headers["dead-letter-traceback"]
    assert driver.positions()[TP("numbers", 0)] == 10
    driver.crash(lose_stores=True)
    assert driver.table("sums") == {"k0": 20, "k1": 20, "count": 9}
    assert len(driver.dead_letters()) == 1


def test_dead_letter_keeps_the_headers_of_the_record(drive: Drive) -> None:
    """The original headers come first, then those that say why it is there."""
    app = App("a")

    @app.agent(app.topic("numbers", value_type=int))
    async def fails(stream: Stream[int]) -> None:
        async for _ in stream:
            raise Devil

    driver = drive(app)
    driver.send("numbers", value=1, headers={"trace": b"abc"})
    assert driver.dead_letters()[0].headers["trace"] == b"abc"


@pytest.mark.parametrize("times", [0, 1, 3])
def test_retry_tries_as_often_as_it_says(drive: Drive, times: int) -> None:
    """An event is tried once, then alone (at least once, to be sure that it is its own failure) `times` times."""
    app = App("a")
    attempts: list[float] = []

    @app.agent(app.topic("numbers", value_type=int), on_error=retry(times, backoff=1.0))
    async def fails(stream: Stream[int]) -> None:
        async for value in stream:
            if value == 1:
                attempts.append(driver.clock.now())
                raise Devil

    driver = drive(app)
    send_all(driver, "numbers", [0, 1, 2])
    driver.advance(60.0)
    assert attempts == [0.0, 0.0, 1.0, 3.0][: max(1, times) + 1]
    assert [letter.value for letter in driver.dead_letters()] == [b"1"]


def test_event_that_succeeds_when_retried_is_no_dead_letter(drive: Drive) -> None:
    """A failure that passes costs a rollback and nothing else: each result is there once."""
    app = App("a")
    out = app.topic("out", value_type=int, partitions=1)
    failures = [True, True]

    @app.agent(app.topic("numbers", value_type=int), on_error=retry(3, backoff=1.0))
    async def fails(stream: Stream[int]) -> None:
        async for value in stream:
            await out.send(value=value)
            if value == 2 and failures:
                failures.pop()
                raise Devil

    driver = drive(app)
    send_all(driver, "numbers", [0, 1, 2, 3])
    driver.advance(5.0)
    assert [o.value for o in driver.output("out")] == [0, 1, 2, 3]
    assert driver.dead_letters() == []


def test_crash_while_an_event_waits_for_its_retry_loses_nothing(drive: Drive) -> None:
    """A process that dies between two tries of an event starts with that event again."""
    app = App("a")
    out = app.topic("out", value_type=int, partitions=1)
    broken = True

    @app.agent(app.topic("numbers", value_type=int), on_error=retry(5, backoff=10.0))
    async def fails(stream: Stream[int]) -> None:
        async for value in stream:
            await out.send(value=value)
            if value == 1 and broken:
                raise Devil

    driver = drive(app)
    send_all(driver, "numbers", [0, 1, 2])
    assert [o.value for o in driver.output("out")] == [0]
    driver.crash()
    broken = False
    driver.rebalance()
    driver.advance(100.0)
    assert [o.value for o in driver.output("out")] == [0, 1, 2]
    assert driver.dead_letters() == []


def test_skip_passes_over_the_event(drive: Drive) -> None:
    """on_error="skip": no dead letter, the position is passed."""
    app = App("a")
    seen: list[int] = []

    @app.agent(app.topic("numbers", value_type=int), on_error="skip")
    async def fails(stream: Stream[int]) -> None:
        async for value in stream:
            if value == 1:
                raise Devil
            seen.append(value)

    driver = drive(app)
    send_all(driver, "numbers", [0])
    send_all(driver, "numbers", [1, 2])
    assert (seen, driver.dead_letters(), driver.positions()[TP("numbers", 0)]) == ([0, 2], [], 3)


def test_stop_stops_and_does_not_pass_the_event(drive: Drive) -> None:
    """on_error="stop": the error ends the app; what was before the event is committed, the event is not passed."""
    app = App("a")
    sums = app.Table("sums", default=int)

    @app.agent(app.topic("numbers", value_type=int), on_error="stop")
    async def fails(stream: Stream[int]) -> None:
        async for value in stream:
            sums["all"] += value
            if value == 3:
                raise Devil("three")

    driver = drive(app)
    with pytest.raises(Devil, match="three"):
        send_all(driver, "numbers", [1, 2, 3, 4])
    assert driver.positions()[TP("numbers", 0)] == 2
    with pytest.raises(Devil, match="three"):
        driver.crash(lose_stores=True)
    assert driver.positions()[TP("numbers", 0)] == 2
    assert driver.table("sums") == {"all": 3}


def test_one_of_two_agents_fails_and_the_other_sees_all(drive: Drive) -> None:
    """The event that one agent gives up on is processed by the other, once; tables of both are right."""
    app = App("a")
    topic = app.topic("numbers", value_type=int)
    counts = app.Table("counts", default=int)

    @app.agent(topic, name="good")
    async def good(stream: Stream[int]) -> None:
        async for value in stream:
            counts["good"] += value

    @app.agent(topic, name="bad")
    async def bad(stream: Stream[int]) -> None:
        async for value in stream:
            counts["bad"] += value
            if value == 2:
                raise Devil

    driver = drive(app)
    send_all(driver, "numbers", [1, 2, 3])
    assert driver.table("counts") == {"good": 6, "bad": 4}
    assert [letter.headers["dead-letter-agent"] for letter in driver.dead_letters()] == [b"bad"]
    driver.crash(lose_stores=True)
    send_all(driver, "numbers", [4])
    assert driver.table("counts") == {"good": 10, "bad": 8}


def test_both_agents_fail_and_each_writes_its_dead_letter(drive: Drive) -> None:
    """Two agents that give up on one event write a letter each, and go on."""
    app = App("a")
    topic = app.topic("numbers", value_type=int)
    seen: list[tuple[str, int]] = []

    def declare(name: str) -> None:
        @app.agent(topic, name=name)
        async def fails(stream: Stream[int]) -> None:
            async for value in stream:
                if value == 2:
                    raise Devil
                seen.append((name, value))

    declare("one")
    declare("two")
    driver = drive(app)
    send_all(driver, "numbers", [1])
    send_all(driver, "numbers", [2])
    send_all(driver, "numbers", [3])
    assert sorted(letter.headers["dead-letter-agent"] for letter in driver.dead_letters()) == [b"one", b"two"]
    assert sorted(seen) == [("one", 1), ("one", 3), ("two", 1), ("two", 3)]


def test_failing_batch_gives_up_only_the_event_that_fails(drive: Drive) -> None:
    """A batch that fails is taken apart: its events are tried one by one, and the good ones are kept."""
    app = App("a")
    sums = app.Table("sums", default=int)

    @app.agent(app.topic("numbers", value_type=int))
    async def batches(stream: Stream[int]) -> None:
        async for batch in stream.take(4, within=5.0):
            for value in batch:
                sums["all"] += value
                if value == 2:
                    raise Devil

    driver = drive(app)
    send_all(driver, "numbers", [0, 1, 2, 3, 4])
    driver.advance(10.0)
    assert driver.table("sums") == {"all": 8}
    assert [letter.value for letter in driver.dead_letters()] == [b"2"]
    assert driver.positions()[TP("numbers", 0)] == 5


@pytest.mark.parametrize("where", ["processor", "filter", "key", "async key"])
def test_failure_in_an_operator_is_that_of_its_event(drive: Drive, where: str) -> None:
    """Exceptions in processors, filters and group_by keys put one event aside; the stream goes on behind it."""
    app = App("a")
    orders = app.topic("orders", value_type=Order)
    seen: list[int] = []

    def check(order: Order) -> Order:
        if order.amount == 2:
            raise Devil(where)
        return order

    async def slow_key(order: Order) -> str:
        return check(order).account_id

    @app.agent(orders, name="grouped")
    async def grouped(stream: Stream[Order]) -> None:
        if where == "processor":
            stream.add_processor(check)
        elif where == "filter":
            stream = stream.filter(lambda order: check(order).amount >= 0)
        key = slow_key if where == "async key" else lambda order: check(order).account_id
        async for order in stream.group_by(key, name="key"):
            seen.append(order.amount)

    driver = drive(app)
    for amount in range(5):
        value = b'{"account_id":"x","amount":%d}' % amount
        driver.logs.append("orders", {"key": None, "value": value}, 0.0)
    driver.advance(0.0)
    assert seen == [0, 1, 3, 4]
    [letter] = driver.dead_letters()
    assert where.encode() in letter.headers["dead-letter-error"]
    assert letter.headers["dead-letter-topic"] == b"orders"


def test_failure_with_concurrency_keeps_the_other_keys_going(drive: Drive) -> None:
    """One of several coroutines of a partition fails: nothing of the others is lost or repeated."""
    app = App("a")
    sums = app.Table("sums", default=int)

    @app.agent(app.topic("numbers", key_type=str, value_type=int), concurrency=3)
    async def fails(stream: Stream[int]) -> None:
        async for key, value in stream.items():
            sums[key] += value
            if value == 7:
                raise Devil

    driver = drive(app)
    send_all(driver, "numbers", list(range(10)))
    assert driver.table("sums") == {"k0": 20, "k1": 18}
    assert len(driver.dead_letters()) == 1
    driver.crash(lose_stores=True)
    assert driver.table("sums") == {"k0": 20, "k1": 18}


def test_failure_in_one_partition_leaves_the_others_alone(drive: Drive) -> None:
    """A rollback restarts the coroutines of its own task only."""
    app = App("a")
    starts: list[int] = []
    seen: list[int] = []

    @app.agent(app.topic("numbers", value_type=int))
    async def fails(stream: Stream[int]) -> None:
        first = True
        async for event in stream.events():
            if first:
                starts.append(event.message.partition)
                first = False
            if event.value == 100:
                raise Devil
            seen.append(event.value)

    driver = drive(app, partitions=2)
    driver.send("numbers", partition=0, value=1)
    driver.send("numbers", partition=1, value=2)
    driver.send("numbers", partition=1, value=100)
    driver.send("numbers", partition=0, value=3)
    driver.send("numbers", partition=1, value=4)
    assert starts.count(0) == 1
    assert seen == [1, 2, 3, 4]


def test_every_event_fails_and_every_one_is_in_the_dead_letters(drive: Drive) -> None:
    """A broken agent empties its topic into the dead letters, in order, each record once."""
    app = App("a")

    @app.agent(app.topic("numbers", value_type=int))
    async def broken(stream: Stream[int]) -> None:
        async for _ in stream:
            raise Devil

    driver = drive(app)
    send_all(driver, "numbers", list(range(12)))
    driver.crash()
    assert sorted(int(letter.value) for letter in driver.dead_letters()) == list(range(12))


def test_failure_in_a_shared_stream_is_that_of_its_event(drive: Drive) -> None:
    """An @app.task that fails at an event of its stream is started again, and the event is put aside."""
    app = App("a")
    stream = app.stream(app.topic("numbers", value_type=int))
    sums = app.Table("sums", default=int, partitions=2)

    @app.task
    async def read() -> None:
        async for value in stream:
            sums["all"] += value
            if value == 3:
                raise Devil

    driver = drive(app, partitions=2)
    for value in range(6):
        driver.send("numbers", partition=value % 2, value=value)
    assert [letter.value for letter in driver.dead_letters()] == [b"3"]
    assert [shard.stored("all") for shard in sums.local.all()] == [6, 6]  # type: ignore[union-attr]
    assert driver.positions() == {TP("numbers", 0): 3, TP("numbers", 1): 3}
