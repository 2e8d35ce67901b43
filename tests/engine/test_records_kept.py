"""A record keeps what it is: timestamp, headers, null key and null value, on every way through an app."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from streamcluster import App, Event, Record, Stream
from streamcluster.batch import KafkaRecord
from streamcluster.headers import pairs_of
from streamcluster.ids import TP
from streamcluster.output import AT_COMMIT, NO_TIMESTAMP, NOT_AT_COMMIT
from streamcluster.testing import Driver
from streamcluster.topology.limits import CarriedTime, TopicLimits
from tests.engine.conftest import Drive

# Names that are repeated, a value that is null, one that is empty, one that is no text.
HEADERS: list[tuple[str, str | bytes | None]] = [("h", b"1"), ("h", b"2"), ("null", None), ("e", b""), ("b", b"\xff")]
THEN = 1_000_000.125
HOUR_MS = 3_600_000


class Click(Record):
    page: str | None


def records_of(driver: Driver, topic: str) -> list[KafkaRecord]:
    """The records of a topic, by partition."""
    return [record for tp, log in sorted(driver.logs.logs.items()) if tp.topic == topic for record in log]


def kept_of(driver: Driver, topic: str) -> list[tuple[int, list[tuple[str, bytes | None]]]]:
    """Timestamp and headers of the records of a topic."""
    return [(record.timestamp, pairs_of(record.headers) or []) for record in records_of(driver, topic)]


def make_ways(app: App) -> None:
    """An agent per way that a record takes to another topic."""
    clicks = app.topic("clicks", key_type=str, value_type=Click)
    names = ("through", "echo", "yielded", "event", "sent", "forwarded", "echo-of-take")
    out = {name: app.topic(name, key_type=str, value_type=Click, partitions=1) for name in names}

    @app.agent(clicks)
    async def regroup(stream: Stream[Click]) -> None:
        async for _ in stream.group_by(Click.page, name="page"):
            pass

    @app.agent(clicks)
    async def through(stream: Stream[Click]) -> None:
        async for _ in stream.through(out["through"]):
            pass

    @app.agent(clicks)
    async def echo(stream: Stream[Click]) -> None:
        async for _ in stream.echo(out["echo"]):
            pass

    @app.agent(clicks)
    async def echo_of_take(stream: Stream[Click]) -> None:
        async for _ in stream.echo(out["echo-of-take"]).take(2, within=1.0):
            pass

    @app.agent(clicks, sink=[out["yielded"]])
    async def yielding(stream: Stream[Click]) -> AsyncIterator[Click]:
        async for click in stream:
            yield click

    @app.agent(clicks, sink=[out["event"]])
    async def yielding_events(stream: Stream[Click]) -> AsyncIterator[Event]:
        async for event in stream.events():
            yield event

    @app.agent(clicks)
    async def sending(stream: Stream[Click]) -> None:
        async for event in stream.events():
            await event.send(out["sent"])
            await event.forward(out["forwarded"])


REGROUPED = "tests.engine.test_records_kept.regroup-clicks-page-repartition"
WAYS = [REGROUPED, "through", "echo", "yielded", "event", "sent", "forwarded", "echo-of-take"]


@pytest.mark.parametrize("count", [1, 3000], ids=["alone", "in runs"])
def test_timestamp_and_headers_are_kept_on_every_way(drive: Drive, count: int) -> None:
    """All headers, in order; also by the path that forwards whole runs, with others that have none."""
    app = App("a")
    make_ways(app)
    driver = drive(app)
    driver.send("clicks", key="k", value=Click(page="/"), timestamp=THEN, headers=HEADERS)
    # The first thousand events of a coroutine come one by one.
    for number in range(1, count):
        message = {"key": b"k", "value": b'{"page":"/"}', "timestamp": 5_000 + number}
        driver.logs.append("clicks", message | ({"headers": [("n", b"%d" % number)]} if number % 2 else {}), 0.0)
    driver.run(driver.worker.process(commit=True))
    driver.advance(2.0)
    first = (1_000_000_125, [(name, value) for name, value in HEADERS])
    others = [(5_000 + number, [("n", b"%d" % number)] if number % 2 else []) for number in range(1, count)]
    for way in WAYS:
        assert kept_of(driver, way) == [first, *others], way
    assert driver.dead_letters() == []


def test_tombstones_and_null_keys_are_kept_on_every_way(drive: Drive) -> None:
    """A record without value has no field to group by, so its key is null; all others keep theirs."""
    app = App("a")
    make_ways(app)
    driver = drive(app)
    driver.send("clicks", key="k", value=None, timestamp=THEN)
    driver.send("clicks", key=None, value=Click(page="/"), timestamp=THEN)
    driver.advance(2.0)
    whole = [(b"k", None), (None, b'{"page":"/"}')]
    expected = dict.fromkeys(WAYS, whole) | {
        REGROUPED: [(None, None), (b"/", b'{"page":"/"}')],
        "yielded": [(None, None), (None, b'{"page":"/"}')],
    }
    found = {way: [(record.key, record.value) for record in records_of(driver, way)] for way in WAYS}
    assert found == expected
    assert driver.dead_letters() == []


@pytest.mark.parametrize("count", [20, 3000], ids=["alone", "in runs"])
def test_none_of_group_by_goes_to_one_partition_with_a_null_key(drive: Drive, count: int) -> None:
    """So one task sees them all, whichever partitions and however many runs they came from."""
    app = App("a")
    seen: dict[int, int] = {}

    @app.agent(app.topic("clicks", key_type=str, value_type=Click))
    async def regroup(stream: Stream[Click]) -> None:
        async for event in stream.group_by(Click.page, name="page").events():
            if event.key is None:
                assert event.value.page is None
                seen[event.message.partition] = seen.get(event.message.partition, 0) + 1

    driver = drive(app, partitions=4)
    for number in range(count):
        value = b'{"page":null}' if number % 2 else b'{"page":"%d"}' % (number % 7)
        driver.logs.append("clicks", {"key": b"%d" % number, "value": value, "partition": number % 4}, 0.0)
    driver.run(driver.worker.process(commit=True))
    assert seen == {0: count // 2}
    assert {len(driver.logs.logs[TP(REGROUPED, number)]) > 0 for number in range(4)} == {True}


def test_a_null_key_goes_through_as_any_other_producer_sends_it(drive: Drive) -> None:
    """`through` makes no new key, so records without one are spread as they would be by a plain send."""
    app = App("a")
    topic = app.topic("through", key_type=str, value_type=int, partitions=4)

    @app.agent(app.topic("numbers", value_type=int))
    async def pass_on(stream: Stream[int]) -> None:
        async for _ in stream.through(topic):
            pass

    driver = drive(app, partitions=4)
    for number in range(8):
        driver.send("numbers", value=number, partition=0)
    assert len({tp for tp, log in driver.logs.logs.items() if tp.topic == "through" and log}) == 4


def test_what_an_agent_sends_is_of_its_events_time(drive: Drive) -> None:
    """As in Kafka Streams; a timestamp that is given wins, and headers are those given: it is another record."""
    app = App("a")
    out = app.topic("out", value_type=int, partitions=1)

    @app.agent(app.topic("numbers", value_type=int))
    async def read(stream: Stream[int]) -> None:
        async for value in stream:
            await out.send(value=value)
            out.send_soon(value=value, timestamp=7.0, headers={"own": "1"})

    driver = drive(app)
    driver.send("numbers", value=1, timestamp=THEN, headers={"h": b"1"})
    driver.send("numbers", value=2, timestamp=THEN - 5, headers={"h": b"1"})
    own = (7_000, [("own", b"1")])
    assert kept_of(driver, "out") == [(1_000_000_125, []), own, (999_995_125, []), own]


def test_what_a_shared_stream_sends_is_of_its_events_time() -> None:
    """In each of the tasks that it goes over, with echo too; behind its loop it is at no event."""
    app = App("a")
    out = app.topic("out", value_type=int, partitions=1)
    stream = app.stream(app.topic("numbers", value_type=int)).echo(out)

    @app.task
    async def read() -> None:
        async for value in stream:
            await out.send(value=-value)
            if value == 2:
                break
        await out.send(value=0)

    with Driver(app, partitions=2, start_time=1000.0) as driver:
        for value in (1, 2):
            driver.send("numbers", value=value, partition=value - 1, timestamp=value, headers=HEADERS)
        found = {output.value: (output.timestamp, len(output.headers)) for output in driver.output(out)}
    assert found == {1: (1.0, 4), -1: (1.0, 0), 2: (2.0, 4), -2: (2.0, 0), 0: (1000.0, 0)}


def test_what_a_batch_sends_is_of_its_latest_time(drive: Drive) -> None:
    """Also when the batch was handed out since time was up, with no event in hand."""
    app = App("a")
    out = app.topic("out", value_type=int, partitions=1)

    @app.agent(app.topic("numbers", value_type=int), sink=[out])
    async def read(stream: Stream[int]) -> AsyncIterator[int]:
        async for batch in stream.take(3, within=1.0):
            yield sum(batch)

    driver = drive(app)
    for value, timestamp in ((1, 5.0), (2, 9.0), (3, 7.0), (4, 20.0)):
        driver.send("numbers", value=value, timestamp=timestamp, headers=HEADERS)
    driver.advance(2.0)
    assert kept_of(driver, "out") == [(9_000, []), (20_000, [])]
    assert [(output.value, output.timestamp) for output in driver.output(out)] == [(6, 9.0), (4, 20.0)]


def test_what_a_timer_sends_is_of_the_commits_time() -> None:
    """It is at no event."""
    app = App("a")
    out = app.topic("out", value_type=int, partitions=1)

    @app.timer(10.0)
    async def tick() -> None:
        await out.send(value=1)

    with Driver(app, start_time=1000.0) as driver:
        driver.advance(11.0)
        assert [output.timestamp for output in driver.output(out)] == [1010.0]


def test_headers_that_the_app_gives_win(drive: Drive) -> None:
    """Instead of the record's, not beside them; an empty mapping means none."""
    app = App("a")
    out = app.topic("out", value_type=int, partitions=1)

    @app.agent(app.topic("numbers", value_type=int))
    async def read(stream: Stream[int]) -> None:
        async for event in stream.events():
            await event.send(out, headers=[("own", None)])
            await event.forward(out, headers={})

    driver = drive(app)
    driver.send("numbers", value=1, headers=HEADERS)
    assert [headers for _, headers in kept_of(driver, "out")] == [[("own", None)], []]


@pytest.mark.parametrize("timestamp", [NO_TIMESTAMP, -5_000, 2**62, 1])
def test_odd_timestamps_are_kept(drive: Drive, timestamp: int) -> None:
    """A record without timestamp stays without, one of before 1970 stays old."""
    app = App("a")
    make_ways(app)
    driver = drive(app)
    driver.logs.append("clicks", {"key": b"k", "value": b'{"page":"/"}', "timestamp": timestamp}, 0.0)
    driver.run(driver.worker.process(commit=True))
    driver.advance(2.0)
    assert {way: kept_of(driver, way) for way in WAYS} == {way: [(timestamp, [])] for way in WAYS}


def test_the_time_that_a_topic_does_not_take_is_the_commits(caplog: pytest.LogCaptureFixture) -> None:
    """The record is not lost for a time that its sender did not choose; the log names topic and setting, once."""
    now = int(time.time() * 1000)
    carried = CarriedTime("out", TopicLimits(1000, ahead_ms_max=HOUR_MS))
    assert [carried.of(now - HOUR_MS * 9), carried.of(now), carried.of(NO_TIMESTAMP)] == [now - HOUR_MS * 9, now, -1]
    assert carried.of_run([now, now + 2 * HOUR_MS, 0, now + HOUR_MS // 2]) == [
        now,
        AT_COMMIT,
        NOT_AT_COMMIT,
        now + HOUR_MS // 2,
    ]
    assert carried.of(now + 3 * HOUR_MS) == AT_COMMIT
    [said] = caplog.messages
    assert "topic out does not take the timestamp" in said
    assert "Raise message.timestamp.after.max.ms of the topic" in said


def test_the_time_that_is_too_old_for_a_topic_is_the_commits(caplog: pytest.LogCaptureFixture) -> None:
    """With what may pass until the commit; a record without timestamp is not old, for brokers too."""
    now = int(time.time() * 1000)
    carried = CarriedTime("out", TopicLimits(1000, behind_ms_max=HOUR_MS))
    old, fresh = now - HOUR_MS - 1, now - HOUR_MS // 2
    assert [carried.of(old), carried.of(fresh), carried.of(NO_TIMESTAMP)] == [AT_COMMIT, fresh, NO_TIMESTAMP]
    assert carried.of(now - HOUR_MS + 1_000) == AT_COMMIT
    assert "message.timestamp.before.max.ms" in caplog.text


def test_a_dead_letter_says_the_records_time() -> None:
    """Its own is that of the failure, or a topic that keeps records for a week would drop it at once."""
    app = App("a")

    @app.agent(app.topic("numbers", value_type=int), on_error="dead_letter")
    async def read(stream: Stream[int]) -> None:
        async for _ in stream:
            raise ValueError

    with Driver(app, start_time=2_000_000.0) as driver:
        driver.send("numbers", value=1, timestamp=THEN)
        [letter] = driver.dead_letters()
        assert (letter.headers["dead-letter-timestamp"], letter.timestamp) == (b"1000000125", 2_000_000.0)
