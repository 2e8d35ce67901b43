"""While a failing event is looked for, time goes on: what comes due before the next events goes before them."""

from __future__ import annotations

from typing import Any

from streamcluster import App, Stream, Table
from streamcluster.testing import Driver
from tests.engine.test_refused import start

# An event a second.
EVENTS = 400
LAST = EVENTS - 5
TTL_SECONDS = 10
TOO_LARGE = 200_000


def note(marks: Table[str, int], counts: dict[int, int], number: int) -> None:
    """Count an event of those that are 50 s apart. counts: event -> what was counted when it was done the last time."""
    if number % 50 == 0 or number == LAST:
        marks["all"] += 1
        counts[number] = marks["all"]


def feed(driver: Driver) -> None:
    """All of it, at once."""
    for number in range(EVENTS):
        record = {"key": b"k", "value": b"%d" % number, "partition": 0, "timestamp": number * 1000}
        driver.worker.logs.append("in", record, 0.0)
    driver.advance(0.0)


def test_entries_expire_between_groups_of_events_whose_commit_is_refused(drive: Any) -> None:
    """Groups of 200, 100, 50, 25 events and so on are committed, and it is over 10 s after the time of its commit."""
    app = App("a", error_action="skip")
    out, counts = app.topic("out", value_type=bytes), dict[int, int]()
    marks = app.Table("marks", key_type=str, default=int, ttl=TTL_SECONDS)

    @app.agent(app.topic("in", key_type=str, value_type=int), name="send")
    async def send(stream: Stream[int]) -> None:
        async for number in stream:
            note(marks, counts, number)
            await out.send(value=b"x" * (TOO_LARGE if number == LAST else 1))

    def make(app: App, partitions: int = 1) -> Driver:
        driver: Driver = drive(app, partitions=partitions)
        return driver

    driver, broker = start(make, app, TOO_LARGE // 2)
    feed(driver)

    assert sum(picky.refused for picky in broker.picky) > 1
    # Each of these is in the group behind that of the one before, but for the last.
    assert counts == {0: 1, 50: 2, 100: 3, 150: 4, 200: 5, 250: 6, 300: 7, 350: 8, LAST: 1}


def test_entries_expire_between_suspects_that_are_tried_alone(drive: Any) -> None:
    """A batch of take() fails: each of its events is done alone then, and committed."""
    app = App("a", error_action="skip")
    counts = dict[int, int]()
    marks = app.Table("marks", key_type=str, default=int, ttl=TTL_SECONDS)

    @app.agent(app.topic("in", key_type=str, value_type=int), name="take")
    async def take(stream: Stream[int]) -> None:
        async for numbers in stream.take(EVENTS, within=1.0):
            for number in numbers:
                note(marks, counts, number)
            if LAST in numbers:
                raise ValueError(LAST)

    driver = drive(app)
    feed(driver)
    driver.advance(100.0)

    assert counts == dict.fromkeys((*range(0, EVENTS, 50), LAST), 1)
