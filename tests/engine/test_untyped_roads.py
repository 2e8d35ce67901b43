"""Every road by which a value or a key reaches a topic without a type: what would not come back fails its event."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import pytest

from streamcluster import App, Record, Stream, Topic, current_event
from streamcluster.testing import Driver
from tests.codecs.kinds import Account, Last
from tests.engine.test_values import errors

WHEN = datetime(2026, 1, 2, tzinfo=UTC)
Send = Callable[[Topic, Any, Any], Any]
PLAIN = {"hour": 9, "tags": ["a", None, 1.5], "more": {"b": True}}


async def send(out: Topic, key: Any, value: Any) -> None:
    await out.send(key=key, value=value)


async def send_soon(out: Topic, key: Any, value: Any) -> None:
    out.send_soon(key=key, value=value)


async def event_send(out: Topic, key: Any, value: Any) -> None:
    event = current_event()
    assert event is not None
    await event.send(out, key=key, value=value)


async def event_forward(out: Topic, key: Any, value: Any) -> None:
    event = current_event()
    assert event is not None
    await event.forward(out, key=key)


ROADS: list[Send] = [send, send_soon, event_send]


def run(road: Send, key: Any, value: Any, **options: Any) -> tuple[list[str], list[Any]]:
    """What fails, and what an agent that reads the topic has got."""
    app = App("a")
    out = app.topic("out", partitions=1, **options)
    got: list[Any] = []

    @app.agent(app.topic("steps", key_type=str, value_type=int))
    async def write(stream: Stream[int]) -> None:
        async for _ in stream:
            await road(out, key, value)

    @app.agent(out)
    async def read(stream: Stream[Any]) -> None:
        async for pair in stream.items():
            got.append(pair)

    with Driver(app) as driver:
        driver.send("steps", key="s", value=1)
        return errors(driver), got


@pytest.mark.parametrize("road", ROADS)
def test_values_that_would_be_others_fail_the_event(road: Send) -> None:
    """With topic, key, type, place and what to do."""
    [error], got = run(road, "ann", {"when": WHEN})
    assert "topic 'out', key 'ann': its value of type dict: value['when'] is a datetime" in error
    assert "or send value['when'].isoformat()" in error
    assert got == []
    [error], got = run(road, "ann", Account("a"))
    assert "declare value_type=Account (in app.topic or @app.agent), or send value.to_representation()" in error
    assert got == []


@pytest.mark.parametrize("road", [*ROADS, event_forward])
def test_keys_that_would_be_others_fail_the_event(road: Send) -> None:
    """In raw, the default, and in JSON."""
    [error], got = run(road, ("a", 1), PLAIN)
    assert "topic 'out', key ('a', 1): its key of type tuple: key is a tuple, which is not read as one" in error
    assert got == []
    [error], got = run(road, [1], PLAIN, key_serializer="json")
    assert "key is a list, which is not read as one from a topic without key_type" in error
    assert got == []


@pytest.mark.parametrize("road", ROADS)
def test_plain_data_and_tuples_as_json_keys_come_back(road: Send) -> None:
    """Equal and of the same type."""
    assert run(road, ("a", 1), PLAIN, key_serializer="json") == ([], [(("a", 1), PLAIN)])


def test_a_forwarded_key_is_written_as_the_topic_says() -> None:
    """Not always as raw text."""
    assert run(event_forward, "a", None, key_serializer="json", value_type=int) == ([], [("a", 1)])
    [error], _ = run(event_forward, "a", None, key_type=int, value_type=int)
    assert "topic 'out', key 'a': its key of type str: a str cannot be read again as int" in error


@pytest.mark.parametrize("value", [Account("a"), Last(1), (1, 2), {"when": WHEN}])
@pytest.mark.parametrize("road", ["sink", "agent", "cast", "echo", "through", "group_by"])
def test_what_agents_and_streams_pass_on_is_checked(road: str, value: Any) -> None:
    """Sinks that are topics or agents, cast, and the operators that send."""
    app = App("a")
    out = app.topic("out", partitions=1, key_type=str)
    got: list[Any] = []

    @app.agent(out, name="reader")
    async def reader(stream: Stream[Any]) -> None:
        async for one in stream:
            got.append(one)

    def change(_: object):  # type: ignore[no-untyped-def]
        return value

    sinks: dict[str, list[Any]] = {"sink": [out], "agent": [reader]}

    @app.agent(app.topic("steps", key_type=str), name="writer", sink=sinks.get(road, []))
    async def writer(stream: Stream[Any]) -> Any:
        if road in ("echo", "through", "group_by"):
            stream.add_processor(change)
        if road == "echo":
            stream = stream.echo(out)
        elif road == "through":
            stream = stream.through(out)
        elif road == "group_by":
            stream = stream.group_by(str, name="again")
        async for one in stream:
            if road == "cast":
                await reader.cast(value, key="ann")
            got.extend([one] if road in ("echo", "through", "group_by") else [])
            yield value

    with Driver(app) as driver:
        driver.send("steps", key="s", value=1)
        [error] = errors(driver)
        assert "which is not read as one from a topic without value_type" in error
        assert got == []


@pytest.mark.parametrize("road", ["timer", "task"])
def test_what_timers_and_tasks_send_is_checked(road: str) -> None:
    """They fail there, with the same words."""
    app = App("a")
    out = app.topic("out", partitions=1)
    said: list[str] = []

    async def tell() -> None:
        try:
            await out.send(key="k", value=(1, 2))
        except Exception as error:  # noqa: BLE001 (what it is, is what is asked)
            said.append(str(error))

    if road == "timer":
        app.timer(1.0)(tell)
    else:
        app.task(tell)
    with Driver(app) as driver:
        driver.advance(2)
    assert said
    assert "topic 'out', key 'k': its value of type tuple: value is a tuple" in said[0]


class Visit(Record):
    visitor: UUID
    when: datetime
    pages: int | None = None


def by_day(visit: Visit) -> date:
    return visit.when.date()


def by_pair(visit: Visit):  # type: ignore[no-untyped-def]
    """Without a word on what it returns."""
    return visit.pages, "a"


def by_bytes(visit: Visit) -> bytes:
    """No text, and no JSON."""
    return b"\xff/"


@pytest.mark.parametrize(
    ("by", "key"),
    [
        (Visit.visitor, UUID(int=7)),
        (Visit.when, WHEN),
        (Visit.pages, 3),
        (by_day, WHEN.date()),
        (by_pair, (3, "a")),
        (by_bytes, b"\xff/"),
    ],
)
def test_group_by_gives_the_keys_that_it_was_given(by: Any, key: Any) -> None:
    """Whatever the function says of itself: its topic is ours, and keys are written as those of tables are."""
    events, found = grouped(by)
    assert (events, found) == ([], [key])
    assert type(found[0]) is type(key)


def grouped(by: Any) -> tuple[list[str], list[Any]]:
    app = App("a")
    found: list[Any] = []

    @app.agent(app.topic("visits", value_type=Visit), name="grouping")
    async def grouping(stream: Stream[Visit]) -> None:
        async for key, _ in stream.group_by(by).items():
            found.append(key)

    with Driver(app) as driver:
        driver.send("visits", value=Visit(UUID(int=7), WHEN, 3))
        return errors(driver), found
