"""Bad and odd input: what does not decode, and what is legal but rare."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import DecodeError

from streamcluster import App, Event, Record, Stream
from streamcluster.ids import TP
from tests.engine.conftest import Drive

FAR_FUTURE = 32_503_680_000.0  # The year 3000.


class Order(Record):
    account_id: str
    amount: int


UNDECODABLE = {
    "no JSON": b"{",
    "no UTF-8": b"\xff\xfe",
    "empty": b"",
    "missing field": b'{"account_id":"x"}',
    "wrong type": b'{"account_id":"x","amount":"many"}',
    "another shape": b"[1,2]",
}


@pytest.mark.parametrize("data", UNDECODABLE.values(), ids=UNDECODABLE.keys())
def test_undecodable_value_goes_to_the_dead_letters(drive: Drive, data: bytes) -> None:
    """The record is put aside as it is, with the reason, once; the events around it are processed once."""
    app = App("a")
    sums = app.Table("sums", default=int)

    @app.agent(app.topic("orders", value_type=Order))
    async def read(stream: Stream[Order]) -> None:
        async for order in stream:
            sums[order.account_id] += order.amount

    driver = drive(app)
    good = b'{"account_id":"x","amount":1}'
    for value in (good, data, good, data, good):
        driver.logs.append("orders", {"key": b"k", "value": value, "headers": [("h", b"1")]}, 0.0)
    driver.advance(0.0)
    assert driver.table("sums") == {"x": 3}
    assert [(o.key, o.value, o.headers["h"], o.headers["dead-letter-offset"]) for o in driver.dead_letters()] == [
        (b"k", data, b"1", b"1"),
        (b"k", data, b"1", b"3"),
    ]
    assert all(len(o.headers["dead-letter-error"]) > 10 for o in driver.dead_letters())
    driver.crash(lose_stores=True)
    assert (len(driver.dead_letters()), driver.positions()[TP("orders", 0)]) == (2, 5)


def test_undecodable_record_among_buffered_ones_is_put_aside_once(drive: Drive) -> None:
    """A batch that is filling is handed out before the bad record is passed, so a crash repeats neither."""
    app = App("a")
    batches: list[list[int]] = []

    @app.agent(app.topic("numbers", value_type=int))
    async def read(stream: Stream[int]) -> None:
        async for batch in stream.take(3):
            batches.append(list(batch))

    driver = drive(app)
    for value in (b"1", b"bad", b"2", b"3"):
        driver.logs.append("numbers", {"key": None, "value": value}, 0.0)
        driver.advance(0.0)
        driver.crash()
    assert batches == [[1]]
    assert [o.value for o in driver.dead_letters()] == [b"bad"]
    driver.send("numbers", value=4)
    assert batches == [[1], [2, 3, 4]]


def test_undecodable_record_with_stop_is_not_passed(drive: Drive) -> None:
    """error_action="stop": the app stops at the record, in every run of it, and what was before is committed."""
    app = App("a", error_action="stop")
    sums = app.Table("sums", default=int)

    @app.agent(app.topic("numbers", value_type=int))
    async def read(stream: Stream[int]) -> None:
        async for value in stream:
            sums["all"] += value

    driver = drive(app)
    driver.send("numbers", value=1)
    with pytest.raises(DecodeError):
        driver.send("numbers", value=b"bad")
    with pytest.raises(DecodeError):
        driver.rebalance()
    assert driver.positions()[TP("numbers", 0)] == 1
    with pytest.raises(DecodeError):
        driver.crash(lose_stores=True)
    assert driver.table("sums") == {"all": 1}
    assert driver.dead_letters() == []


def test_undecodable_record_with_skip_is_passed(drive: Drive) -> None:
    """error_action="skip": no dead letter, the stream goes on."""
    app = App("a", error_action="skip")
    seen: list[int] = []

    @app.agent(app.topic("numbers", value_type=int))
    async def read(stream: Stream[int]) -> None:
        async for value in stream:
            seen.append(value)

    driver = drive(app)
    for value in (b"1", b"bad", b"2"):
        driver.send("numbers", value=value)
    assert (seen, driver.dead_letters(), driver.positions()[TP("numbers", 0)]) == ([1, 2], [], 3)


@pytest.mark.parametrize("neighbour", [b"5", None, b"bad"])
def test_undecodable_key_matters_where_keys_are_used(drive: Drive, neighbour: bytes | None) -> None:
    """items() puts a record with an undecodable key aside; values alone do not look at keys, whoever is next to it."""
    app = App("a")
    topic = app.topic("numbers", key_type=int, value_type=int)
    seen: dict[str, list[Any]] = {"items": [], "values": []}

    @app.agent(topic, name="keyed")
    async def keyed(stream: Stream[int]) -> None:
        async for key, value in stream.items():
            seen["items"].append((key, value))

    @app.agent(topic, name="unkeyed")
    async def unkeyed(stream: Stream[int]) -> None:
        async for value in stream:
            seen["values"].append(value)

    driver = drive(app)
    for key, value in ((b"1", b"1"), (b"not a number", b"2"), (b"3", b"3"), (b"4", neighbour)):
        driver.logs.append("numbers", {"key": key, "value": value}, 0.0)
    driver.advance(0.0)
    last = [] if neighbour == b"bad" else [neighbour and int(neighbour)]
    # What a rollback repeats is seen twice here: lists know nothing of commits.
    assert list(dict.fromkeys(seen["items"])) == [(1, 1), (3, 3), *((4, value) for value in last)]
    assert set(seen["values"]) == {1, 2, 3, *last}
    letters = {(o.value, o.headers["dead-letter-agent"]) for o in driver.dead_letters()}
    assert (b"2", b"keyed") in letters
    assert len(letters) == (2 if neighbour == b"bad" else 1)


def test_tombstones_are_none(drive: Drive) -> None:
    """A record without a value is an event whose value is None; sending None writes a tombstone."""
    app = App("a")
    out = app.topic("out", key_type=str, value_type=Order, partitions=1)
    table = app.Table("t")

    @app.agent(app.topic("orders", key_type=str, value_type=Order))
    async def read(stream: Stream[Order | None]) -> None:
        async for key, order in stream.items():
            if order is None:
                table.pop(key, None)
            else:
                table[key] = order.amount
            await out.send(key=key, value=order)

    driver = drive(app)
    driver.send("orders", key="a", value=Order("a", 1))
    driver.send("orders", key="b", value=Order("b", 2))
    driver.send("orders", key="a")
    assert driver.table("t") == {"b": 2}
    assert [(o.key, o.value) for o in driver.output("out")][-1] == ("a", None)
    assert driver.dead_letters() == []


@pytest.mark.parametrize("size", [0, 1, 900_000])
def test_values_of_every_size_go_through(drive: Drive, size: int) -> None:
    """0-byte and nearly 1 MB values go through an agent, a table and the output as they are."""
    app = App("a")
    out = app.topic("out", value_type=bytes)
    table = app.Table("t", value_type=bytes)

    @app.agent(app.topic("blobs", value_type=bytes))
    async def read(stream: Stream[bytes]) -> None:
        async for value in stream:
            table["last"] = value
            await out.send(value=value)

    driver = drive(app)
    driver.send("blobs", value=b"x" * size)
    driver.crash(lose_stores=True)
    assert [len(o.value) for o in driver.output("out")] == [size]
    assert driver.table("t") == {"last": b"x" * size}


def test_value_larger_than_the_topic_takes_fails_in_its_event(drive: Drive) -> None:
    """send() refuses what no broker would take, in the agent that sends it: a dead letter, not a failed commit."""
    app = App("a")
    out = app.topic("out", value_type=bytes)

    @app.agent(app.topic("sizes", value_type=int))
    async def grow(stream: Stream[int]) -> None:
        async for size in stream:
            await out.send(value=b"x" * size)

    driver = drive(app)
    for size in (10, 2_000_000, 20):
        driver.send("sizes", value=size)
    assert sorted(len(o.value) for o in driver.output("out")) == [10, 20]
    assert b"producer_max_request_size" in driver.dead_letters()[0].headers["dead-letter-error"]


def test_value_that_cannot_be_encoded_fails_in_its_event(drive: Drive) -> None:
    """A value that the topic's or table's codec cannot write is the failure of the event that it came from."""
    app = App("a")
    out = app.topic("out")
    table = app.Table("t")

    @app.agent(app.topic("numbers", value_type=int))
    async def read(stream: Stream[int]) -> None:
        async for value in stream:
            if value == 1:
                await out.send(value=object())
            if value == 2:
                table["bad"] = object()
            table[str(value)] = value

    driver = drive(app)
    for value in range(4):
        driver.send("numbers", value=value)
    assert sorted(o.value for o in driver.dead_letters()) == [b"1", b"2"]
    assert driver.table("t") == {"0": 0, "3": 3}


@pytest.mark.parametrize("timestamp", [-1.0, -86_400.0, 0.001, FAR_FUTURE])
def test_timestamps_of_all_ages_are_kept(drive: Drive, timestamp: float) -> None:
    """Negative and far-future timestamps are shown as they are and can be sent on."""
    app = App("a")
    out = app.topic("out", value_type=int)
    seen: list[Event] = []

    @app.agent(app.topic("numbers", value_type=int))
    async def read(stream: Stream[int]) -> None:
        async for event in stream.events():
            seen.append(event)
            await out.send(value=event.value, timestamp=event.message.timestamp)

    driver = drive(app)
    driver.send("numbers", value=1, timestamp=timestamp)
    assert [event.message.timestamp for event in seen] == [timestamp]
    assert [o.timestamp for o in driver.output("out")] == [timestamp]


def test_header_only_records_are_events(drive: Drive) -> None:
    """No key, no value, headers with one name twice and an empty value: all there."""
    app = App("a")
    seen: list[Event] = []

    @app.agent(app.topic("orders", key_type=str, value_type=Order))
    async def read(stream: Stream[Order]) -> None:
        async for event in stream.events():
            seen.append(event)

    driver = drive(app)
    headers = [("a", b"1"), ("a", b"2"), ("empty", b"")]
    driver.logs.append("orders", {"key": None, "value": None, "headers": headers}, 0.0)
    driver.advance(0.0)
    [event] = seen
    assert (event.key, event.value, event.headers) == (None, None, {"a": b"2", "empty": b""})
