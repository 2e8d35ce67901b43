"""What no broker would take is the failure of the event that sends it, never of the commit that carries it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from streamcluster import App, Event, Record, Stream
from streamcluster.headers import header_pairs
from streamcluster.ids import TP
from streamcluster.settings import Settings
from streamcluster.tables import Table
from streamcluster.testing.topics import Output
from streamcluster.topology import ResolvedTopic
from streamcluster.topology.limits import TopicLimits, limits_of
from tests.engine.conftest import Drive

BYTES_MAX = 2000
Act = Callable[[Event, Any, Table[str, Any]], Awaitable[object]]


async def write(table: Table[str, Any], key: str, value: object) -> None:
    """Change a table, as something to await."""
    table[key] = value


async def grow(table: Table[str, Any]) -> None:
    """Change a value in place."""
    table.setdefault("list", []).extend("x" * BYTES_MAX)


# What an agent does at one event -> a part of the reason.
REFUSED: dict[str, tuple[Act, bytes]] = {
    "large value": (lambda _e, out, _t: out.send(value="x" * BYTES_MAX), b"more than topic 'out' takes"),
    "large key": (lambda _e, out, _t: out.send(key="x" * BYTES_MAX), b"more than topic 'out' takes"),
    "large header": (lambda _e, out, _t: out.send(headers={"h": b"x" * BYTES_MAX}), b"more than topic 'out' takes"),
    "large sum": (
        lambda _e, out, _t: out.send(key="x" * 700, value="x" * 700, headers=[("h", b"x" * 700)]),
        b"more than topic 'out' takes",
    ),
    "large header of a forwarded event": (
        lambda event, out, _t: event.forward(out, headers={"h": b"x" * BYTES_MAX}),
        b"more than topic 'out' takes",
    ),
    "header that is a number": (lambda _e, out, _t: out.send(headers={"h": 5}), b"header 'h' is a int"),
    "forwarded header that is one": (lambda e, out, _t: e.forward(out, headers={"h": 5}), b"header 'h' is a int"),
    "partition that is not there": (lambda _e, out, _t: out.send(partition=2), b"has the partitions 0 to 1, not 2"),
    "negative partition": (lambda _e, out, _t: out.send(partition=-1), b"has the partitions 0 to 1, not -1"),
    "partition as text": (lambda _e, out, _t: out.send(partition="1"), b"has the partitions 0 to 1, not '1'"),
    "timestamp without a number": (lambda _e, out, _t: out.send(timestamp=float("nan")), b"NaN"),
    "large table entry": (lambda _e, _o, t: write(t, "k", "x" * BYTES_MAX), b"more than topic 'a-t-changelog' takes"),
    "large table key": (lambda _e, _o, t: write(t, "x" * BYTES_MAX, 1), b"more than topic 'a-t-changelog' takes"),
    "large entry made in place": (lambda _e, _o, t: grow(t), b"more than topic 'a-t-changelog' takes"),
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED.keys())
def test_what_no_broker_takes_fails_in_its_event(drive: Drive, refused: tuple[Act, bytes]) -> None:
    """A dead letter with the reason; the events before and behind it count once, the failing one not at all."""
    act, reason = refused
    app = App("a", producer_max_request_size=BYTES_MAX, error_retries=0)
    out = app.topic("out", key_type=str, partitions=2)
    table: Table[str, Any] = app.Table("t")

    @app.agent(app.topic("numbers", value_type=int))
    async def read(stream: Stream[int]) -> None:
        async for event in stream.events():
            table[str(event.value)] = 1
            if event.value == 1:
                await act(event, out, table)
            await out.send(value=event.value)

    driver = drive(app)
    for value in range(4):
        driver.send("numbers", value=value)
    assert sorted(output.value for output in driver.output(out)) == [0, 2, 3]
    assert driver.table("t") == {"0": 1, "2": 1, "3": 1}
    (letter,) = driver.dead_letters()
    assert reason in letter.headers["dead-letter-error"]
    assert driver.positions()[TP("numbers", 0)] == 4


def test_group_by_of_a_record_that_its_topic_does_not_take_fails_in_its_event(drive: Drive) -> None:
    """The sending half checks each record, also where it forwards whole runs."""

    class Item(Record):
        name: str

    app = App("a", producer_max_request_size=BYTES_MAX, error_retries=0)
    counts = app.Table("counts", default=int)

    @app.agent(app.topic("items", value_type=Item))
    async def count(stream: Stream[Item]) -> None:
        async for item in stream.group_by(Item.name):
            counts[item.name] += 1

    driver = drive(app)
    for length in (1, 2, 1_000, BYTES_MAX, 3):
        driver.send("items", value=Item("x" * length))
    # The name is in the key as well, so one of 1,000 characters is too much already.
    assert {len(name): n for name, n in driver.table("counts").items()} == {1: 1, 2: 1, 3: 1}
    assert len(driver.dead_letters()) == 2


def letter_of(drive: Drive, *, key: bytes, value: bytes, header: bytes) -> Output:
    """The dead letter of one record that does not decode."""
    app = App("a", producer_max_request_size=BYTES_MAX)

    @app.agent(app.topic("numbers", value_type=int))
    async def read(stream: Stream[int]) -> None:
        async for _ in stream:
            pass

    driver = drive(app)
    driver.logs.append("numbers", {"key": key, "value": value, "headers": [("h", header)]}, 0.0)
    driver.advance(0.0)
    (letter,) = driver.dead_letters()
    return letter


def test_dead_letter_that_would_be_too_large_leaves_out_the_value(drive: Drive) -> None:
    """It says so and where the record is; the stream goes on, where a refused letter would stop it for ever."""
    letter = letter_of(drive, key=b"k", value=b"x" * 500_000, header=b"1")
    assert (letter.key, letter.value, letter.headers["h"]) == (b"k", None, b"1")
    left_out = letter.headers["dead-letter-left-out"]
    assert left_out == b"value (500000 bytes)"
    assert letter.headers["dead-letter-offset"] == b"0"


def test_dead_letter_leaves_out_headers_and_key_as_the_last(drive: Drive) -> None:
    """A record whose key and headers alone are too much still has its letter."""
    letter = letter_of(drive, key=b"k" * 400_000, value=b"", header=b"x" * 400_000)
    assert (letter.key, letter.value, "h" in letter.headers) == (None, None, False)
    assert (
        letter.headers["dead-letter-left-out"] == b"value (0 bytes), headers (1 with 400006 bytes), key (400000 bytes)"
    )


def test_dead_letter_that_fits_is_whole(drive: Drive) -> None:
    """A record of the largest size that the app may send leaves room for the reason."""
    letter = letter_of(drive, key=b"k", value=b"x" * BYTES_MAX, header=b"1")
    assert letter.value == b"x" * BYTES_MAX
    assert "dead-letter-left-out" not in letter.headers


def test_headers_of_a_sent_event_are_kept_or_replaced(drive: Drive) -> None:
    """`event.send` and `forward` take the record's headers along; headers={} sends none."""
    app = App("a")
    out = app.topic("out", value_type=int, partitions=1)

    @app.agent(app.topic("numbers", value_type=int))
    async def read(stream: Stream[int]) -> None:
        async for event in stream.events():
            await event.send(out)
            await event.send(out, headers={})
            await event.forward(out)
            await event.forward(out, headers={}, key="text")
            await event.forward(out, headers={"new": "text"})

    driver = drive(app)
    driver.send("numbers", value=1, headers={"h": b"1"})
    old = {"h": b"1"}
    assert [output.headers for output in driver.output(out)] == [old, {}, old, {}, {"new": b"text"}]


HOUR_MS = 3_600_000


def test_timestamps_too_far_from_now_are_refused() -> None:
    """The broker would refuse the whole batch; the message names the topic's setting."""
    limits = TopicLimits(BYTES_MAX, ahead_ms_max=HOUR_MS, behind_ms_max=HOUR_MS)
    now = time.time()
    assert limits.milliseconds("t", now) == round(now * 1000)
    # The nearest millisecond: what was read as a timestamp is written as the same one.
    moment = int(now * 1000) // 1000 * 1000
    assert {limits.milliseconds("t", (moment + part) / 1000) - part for part in range(1000)} == {moment}
    with pytest.raises(ValueError, match=r"'t' takes 3600: raise message\.timestamp\.after\.max\.ms"):
        limits.milliseconds("t", now + 3700)
    with pytest.raises(ValueError, match=r"message\.timestamp\.before\.max\.ms"):
        limits.milliseconds("t", now - 3700)


def test_timestamps_of_all_ages_pass_where_nothing_limits_them() -> None:
    """Also 0, which librdkafka would take for "now": it becomes the next millisecond."""
    limits = TopicLimits(BYTES_MAX)
    assert [limits.milliseconds("t", at) for at in (-5.0, 0.0, 3.25e10)] == [-5000, 1, 32_500_000_000_000]


def test_limits_are_the_smaller_of_topic_and_settings() -> None:
    """What a topic takes is known from the brokers; what the client sends is a setting."""
    settings = Settings(id="a", producer_max_request_size=10_000)
    topic = ResolvedTopic(name="t", role="output", partitions=3, message_bytes_max=5_000)
    assert limits_of(settings).record_bytes_max == 10_000 - 512
    assert (limits_of(settings, topic).record_bytes_max, limits_of(settings, topic).partitions) == (5_000 - 512, 3)


def test_headers_are_pairs_of_name_and_bytes() -> None:
    """Mappings and pairs, bytes, text and None."""
    assert header_pairs({"a": "text", "b": b"1"}) == [("a", b"text"), ("b", b"1")]
    assert header_pairs([("a", None), ("a", b"")]) == [("a", None), ("a", b"")]
    with pytest.raises(TypeError, match="give text or bytes"):
        header_pairs([(5, b"1")])
