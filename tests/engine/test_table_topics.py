"""Tables whose changelog is the topic that they are made of: the same results as with one beside it, and no writers."""

from __future__ import annotations

import random
from typing import Any

import pytest

from streamcluster import App, Stream
from streamcluster.ahead import metadata_of, position_of
from streamcluster.errors import AppError
from streamcluster.ids import TP
from streamcluster.testing import Driver

KEYS = "abc"
OWN = {"changelog_topic": "users-log"}


def make_app(*, error: str = "dead_letter", **table: Any) -> App:
    """Questions are answered with what the table has; the same topic is read by another agent, with several lanes."""
    app = App("shop", error_retries=1, error_backoff=0.5)
    topic = app.topic("users", key_type=str, value_type=list, compacting=True, partitions=2)
    users = app.Table("users", source=topic, **table)
    answers = app.topic("answers", key_type=str, value_type=list, partitions=1)
    told = app.topic("told", key_type=str, value_type=list, partitions=1)

    @app.agent(app.topic("questions", key_type=str, value_type=int, partitions=2))
    async def answer(stream: Stream[Any]) -> None:
        async for key, number in stream.items():
            await answers.send(key=key, value=[number, users.get(key)])

    @app.agent(topic, concurrency=2)
    async def tell(stream: Stream[Any]) -> None:
        async for key, value in stream.items():
            if value is not None and value[0] % 5 == 0:
                raise ValueError(value)
            await told.send(key=key, value=value)

    return app


def play(driver: Driver, seed: int) -> None:
    """Changes, deletions, what does not decode, questions, and crashes with and without the disk, at any commit."""
    chance = random.Random(seed)
    for number in range(60):
        key, time, commit = chance.choice(KEYS), 1000.0 + number, chance.random() < 0.5
        match chance.choice(["change", "change", "delete", "bad", "ask", "ask", "crash"]):
            case "change":
                driver.send("users", key=key, value=[number], timestamp=time, commit=commit)
            case "delete":
                driver.send("users", key=key, value=None, timestamp=time, commit=commit)
            case "bad":
                driver.send("users", key=key, value=b"no list", timestamp=time, commit=commit)
            case "ask":
                driver.send("questions", key=key, value=number, timestamp=time, commit=commit)
            case _:
                driver.crash(lose_stores=chance.random() < 0.7)
    driver.crash(lose_stores=True)
    driver.advance(5)


def results(driver: Driver) -> list[Any]:
    """What came out of it."""
    letters = [(one.key, one.value, one.headers["dead-letter-agent"]) for one in driver.dead_letters()]
    outputs = [sorted(str((one.key, one.value)) for one in driver.output(topic)) for topic in ("answers", "told")]
    return [driver.table("users"), driver.positions(), sorted(map(str, letters)), outputs]


@pytest.mark.parametrize("seed", range(40))
def test_results_are_those_of_a_table_with_a_changelog(seed: int) -> None:
    """Wherever crashes fall, and whatever is lost; nothing is written of the table but its topic."""
    with Driver(make_app()) as driver:
        play(driver, seed)
        found, logs = results(driver), {tp.topic for tp in driver.logs.logs}
    with Driver(make_app(**OWN)) as driver:
        play(driver, seed)
        assert results(driver) == found
        assert {tp.topic for tp in driver.logs.logs} - logs == {"users-log"}


def test_a_restored_store_is_where_the_agent_is() -> None:
    """What was not committed is not in the table: it is processed again, in its turn."""
    with Driver(make_app()) as driver:
        driver.send("users", key="a", value=[1], partition=0)
        driver.send("users", key="a", value=[2], partition=0, commit=False)
        driver.run(driver.worker.stop())
        driver.worker.lose_stores()
        [task] = [task for task in driver.topology.tasks() if task.partition == 0]
        store = driver.worker._restore(task)
        assert store.changelog_next_offset("users") == 1
        assert store.shard("users").scan(rows_max=9) == [(b'"a"', b"[1]")]
        driver.run(driver.worker.open())


def test_position_of_an_agent_that_is_ahead_of_others() -> None:
    """It has finished what the metadata says beyond the committed position."""
    metadata = metadata_of({"users-source": [(7,)], "slow": [(3, 0)]})
    assert position_of("users-source", 100, metadata) == 107
    assert position_of("slow", 100, metadata) == 100
    assert position_of("other", 100, metadata) == 100


@pytest.mark.parametrize("what", ["set", "delete", "clear", "change"])
@pytest.mark.parametrize("own", [{}, OWN])
def test_agents_do_not_write_what_would_be_lost(what: str, own: dict[str, Any]) -> None:
    """An agent that does fails at that event; a table with a changelog of its own is everybody's."""
    app = App("shop", error_retries=0)
    topic = app.topic("users", key_type=str, value_type=list, compacting=True, partitions=1)
    users = app.Table("users", source=topic, **own)

    @app.agent(app.topic("orders", key_type=str, value_type=str, partitions=1))
    async def write(stream: Stream[str]) -> None:
        async for event in stream:
            if event == "set":
                users["a"] = [2]
            elif event == "delete":
                del users["a"]
            elif event == "clear":
                users.clear()
            elif event == "change":
                users["a"].append(2)

    with Driver(app) as driver:
        driver.send("users", key="a", value=[1])
        driver.send("orders", key="o", value=what)
        driver.send("orders", key="o", value="nothing")
        if own:
            assert (driver.dead_letters(), driver.table("users") == {"a": [1]}) == ([], False)
            return
        [letter] = driver.dead_letters()
        assert b"send to the topic instead" in (letter.headers["dead-letter-error"] or b"")
        assert driver.table("users") == {"a": [1]}
        assert driver.positions()[TP("orders", 0)] == 2


def test_which_tables_keep_a_changelog() -> None:
    """Those that are more than the newest record of each key, or are to have one; and a second one of a topic."""
    app = App("shop")
    one, two, three, four, five, six, seven = (
        app.topic(name, key_type=str, value_type=int, compacting=True, partitions=1) for name in "abcdefg"
    )
    app.Table("bare", source=one)
    app.Table("second", source=one)
    app.Table("ttl", source=two, ttl=60)
    app.Table("history", source=three, history=60)
    read = app.Table("read", source=four)
    app.Table("named", source=five, changelog_topic="named")
    left, right = app.Table("left", source=six), app.Table("right", source=seven)
    left.join(right)
    app.Table("deleted", source=app.topic("h", key_type=str, compacting=True, deleting=True, partitions=1))
    app.Table("plain", source=app.topic("i", key_type=str, partitions=1))

    @app.agent(read.changes())
    async def see(stream: Stream[Any]) -> None:
        async for _ in stream:
            pass

    with Driver(app) as driver:
        assert {table.name: table.changelog for table in driver.topology.tables if table.feeder} == {"bare": "a"}
        assert {table.feeder for table in driver.topology.tables} == {"", "bare-source"}


def test_a_topic_is_not_to_be_a_changelog_by_name() -> None:
    """It is one by itself; to name it would write what is read."""
    app = App("shop")
    app.Table("users", source=app.topic("users", partitions=1), changelog_topic="users")
    with pytest.raises(AppError, match="cannot be its source= and its changelog_topic="):
        Driver(app)
