"""Changes of tables, which agents read from the tables' own changelogs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streamcluster import App, AppError, Topic
from streamcluster.testing import Driver


def changing(read: Callable[[Any], Any], *, every: float | None = None, size: int = 0) -> App:
    """A table that sums by key, 0 deletes; `read` makes of its stream what goes to "changed", as (key, value)."""
    app = App("changing")
    events = app.topic("events", key_type=str, value_type=int)
    changed = app.topic("changed", key_type=str, value_type=list)
    plain = app.Table("sums", key_type=str, default=int)
    sums: Any = plain.tumbling(size, grace=0) if size else plain

    @app.agent(events)
    async def add(stream: Any) -> None:
        async for key, number in stream.items():
            if number:
                sums[key] += number
            else:
                del sums[key]

    changes: Topic = sums.changes(every)

    @app.agent(changes)
    async def tell(stream: Any) -> None:
        async for key, value in read(stream):
            # JSON has no tuples.
            await changed.send(value=[key if isinstance(key, str) else [key[0], key[1].start, key[1].end], value])

    return app


def items(stream: Any) -> Any:
    return stream.items()


def told(driver: Driver) -> list[Any]:
    return [one.value for one in driver.output("changed")]


def test_an_agent_reads_what_was_written_to_a_table() -> None:
    """Each committed value, a deletion as None, and nothing of what was rolled back; a crash tells nothing twice."""
    with Driver(changing(items)) as driver:
        driver.send("events", key="a", value=1)
        driver.send("events", key="a", value=2)
        driver.send("events", key="b", value=5)
        driver.send("events", key="c", value=7, commit=False)
        driver.crash(lose_stores=True)
        driver.send("events", key="a", value=0)
        assert told(driver) == [["a", 1], ["a", 3], ["b", 5], ["c", 7], ["a", None]]
        driver.crash()
        assert len(told(driver)) == 5


def test_each_way_to_iterate() -> None:
    """Values alone, events, and in lists."""

    async def values(stream: Any) -> Any:
        async for value in stream:
            yield "", value

    async def events(stream: Any) -> Any:
        async for event in stream.events():
            yield event.key, event.value

    async def taken(stream: Any) -> Any:
        async for batch in stream.take(2):
            yield "", batch

    for read, expected in (
        (values, [["", 1], ["", 3]]),
        (events, [["a", 1], ["a", 3]]),
        (taken, [["", [1, 3]]]),
    ):
        with Driver(changing(read)) as driver:
            for number in (1, 2):
                driver.send("events", key="a", value=number)
            driver.advance(1)
            assert told(driver) == expected


def test_keys_of_windowed_tables_have_their_window() -> None:
    """And a window that is over is deleted."""
    with Driver(changing(items, size=10)) as driver:
        for at in (1, 2, 11):
            driver.send("events", key="a", value=at, timestamp=at)
        first, second = ["a", 0, 10], ["a", 10, 20]
        assert told(driver) == [[first, 1], [first, 3], [second, 11], [first, None]]


@pytest.mark.parametrize("crashes", [False, True])
def test_every_gives_out_the_newest_of_each_key(crashes: bool) -> None:
    """Once in so many seconds, and a crash in between loses none."""
    with Driver(changing(items, every=5)) as driver:
        for key, number in (("a", 1), ("b", 1), ("a", 1), ("c", 1), ("c", 0)):
            driver.send("events", key=key, value=number)
        assert told(driver) == []
        if crashes:
            driver.crash(lose_stores=True)
        driver.advance(5.1)
        assert told(driver) == [["b", 1], ["a", 2], ["c", None]]
        driver.send("events", key="a", value=1)
        assert len(told(driver)) == 3
        driver.advance(5.1)
        assert told(driver)[3:] == [["a", 3]]


def test_changes_may_be_filtered_and_summed_up_in_another_table() -> None:
    """A stream of them takes operators; what it writes is exactly once as everything."""
    app = App("counting")
    events = app.topic("events", key_type=str, value_type=int)
    sums = app.Table("sums", key_type=str, default=int)
    counts = app.Table("counts", key_type=int, default=int)

    @app.agent(events)
    async def add(stream: Any) -> None:
        async for key, number in stream.items():
            sums[key] += number

    @app.agent(app.stream(sums.changes()).filter(lambda value: value > 1).group_by(abs, name="value"))
    async def count(stream: Any) -> None:
        async for value in stream:
            counts[value] += 1

    with Driver(app, partitions=3) as driver:
        for key in "abcabcab":
            driver.send("events", key=key, value=1)
        driver.crash(lose_stores=True)
        assert driver.table("counts") == {2: 3, 3: 2}


def test_what_cannot_be_is_refused() -> None:
    """With what to do instead."""

    def refused(use: Callable[[Any], Any]) -> str:
        with pytest.raises(AppError) as error:
            Driver(changing(use, every=5)).close()
        return str(error.value)

    assert "no operators may follow" in refused(lambda stream: stream.filter(bool).items())
    assert "leave one of the two out" in refused(lambda stream: stream.take(3))
    table = App("negative").Table("sums")
    with pytest.raises(AppError, match="is no duration"):
        table.changes(every=-1)
    app = App("combined")
    with pytest.raises(AppError, match="an agent of their own"):
        app.stream(app.topic("events")).combine(app.Table("sums").changes(every=1))


def test_nothing_is_sent_to_changes() -> None:
    """A changelog is written by its table."""
    app = App("sending")
    events = app.topic("events", key_type=str, value_type=int)
    changes = app.Table("sums", key_type=str, default=int, partitions=1).changes()

    @app.agent(events)
    async def wrong(stream: Any) -> None:
        async for number in stream:
            await changes.send(key="a", value=number)

    @app.agent(changes)
    async def tell(stream: Any) -> None:
        async for _ in stream:
            pass

    with Driver(app) as driver:
        driver.send("events", key="a", value=1)
        driver.advance(60)
        (letter,) = driver.dead_letters()
        assert b"nothing can be sent there" in letter.headers["dead-letter-error"]
        assert driver.table("sums") == {}
