"""take: batches, their time limit, and what of them is committed when."""

from __future__ import annotations

from streamcluster import App, Stream, Topic
from tests.engine.conftest import Drive


def numbers(app: App) -> Topic:
    """A topic of integers."""
    return app.topic("numbers", key_type=str, value_type=int)


def test_take_gives_full_batches_and_what_time_leaves(drive: Drive) -> None:
    """A batch is full, or it is what came within the time since its first value."""
    app = App("a")
    batches: list[list[int]] = []

    @app.agent(numbers(app))
    async def read(stream: Stream[int]) -> None:
        async for batch in stream.take(3, within=5.0):
            batches.append(list(batch))

    driver = drive(app)
    for value in range(5):
        driver.send("numbers", value=value)
    assert batches == [[0, 1, 2]]
    driver.advance(4.9)
    assert batches == [[0, 1, 2]]
    driver.advance(0.2)
    assert batches == [[0, 1, 2], [3, 4]]


def test_take_without_time_waits_for_the_batch(drive: Drive) -> None:
    """`take(n)` alone has no time limit; the position stays before a batch that is not full."""
    app = App("a")
    batches: list[list[int]] = []

    @app.agent(numbers(app))
    async def read(stream: Stream[int]) -> None:
        async for batch in stream.take(2):
            batches.append(list(batch))

    driver = drive(app)
    for value in range(3):
        driver.send("numbers", value=value)
    driver.advance(1000.0)
    assert batches == [[0, 1]]
    assert [*driver.positions().values()] == [2]


def test_take_with_table_writes_survives_a_crash_in_a_batch(drive: Drive) -> None:
    """Buffered events come again after a crash, those of a finished batch do not; tables may be written in a batch."""
    app = App("a")
    sums = app.Table("sums", default=int)
    batches: list[list[int]] = []

    @app.agent(numbers(app))
    async def read(stream: Stream[int]) -> None:
        async for batch in stream.take_events(3, within=10.0):
            batches.append([event.value for event in batch])
            for event in batch:
                sums[event.key] += event.value

    driver = drive(app)
    for value in range(5):
        driver.send("numbers", key="k", value=value)
    assert batches == [[0, 1, 2]]
    driver.crash()
    driver.send("numbers", key="k", value=5)
    assert batches == [[0, 1, 2], [3, 4, 5]]
    driver.crash(lose_stores=True)
    driver.advance(20.0)
    assert driver.table("sums") == {"k": 15}
    assert batches == [[0, 1, 2], [3, 4, 5]]


def test_echo_before_take_is_sent_once_in_spite_of_a_crash(drive: Drive) -> None:
    """What operators before a take send belongs to the batch: a crash while it fills repeats nothing."""
    app = App("a")
    copy = app.topic("copy", value_type=int)

    @app.agent(numbers(app))
    async def read(stream: Stream[int]) -> None:
        async for _ in stream.echo(copy).take(3):
            pass

    driver = drive(app)
    driver.send("numbers", value=0)
    driver.crash()
    driver.send("numbers", value=1)
    driver.crash()
    driver.send("numbers", value=2)
    assert [o.value for o in driver.output("copy")] == [0, 1, 2]


def test_echo_of_an_event_that_a_take_never_sees_is_sent(drive: Drive) -> None:
    """An event that is dropped behind its echo is passed, so its echo is sent without waiting for a batch."""
    app = App("a")
    copy = app.topic("copy", value_type=int, partitions=1)

    @app.agent(numbers(app))
    async def read(stream: Stream[int]) -> None:
        async for _ in stream.echo(copy).filter(lambda value: value > 5).take(3):
            raise AssertionError("no batch is ever full")

    driver = drive(app)
    driver.send("numbers", value=0)
    driver.crash()
    driver.send("numbers", value=1)
    assert [o.value for o in driver.output("copy")] == [0, 1]
