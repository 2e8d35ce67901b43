"""Declarations that cannot work: each is refused where it is written, in words, before anything starts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from streamcluster import App, Stream, Topic
from streamcluster.errors import AppError
from streamcluster.testing import Driver
from tests.engine.conftest import Drive

Declare = Callable[[Any, Topic], object]


async def nothing(stream: Stream[int]) -> None:
    """Read everything."""
    async for _ in stream:
        pass


async def no_argument() -> None:
    """Not an agent."""


def two_arguments(one: object, two: object) -> None:
    """Neither a task nor an agent."""


# What is declared -> a part of the message.
WRONG: dict[str, tuple[Declare, str]] = {
    "topic name with a space": (lambda app, _: app.topic("a b"), "'a b' cannot be a topic's name"),
    "topic name that is no text": (lambda app, _: app.topic(5), "5 cannot be a topic's name"),
    "topic name that is a directory": (lambda app, _: app.topic(".."), "'..' cannot be"),
    "topic name that is too long": (lambda app, _: app.topic("x" * 250), "at most 249"),
    "no partitions": (lambda app, _: app.topic("t", partitions=0), r"app.topic('t'): partitions=0 must be"),
    "partitions as text": (lambda app, _: app.topic("t", partitions="4"), "partitions='4' must be a whole number"),
    "no replicas": (lambda app, _: app.topic("t", replicas=0), "replicas=0 must be"),
    "retention that is no duration": (lambda app, _: app.topic("t", retention="1 day"), "give a number of seconds"),
    "negative retention": (lambda app, _: app.topic("t", retention=timedelta(-1)), "is no duration"),
    "agent without an argument": (lambda app, topic: app.agent(topic)(no_argument), "one argument, the stream"),
    "agent with two arguments": (lambda app, topic: app.agent(topic)(two_arguments), "one argument, the stream"),
    "concurrency as text": (lambda app, topic: app.agent(topic, concurrency="3")(nothing), "1 to 500"),
    "concurrency of 0": (lambda app, topic: app.agent(topic, concurrency=0)(nothing), "1 to 500"),
    "sink that is not in a list": (lambda app, topic: app.agent(topic, sink=topic)(nothing), "must be a list"),
    "sink that is a name": (lambda app, topic: app.agent(topic, sink="out")(nothing), "must be a list"),
    "sink that is nothing": (lambda app, topic: app.agent(topic, sink=[5])(nothing), "sink 5 is neither"),
    "processors that are not in a list": (lambda app, topic: app.stream(topic, processors=repr), "must be a list"),
    "processor that is no function": (lambda app, topic: app.stream(topic, processors=[5]), "5 is not a function"),
    "added processor that is none": (lambda app, topic: app.stream(topic).add_processor(5), "5 is not a function"),
    "filter that is no function": (lambda app, topic: app.stream(topic).filter(5), "5 is not a function"),
    "echo to a name": (lambda app, topic: app.stream(topic).echo("out"), "echo('out'): give a topic object"),
    "through a name": (lambda app, topic: app.stream(topic).through("out"), "through('out'): give a topic object"),
    "group_by to a name": (
        lambda app, topic: app.stream(topic).group_by(repr, topic="out"),
        "give a topic object",
    ),
    "group_by with no partitions": (lambda app, topic: app.stream(topic).group_by(repr, partitions=0), "partitions=0"),
    "table name with a space": (lambda app, _: app.Table("a b"), "it names the changelog topic"),
    "default that is a value": (lambda app, _: app.Table("t", default=0), "default: 0 is not a function"),
    "table without partitions": (lambda app, _: app.Table("t", partitions=0), "partitions=0"),
    "changelog that cannot be": (lambda app, _: app.Table("t", changelog_topic="a/b"), "'a/b' cannot be a topic's"),
    "on_recover that is no function": (lambda app, _: app.Table("t", on_recover=1), "on_recover: 1 is not a function"),
    "task with two arguments": (lambda app, _: app.task(two_arguments), "one argument, the app"),
    "timer without an interval": (lambda app, _: app.timer(no_argument), "@app.timer(60)"),
    "timer with a text": (lambda app, _: app.timer("1m"), "'1m' is no duration"),
    "timer of 0 seconds": (lambda app, _: app.timer(0), "must be positive"),
    "timer with two arguments": (lambda app, _: app.timer(1)(two_arguments), "one argument, the app"),
}


@pytest.mark.parametrize("declare", WRONG.values(), ids=WRONG.keys())
def test_wrong_declaration_is_refused(declare: tuple[Declare, str]) -> None:
    """An AppError that names what was given and what is wanted."""
    wrong, text = declare
    app = App("a")
    topic = app.topic("numbers", value_type=int)
    with pytest.raises(AppError) as caught:
        wrong(app, topic)
    assert text in str(caught.value)


def test_wrong_operator_in_an_agent_is_refused_at_the_start() -> None:
    """Not at each event, where it would send every record to the dead letters."""
    app = App("a")
    topic = app.topic("numbers", value_type=int)

    @app.agent(topic)
    async def read(stream: Any) -> None:
        async for _ in stream.echo("out"):
            pass

    with pytest.raises(AppError, match="give a topic object"):
        Driver(app)


@pytest.mark.parametrize("is_topic", [True, False])
def test_a_topic_is_not_the_changelog_of_the_table_that_is_made_of_it(*, is_topic: bool) -> None:
    """What was read there was written there again, without end, with its key coded once more each time."""
    app = App("a")
    topic = app.topic("users", key_type=str, value_type=int)
    app.Table("users", source=topic, changelog_topic=topic if is_topic else "users")
    with pytest.raises(AppError, match="topic 'users' cannot be its source= and its changelog_topic="):
        Driver(app)


def test_two_tables_have_no_changelog_in_common() -> None:
    """The rows of one were restored into the other."""
    app = App("a")
    one = app.Table("one", default=int)
    two = app.Table("two", default=int, changelog_topic="a-one-changelog")

    @app.agent(app.topic("numbers", value_type=int))
    async def count(stream: Stream[int]) -> None:
        async for number in stream:
            one[number] += 1
            two[number] += 2

    with pytest.raises(AppError, match="tables 'one' and 'two' have one changelog, topic 'a-one-changelog'"):
        Driver(app)


def test_names_that_are_put_together_are_checked_at_the_start() -> None:
    """An agent's name begins the name of its repartition topic."""
    app = App("a")

    @app.agent(app.topic("numbers", value_type=int), name="my agent")
    async def read(stream: Stream[int]) -> None:
        async for _ in stream.group_by(str, name="text"):
            pass

    with pytest.raises(AppError, match=r"'my agent-numbers-text-repartition' cannot be"):
        Driver(app)


def test_what_is_right_is_taken() -> None:
    """Callables of all kinds, durations of all kinds."""
    app = App("a")
    topic = app.topic("numbers", "more.numbers_2", retention=timedelta(days=1), partitions=1)

    class Callables:
        async def method(self, stream: Stream[int]) -> None:
            async for _ in stream:
                pass

        def task(self, app: App) -> None:
            pass

    app.agent(topic, name="method", sink=(print, topic))(Callables().method)
    app.task(Callables().task)
    app.timer(timedelta(seconds=1))(lambda: None)
    app.Table("t", default=dict, changelog_topic=app.topic("log"))
    assert topic.topic_config() == {"retention.ms": "86400000"}
    Driver(app).close()


@pytest.mark.parametrize("collects", [False, True], ids=["values", "batches"])
def test_echo_reaches_an_agent(drive: Drive, collects: bool) -> None:
    """An agent stands for its topic, also in front of take()."""
    app = App("a")
    copied: list[int] = []

    @app.agent(app.topic("copies", value_type=int), name="copy")
    async def copy(stream: Stream[int]) -> None:
        async for value in stream:
            copied.append(value)

    @app.agent(app.topic("numbers", value_type=int), name="read")
    async def read(stream: Stream[int]) -> AsyncIterator[int]:
        echoed = stream.echo(copy)
        async for _ in echoed.take(1) if collects else echoed:
            yield 1

    driver = drive(app)
    driver.send("numbers", value=1)
    driver.send("numbers", value=2)
    assert copied == [1, 2]
