"""stream.join(table): each event with the entry of its key, as the table is when the event is processed."""

from __future__ import annotations

from typing import Any

import pytest

from streamcluster import App, Record, Stream, Topic
from streamcluster.errors import AppError
from streamcluster.testing import Driver
from tests.engine.conftest import Drive


class Click(Record):
    """A click of somebody."""

    user: str
    page: str


def shop(app: App, *, keeps: bool) -> tuple[Topic, Topic]:
    """Clicks, joined with a table that another agent writes; what comes of it goes to `pairs`."""
    clicks = app.topic("clicks", key_type=str, value_type=str)
    users = app.topic("users", key_type=str, value_type=str)
    pairs = app.topic("pairs", key_type=str, partitions=1)
    names = app.Table("names", key_type=str, value_type=str)

    @app.agent(users)
    async def keep(stream: Stream[str | None]) -> None:
        async for user, name in stream.items():
            if name is None:
                names.pop(user, None)
            else:
                names[user] = name

    @app.agent(clicks)
    async def join(stream: Stream[str]) -> None:
        joined = stream.left_join(names) if keeps else stream.join(names)
        async for event in joined.events():
            await pairs.send(key=event.key, value=[*event.value])

    return clicks, users


def pairs_of(driver: Driver) -> list[Any]:
    """(key, value, seconds) of what came out."""
    return [(one.key, one.value, one.timestamp) for one in driver.output("pairs")]


def test_inner_join_drops_what_has_no_entry(drive: Drive) -> None:
    """Only clicks make pairs, with the newest name and the click's time; a deleted name is none; a crash keeps it."""
    app = App("inner")
    shop(app, keeps=False)
    driver = drive(app, 2)
    driver.send("clicks", key="u", value="early", timestamp=1)
    driver.send("users", key="u", value="Ann", timestamp=9)
    driver.send("clicks", key="u", value="home", timestamp=2)
    driver.crash(lose_stores=True)
    driver.send("users", key="u", value="Bea", timestamp=3)
    driver.send("clicks", key="u", value="cart", timestamp=4)
    driver.send("clicks", key="u", value=None, timestamp=4)
    driver.send("clicks", key=None, value="who", timestamp=5)
    driver.send("users", key="u", value=None, timestamp=6)
    driver.send("clicks", key="u", value="gone", timestamp=7)
    assert pairs_of(driver) == [("u", ["home", "Ann"], 2), ("u", ["cart", "Bea"], 4)]


def test_left_join_keeps_what_has_no_entry(drive: Drive) -> None:
    """With None, also where there is no key; an event without a value is none."""
    app = App("left")
    shop(app, keeps=True)
    driver = drive(app)
    driver.send("clicks", key="u", value="early", timestamp=1)
    driver.send("users", key="u", value="Ann", timestamp=1)
    driver.send("clicks", key="u", value="home", timestamp=2)
    driver.send("clicks", key=None, value="who", timestamp=3)
    driver.send("clicks", key="u", value=None, timestamp=4)
    assert pairs_of(driver) == [("u", ["early", None], 1), ("u", ["home", "Ann"], 2), (None, ["who", None], 3)]


def test_table_of_a_topic_has_its_newest_values(drive: Drive) -> None:
    """By the topic's types; a record without a value deletes, one without a key is nothing."""
    app = App("source")
    pages = app.Table("pages", source=app.topic("pages", key_type=str, value_type=bytes, value_serializer="raw"))
    clicks = app.topic("clicks", key_type=str, value_type=str)
    seen: list[tuple[str, bytes | None]] = []

    @app.agent(clicks)
    async def join(stream: Stream[str]) -> None:
        async for click, page in stream.left_join(pages):
            seen.append((click, page))

    driver = drive(app, 2)
    for value in (b"\xff old", b"\xff new"):
        driver.send("pages", key="p", value=value)
    driver.send("pages", key="q", value=b"gone")
    driver.send("pages", key="q", value=None)
    driver.send("pages", key=None, value=b"of nobody")
    driver.crash(lose_stores=True)
    for key in "pq":
        driver.send("clicks", key=key, value=key)
    assert seen == [("p", b"\xff new"), ("q", None)]
    assert driver.table("pages") == {"p": b"\xff new"}
    assert not driver.dead_letters()
    with pytest.raises(AppError, match="no topic with one name"):
        app.Table("wrong", source=app.topic(pattern="p.*"))


def test_join_on_a_field_repartitions(drive: Drive) -> None:
    """Whatever the key of the click: it meets the entry of its field; further operators get the pair."""
    app = App("on")
    clicks = app.topic("clicks", value_type=Click)
    names = app.Table("names", key_type=str, value_type=str)
    users = app.topic("users", key_type=str, value_type=str)
    seen: list[tuple[str, str]] = []

    @app.agent(users)
    async def keep(stream: Stream[str]) -> None:
        async for user, name in stream.items():
            names[user] = name

    @app.agent(clicks)
    async def join(stream: Stream[Click]) -> None:
        async for click, name in stream.join(names, on=Click.user).filter(lambda pair: pair[1] != "Bot"):
            seen.append((click.page, name))

    driver = drive(app, 3)
    for user, name in [("u", "Ann"), ("v", "Bea"), ("w", "Bot")]:
        driver.send("users", key=user, value=name)
    for number, user in enumerate("uvwx"):
        driver.send("clicks", key=str(number).encode(), value=Click(user=user, page=f"p{number}"))
    assert seen == [("p0", "Ann"), ("p1", "Bea")]


def two_agents(users: dict[str, Any], clicks: dict[str, Any]) -> App:
    """An agent that writes a table with keys of text, and one that joins it."""
    app = App("refused")
    names = app.Table("names", key_type=str, value_type=str)

    @app.agent(app.topic("users", key_type=str, value_type=str, **users))
    async def keep(stream: Stream[str]) -> None:
        async for user, name in stream.items():
            names[user] = name

    @app.agent(app.topic("clicks", value_type=str, **clicks))
    async def join(stream: Stream[str]) -> None:
        async for _ in stream.join(names):
            raise AssertionError

    return app


def test_what_can_never_match_is_refused_at_the_start() -> None:
    """Keys of two types, or on other partitions; both names are in the message."""
    for clicks, message in (
        ({"key_type": int}, r"clicks'?, whose keys are int, with table 'names', whose keys are str"),
        ({}, r"clicks'?, whose keys are bytes, with table 'names', whose keys are str"),
        ({"key_type": str, "partitions": 3}, r"'names'.*partition counts: 'clicks' has 3 partitions, 'users' has 2"),
    ):
        with pytest.raises(AppError, match=message):
            Driver(two_agents({"partitions": 2}, clicks))


def test_wrong_arguments_say_what_to_do() -> None:
    """Of the join itself, and of what is not there yet."""
    app = App("wrong")
    stream: Any = app.stream(app.topic("clicks"))
    with pytest.raises(AppError, match="nor a table"):
        stream.join(Click.user, within=5)
    with pytest.raises(AppError, match="no bounds in time"):
        stream.left_join(app.Table("names"), within=5)
