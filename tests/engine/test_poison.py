"""Records that no honest producer writes, in the engine: their events fail, go by the policy, nothing else stops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcluster import App, Codec, Event, Stream
from streamcluster.errors import UnreadableBatch
from streamcluster.headers import headers_size
from streamcluster.ids import TP
from streamcluster.settings import ErrorAction
from streamcluster.testing import Driver
from tests.engine.conftest import Drive

LEFT_OUT = "dead-letter-left-out"


def feed(driver: Driver, values: list[bytes]) -> None:
    """Have these values come in one batch; the headers of `bad` cannot be read."""
    for value in values:
        record = driver.logs.append("in", {"key": None, "value": value}, 0.0)
        if value == b"bad":
            driver.logs.logs[TP("in", 0)][-1] = replace(record, headers="a name that is not UTF-8")
    driver.advance(0.0)


def forwards(app: App, _: list[Event]) -> None:
    """Events are sent on as they are."""
    out = app.topic("out", value_type=bytes)

    @app.agent(app.topic("in", value_type=bytes))
    async def send_on(stream: Stream[bytes]) -> None:
        async for event in stream.events():
            await event.forward(out)


def groups(app: App, _: list[Event]) -> None:
    """Events go through a repartition topic."""
    out = app.topic("out", value_type=bytes)

    @app.agent(app.topic("in", value_type=bytes))
    async def regroup(stream: Stream[bytes]) -> None:
        async for value in stream.group_by(lambda value: value, name="v"):
            await out.send(value=value)


def looks(app: App, _: list[Event]) -> None:
    """The agent reads the headers."""
    out = app.topic("out", value_type=bytes)

    @app.agent(app.topic("in", value_type=bytes))
    async def look(stream: Stream[bytes]) -> None:
        async for event in stream.events():
            await out.send(value=event.value, headers=event.headers)


@pytest.mark.parametrize("declare", [forwards, groups, looks])
def test_an_event_whose_headers_cannot_be_read_fails_where_they_are_needed(
    drive: Drive, declare: Callable[[App, list[Event]], None]
) -> None:
    """It becomes a dead letter without headers, and its neighbours go through."""
    app = App("a")
    declare(app, [])
    driver = drive(app)
    feed(driver, [b"a", b"bad", b"b"])

    (letter,) = driver.dead_letters()
    assert letter.value == b"bad"
    assert letter.headers[LEFT_OUT] == b"headers (they cannot be read)"
    assert b"UnreadableHeaders" in letter.headers["dead-letter-error"]
    assert [output.value for output in driver.output("out")] == [b"a", b"b"]


def test_an_event_whose_headers_nobody_needs_does_not_fail(drive: Drive) -> None:
    """Unreadable headers cost only whoever reads them."""
    app = App("a")
    seen: list[bytes] = []

    @app.agent(app.topic("in", value_type=bytes))
    async def read(stream: Stream[bytes]) -> None:
        async for value in stream:
            seen.append(value)

    driver = drive(app)
    feed(driver, [b"bad"])
    assert (seen, driver.dead_letters()) == ([b"bad"], [])


@pytest.mark.parametrize("action", ["dead_letter", "skip"])
def test_what_cannot_be_unpacked_goes_by_the_policy_in_its_place(drive: Drive, action: ErrorAction) -> None:
    """As a record that does not decode does: behind what was before it, whether a codec would take nothing or not."""
    app = App("a", error_action=action)
    seen: list[bytes | None] = []

    @app.agent(app.topic("in", value_serializer=Codec(dumps=bytes, loads=lambda data: data)))
    async def read(stream: Stream[bytes]) -> None:
        async for value in stream:
            seen.append(value)

    driver = drive(app)
    tp = TP("in", 0)
    for number in range(6):
        record = driver.logs.append("in", {"key": None, "value": b"%d" % number}, 0.0)
        if number in (2, 3):
            why = UnreadableBatch(f"the records at offsets 2 to {number} cannot be unpacked: too much")
            driver.logs.logs[tp][-1] = replace(record, value=None, why=why)
        if number in (2, 3, 5):
            driver.advance(0.0)

    assert (seen, driver.positions()[tp]) == ([b"0", b"1", b"4", b"5"], 6)
    letters = driver.dead_letters() if action == "dead_letter" else []
    assert [letter.headers["dead-letter-offset"] for letter in letters] == ([b"2", b"3"] if letters else [])
    for letter in letters:
        assert (letter.key, letter.value) == (None, None)
        assert letter.headers[LEFT_OUT] == b"key, value, headers (they cannot be unpacked)"
        assert b"UnreadableBatch: the records at offsets 2 to" in letter.headers["dead-letter-error"]
    assert len(letters) == (2 if action == "dead_letter" else 0)


def test_policy_stop_stops_at_what_cannot_be_unpacked(drive: Drive) -> None:
    """As at a record that does not decode: what was before it is done, and the offset is not passed."""
    app = App("a", error_action="stop")
    seen: list[bytes] = []

    @app.agent(app.topic("in", value_type=bytes))
    async def read(stream: Stream[bytes]) -> None:
        async for value in stream:
            seen.append(value)

    driver = drive(app)
    driver.send("in", value=b"a")
    tp = TP("in", 0)
    record = driver.logs.append("in", {"key": None, "value": None}, 0.0)
    driver.logs.logs[tp][-1] = replace(record, why=UnreadableBatch("too much"))
    with pytest.raises(UnreadableBatch):
        driver.advance(0.0)
    assert (seen, driver.positions()[tp]) == ([b"a"], 1)


@pytest.mark.parametrize("action", ["dead_letter", "skip"])
def test_what_is_put_aside_counts_once_however_often_it_is_rolled_back(
    drive: Drive, caplog: pytest.LogCaptureFixture, action: ErrorAction
) -> None:
    """A burst of undecodable records among events that fail: each failure rolls all of them back."""
    app = App("a", error_action=action)

    @app.agent(app.topic("in", value_type=int))
    async def read(stream: Stream[int]) -> None:
        async for value in stream:
            if value < 0:
                raise ValueError("no")

    driver = drive(app)
    for number in range(30):
        driver.logs.append("in", {"key": None, "value": b"?" if number % 3 else b"%d" % (number % 2 - 1)}, 0.0)
    driver.advance(0.0)
    said = [record for record in caplog.records if "sends in[0]@" in record.message or "skips in[0]@" in record.message]
    assert len(said) == 25
    recovery = driver.worker.engine.recovery
    assert recovery.rollbacks_total >= 5
    letters = 25 if action == "dead_letter" else 0
    assert (len(driver.output("a-dead-letter")), recovery.dead_letters_total) == (letters, letters)


def zigzag(number: int) -> bytes:
    """An integer as Kafka's records have it."""
    left, out = number << 1 if number >= 0 else ~(number << 1), bytearray()
    while left >= 0x80:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*out, left])


def on_the_wire(pairs: list[tuple[str, bytes | None]]) -> bytes:
    """Headers as Kafka's records have them."""
    data = zigzag(len(pairs))
    for name, value in pairs:
        data += (
            zigzag(len(name.encode())) + name.encode() + zigzag(-1 if value is None else len(value)) + (value or b"")
        )
    return data


@given(st.lists(st.tuples(st.text(max_size=300), st.none() | st.binary(max_size=300)), min_size=1, max_size=200))
def test_the_size_of_headers_is_what_they_take_on_the_wire(pairs: list[tuple[str, bytes | None]]) -> None:
    """To the byte, whatever the names and values."""
    assert headers_size(pairs) == len(on_the_wire(pairs))


@pytest.mark.parametrize("length", [0, 63, 64, 8191, 8192, 1_048_575, 1_048_576])
def test_the_size_of_long_headers_is_what_they_take_on_the_wire(length: int) -> None:
    """Where a length needs another byte."""
    pairs: list[tuple[str, bytes | None]] = [("n" * length, b"v" * length), ("é" * (length // 2), None)]
    assert headers_size(pairs) == len(on_the_wire(pairs))
