"""Tasks, timers, leaders, signals, and streams that are read outside of agents."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streamcluster import App, Stream
from streamcluster.errors import AppError
from streamcluster.ids import TP
from streamcluster.testing import Driver
from tests.engine.conftest import Drive


def test_tasks_run_once_with_and_without_the_app(drive: Drive) -> None:
    """@app.task with and without parentheses; the function may take the app, may be plain, and may send."""
    app = App("a")
    out = app.topic("out", value_type=str)
    calls: list[Any] = []

    @app.task
    async def plain() -> None:
        calls.append("plain")
        await out.send(value="from a task")

    @app.task(on_leader=True)
    async def leading(of: App) -> None:
        calls.append((of, app.is_leader()))

    @app.task()
    def synchronous() -> None:
        calls.append("sync")

    driver = drive(app)
    driver.advance(0.0)
    assert sorted(calls, key=str) == sorted(["plain", (app, True), "sync"], key=str)
    assert [o.value for o in driver.output("out")] == ["from a task"]


def test_timer_runs_without_drift_and_survives_an_exception(drive: Drive) -> None:
    """A timer runs at each multiple of its interval, also after a run that failed."""
    app = App("a")
    times: list[float] = []

    @app.timer(2.0)
    async def tick() -> None:
        times.append(driver.clock.now())
        if len(times) == 2:
            raise ValueError("once")

    driver = drive(app)
    driver.advance(1.9)
    assert times == []
    driver.advance(6.1)
    assert times == [2.0, 4.0, 6.0, 8.0]
    with pytest.raises(AppError):
        app.timer(0)


def test_failing_task_ends_the_worker(drive: Drive) -> None:
    """An exception in an @app.task is not swallowed."""
    app = App("a")

    @app.task
    async def fails() -> None:
        raise ValueError("broken task")

    driver = drive(app)
    with pytest.raises(ValueError, match="broken task"):
        driver.advance(0.0)


def test_shared_stream_sees_all_partitions_of_the_worker(drive: Drive) -> None:
    """A stream in an @app.task sees every partition, with its processors; tables are those of the event's partition."""
    app = App("a")
    topic = app.topic("numbers", value_type=int)
    stream: Stream[int] = app.stream(topic, processors=[lambda value: value * 10])
    table = app.Table("t", default=int, partitions=2)
    out = app.topic("out", value_type=int)
    seen: list[int] = []

    @app.task
    async def read() -> None:
        async for value in stream:
            seen.append(value)
            table["sum"] += value
            await asyncio.sleep(0.001)
            await out.send(value=value)

    driver = drive(app, partitions=2)
    for value in range(6):
        driver.send("numbers", partition=value % 2, value=value)
    assert seen == [0, 10, 20, 30, 40, 50]
    driver.crash(lose_stores=True)
    assert seen == [0, 10, 20, 30, 40, 50]
    assert sorted(o.value for o in driver.output("out")) == seen
    assert sorted(value for _, value in table.items()) == [60, 90]
    assert driver.positions() == {TP("numbers", 0): 3, TP("numbers", 1): 3}


def test_shared_stream_repeats_nothing_after_a_crash_before_the_commit(drive: Drive) -> None:
    """What was not committed comes again, and its first results are gone."""
    app = App("a")
    stream: Stream[int] = app.stream(app.topic("numbers", value_type=int))
    out = app.topic("out", value_type=int, partitions=1)

    @app.task
    async def read() -> None:
        async for value in stream:
            await out.send(value=value)

    driver = drive(app)
    driver.send("numbers", value=1)
    driver.send("numbers", value=2, commit=False)
    driver.crash()
    assert [o.value for o in driver.output("out")] == [1, 2]


def test_shared_stream_in_batches(drive: Drive) -> None:
    """take() over a shared stream: batches span partitions, and what is buffered is not passed."""
    app = App("a")
    stream: Stream[int] = app.stream(app.topic("numbers", value_type=int))
    batches: list[list[int]] = []

    @app.task
    async def read() -> None:
        async for batch in stream.take(3):
            batches.append(list(batch))

    driver = drive(app, partitions=2)
    for value in range(5):
        driver.send("numbers", partition=value % 2, value=value)
    driver.crash()
    driver.send("numbers", partition=1, value=5)
    assert batches[0] == [0, 1, 2]
    assert [sorted(batch) for batch in batches] == [[0, 1, 2], [3, 4, 5]]


def test_stopped_task_is_not_started_again_by_what_it_had_in_hand(drive: Drive) -> None:
    """A task that buffers events when its worker stops ends there: one coroutine reads the stream after a crash."""
    app = App("a")
    stream: Stream[int] = app.stream(app.topic("numbers", value_type=int))
    running = 0

    @app.task
    async def read() -> None:
        nonlocal running
        running += 1
        try:
            async for _ in stream.take(3):
                pass
        finally:
            running -= 1

    driver = drive(app, partitions=2)
    driver.send("numbers", value=1)
    for _ in range(3):
        driver.crash()
        assert running == 1


def test_task_that_leaves_its_stream_does_not_hold_up_commits(drive: Drive) -> None:
    """When the task returns in the middle of a run, agents on other topics are committed as before."""
    app = App("a")
    stream: Stream[int] = app.stream(app.topic("numbers", value_type=int))
    out = app.topic("out", value_type=int, partitions=1)
    seen: list[int] = []

    @app.task
    async def read() -> None:
        async for value in stream:
            seen.append(value)
            if value == 1:
                break

    @app.agent(app.topic("others", value_type=int))
    async def copy(others: Stream[int]) -> None:
        async for value in others:
            await out.send(value=value)

    driver = drive(app)
    for value in range(3):
        driver.logs.append("numbers", {"key": None, "value": b"%d" % value}, 0.0)
    driver.advance(0.0)
    driver.send("others", value=7)
    assert seen == [0, 1]
    assert [o.value for o in driver.output("out")] == [7]
    assert driver.positions()[TP("numbers", 0)] == 2


def test_stream_that_nobody_iterates_stops_the_app_before_it_blocks(drive: Drive) -> None:
    """A declared stream without a reader says so once its events pile up, instead of holding up the others."""
    app = App("a", stream_buffer_records_max=10)
    topic = app.topic("numbers", value_type=int)
    app.stream(topic)

    driver = drive(app)
    for value in range(4):
        driver.send("numbers", value=value)
    with pytest.raises(AppError, match=r"no @app\.task iterates it"):
        driver.send("numbers", value=4)


def test_stream_over_an_iterable(drive: Drive) -> None:
    """A list or an async generator is a stream as well, in an @app.task, with operators."""
    app = App("a")
    seen: list[int] = []

    async def numbers() -> Any:
        for value in range(3):
            yield value

    @app.task
    async def read() -> None:
        async for value in app.stream([1, 2, 3, 4]).filter(lambda value: value % 2 == 0):
            seen.append(value)
        async for value in app.stream(numbers(), processors=[lambda value: value + 100]):
            seen.append(value)

    driver = drive(app)
    driver.advance(0.0)
    assert seen == [2, 4, 100, 101, 102]


def test_signals_are_sent_in_order(drive: Drive) -> None:
    """Configuration signals come before the start, assignment signals with their partitions, shutdown at the end."""
    app = App("a")
    calls: list[Any] = []

    @app.on_before_configured.connect
    def before(sender: App, **_: Any) -> None:
        calls.append(("before_configured", sender is app))

    @app.on_configured.connect()
    def configured(sender: App, conf: Any, **_: Any) -> None:
        calls.append(("configured", sender is app and conf.app_id))

    @app.on_after_configured.connect
    def after(sender: App, **_: Any) -> None:
        calls.append("after_configured")

    @app.on_worker_init.connect
    def init(sender: App, **_: Any) -> None:
        calls.append("worker_init")

    @app.on_partitions_assigned.connect
    async def assigned(sender: App, assigned: set[TP], **_: Any) -> None:
        calls.append(("assigned", assigned))

    @app.on_rebalance_complete.connect
    async def complete(sender: App, **_: Any) -> None:
        calls.append("rebalance_complete")

    @app.on_before_shutdown.connect
    async def shutdown(sender: App, **_: Any) -> None:
        calls.append("before_shutdown")

    @app.agent(app.topic("numbers"))
    async def read(stream: Stream[Any]) -> None:
        async for _ in stream:
            pass

    drive(app).close()
    assert calls == [
        ("before_configured", True),
        ("configured", "a"),
        "after_configured",
        "worker_init",
        ("assigned", {TP("numbers", 0)}),
        "rebalance_complete",
        "before_shutdown",
    ]


def test_on_produce_message_sees_what_is_sent(drive: Drive) -> None:
    """The signal comes with key, value and headers of each record that a topic sends."""
    app = App("a")
    out = app.topic("out", key_type=str, value_type=int)
    sent: list[Any] = []

    @app.on_produce_message.connect
    def produced(sender: App, key: Any, value: Any, headers: Any, **_: Any) -> None:
        sent.append((key, value, headers))

    @app.agent(app.topic("numbers", value_type=int))
    async def read(stream: Stream[int]) -> None:
        async for value in stream:
            out.send_soon(key="k", value=value, headers={"h": b"1"})

    drive(app).send("numbers", value=1)
    assert sent == [("k", 1, [("h", b"1")])]


@pytest.mark.parametrize("name", ["on_before_configured", "on_configured", "on_after_configured", "on_worker_init"])
def test_coroutine_function_on_a_plain_signal_is_refused(name: str) -> None:
    """Nobody would await it, so it would silently do nothing."""
    app = App("a")

    async def receive(sender: object, **_: object) -> None:
        raise AssertionError("not awaited")

    getattr(app, name).connect(receive)
    with pytest.raises(AppError, match=rf"{name} is sent where nothing can be awaited: receive"):
        Driver(app)


def test_receiver_that_is_no_function_is_refused() -> None:
    """Where it is connected."""
    receiver: Any = 5
    with pytest.raises(AppError, match="5 is not a function"):
        App("a").on_configured.connect(receiver)
