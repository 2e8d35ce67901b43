"""Whatever user code raises, wherever it runs: a failure of that event, named, under its policy, and no more."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest

from streamcluster import App, Stream
from streamcluster.codecs import Codec
from streamcluster.errors import CallbackFailed
from streamcluster.ids import TP
from streamcluster.testing import Driver
from tests.engine.places import BAD, PLACES, Place, count
from tests.engine.raising import AWAITED, LONG, RAISED


def send_all(driver: Driver, encode: Callable[[int], object] = int) -> None:
    """Good, bad, good; and time for whatever is tried again. encode: makes bytes, which no codec of the app checks."""
    for value in (1, BAD, 2, 3):
        driver.send("numbers", key="a", value=encode(value))
    driver.advance(60.0)


def check(driver: Driver, word: str) -> None:
    """The bad event alone is a dead letter that says why; the others are done once."""
    (letter,) = driver.dead_letters()
    reason = letter.headers["dead-letter-error"].decode()
    assert (
        word.rpartition(": ")[2] in reason or word.partition(":")[0] in letter.headers["dead-letter-traceback"].decode()
    )
    assert letter.headers["dead-letter-offset"] == b"1"
    assert driver.table("done") == {"1": 1, "2": 1, "3": 1}
    assert driver.positions()[TP("numbers", 0)] == 4


@pytest.mark.parametrize("kind", RAISED)
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_whatever_is_raised_fails_its_event(place: Place, kind: str) -> None:
    """One event, one dead letter, everything else done."""
    act, word = RAISED[kind]
    app = App("a")
    place(app, app.topic("numbers", key_type=str, value_type=int), act)
    with Driver(app) as driver:
        send_all(driver)
        check(driver, word)


@pytest.mark.parametrize("kind", RAISED)
def test_whatever_a_decoder_raises_fails_its_record(kind: str) -> None:
    """The codec of a source topic."""
    act, word = RAISED[kind]

    def loads(data: bytes) -> int:
        if int(data) == BAD:
            act()
        return int(data)

    app = App("a")
    codec = Codec(dumps=lambda value: b"%d" % value, loads=loads)
    count(app, app.topic("numbers", key_type=str, value_serializer=codec), act)
    with Driver(app) as driver:
        send_all(driver, codec._dumps)
        check(driver, word)


@pytest.mark.parametrize("kind", AWAITED)
def test_whatever_is_met_in_an_await_fails_its_event(kind: str) -> None:
    """A cancelled task, a time-out, a child that exits: the agent's event fails, and the agent goes on."""
    act, word = AWAITED[kind]
    app = App("a")
    done = app.Table("done", default=int)

    @app.agent(app.topic("numbers", key_type=str, value_type=int), name="failing")
    async def failing(stream: Stream[int]) -> None:
        async for value in stream:
            if value == BAD:
                await act()
            # A cancellation that was only noted must not end this.
            await asyncio.sleep(0)
            done[str(value)] += 1

    with Driver(app) as driver:
        send_all(driver)
        check(driver, word)


@pytest.mark.parametrize("policy", ["skip", "stop", "dead_letter"])
@pytest.mark.parametrize("kind", ["exit", "interrupt", "cancelled", "base", "hostile"])
def test_policy_says_what_becomes_of_the_event(policy: str, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """As for any exception: passed over, put aside, or the end of the app with its name."""
    act, _ = RAISED[kind]
    app = App("a")
    tries: list[int] = []

    @app.agent(app.topic("numbers", key_type=str, value_type=int), name="failing", on_error=policy)
    async def failing(stream: Stream[int]) -> None:
        async for value in stream:
            if value == BAD:
                tries.append(value)
                act()

    with Driver(app) as driver:
        if policy == "stop":
            with pytest.raises((Exception, asyncio.CancelledError)):
                send_all(driver)
            assert "failing cannot process numbers[0]@1, and its policy is to stop" in caplog.text
            assert list(driver.positions().values()) == [1]
            return
        send_all(driver)
        assert len(driver.dead_letters()) == (policy == "dead_letter")
        assert list(driver.positions().values()) == [4]
    assert len(tries) > 1


@pytest.mark.parametrize("kind", [*RAISED, *AWAITED])
def test_timer_runs_again_whatever_it_raises(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is named in the log with what it raised, and its next run takes place."""
    act, _ = RAISED.get(kind) or AWAITED[kind]
    app = App("a")
    runs: list[str] = []

    @app.timer(1.0, name="failing")
    async def failing() -> None:
        runs.append("failing")
        result = act()
        if result is not None:
            await result

    @app.timer(1.0, name="healthy")
    async def healthy() -> None:
        runs.append("healthy")

    with Driver(app) as driver:
        for _ in range(10):
            driver.advance(1.0)
    assert runs.count("failing") == runs.count("healthy") == 10
    said = [record for record in caplog.records if "timer failing failed" in record.getMessage()]
    assert len(said) == 10
    assert all(len(record.getMessage()) < LONG / 10 for record in said)


@pytest.mark.parametrize("kind", [*RAISED, *AWAITED])
def test_task_ends_as_by_any_exception(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is named, and ends the worker, which is replaced."""
    act, _ = RAISED.get(kind) or AWAITED[kind]
    app = App("a")

    @app.task
    async def failing() -> None:
        result = act()
        if result is not None:
            await result

    with pytest.raises((Exception, asyncio.CancelledError)), Driver(app) as driver:
        driver.advance(1.0)
    assert "failing#0 failed" in caplog.text


def test_cancellation_of_ours_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    """A crash, a rebalance and the end cancel agents, timers and tasks in the middle; nobody is blamed."""
    app = App("a")

    @app.agent(app.topic("numbers", key_type=str, value_type=int))
    async def waiting(stream: Stream[int]) -> None:
        async for _ in stream:
            pass

    @app.task
    async def task() -> None:
        await asyncio.Event().wait()

    with Driver(app) as driver:
        driver.send("numbers", key="a", value=1)
        driver.crash()
        driver.rebalance()
        assert not driver.dead_letters()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_agent_that_swallows_its_end_ends(caplog: pytest.LogCaptureFixture) -> None:
    """A bare `except:` around the work takes the cancellation too; it gets no further event, and ends there."""
    app = App("a")
    begun: list[int] = []
    done = app.Table("done", default=int)

    @app.agent(app.topic("numbers", key_type=str, value_type=int))
    async def swallowing(stream: Stream[int]) -> None:
        async for value in stream:
            try:
                begun.append(value)
                if value == BAD:
                    act, _ = RAISED["exit"]
                    act()
                await asyncio.sleep(0)
                done[str(value)] += 1
            except BaseException:  # noqa: BLE001 (what is tested)
                logging.getLogger("app").info("passed over")

    @app.agent(app.topic("numbers", key_type=str, value_type=int), name="returning")
    async def returning(stream: Stream[int]) -> None:
        try:
            async for _ in stream:
                pass
        except asyncio.CancelledError:
            return

    with Driver(app) as driver:
        for value in (1, BAD, 2):
            driver.send("numbers", key="a", value=value)
        driver.crash()
        driver.send("numbers", key="a", value=3)
        assert driver.table("done") == {"1": 1, "2": 1, "3": 1}
    assert begun == [1, BAD, 2, 3]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_agent_that_is_cancelled_between_events_starts_again(caplog: pytest.LogCaptureFixture) -> None:
    """By code that cancels all asyncio tasks that it finds, as recipes for an orderly end do."""
    app = App("a")
    done = app.Table("done", default=int)
    tasks: list[asyncio.Task[Any]] = []

    @app.agent(app.topic("numbers", key_type=str, value_type=int), name="cancelled")
    async def cancelled(stream: Stream[int]) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        async for value in stream:
            done[str(value)] += 1

    with Driver(app) as driver:
        driver.send("numbers", key="a", value=1)
        tasks[-1].cancel()
        driver.advance(0.0)
        driver.advance(1.0)
        driver.send("numbers", key="a", value=2)
        assert driver.table("done") == {"1": 1, "2": 1}
    assert "cancelled failed at" in caplog.text


def test_task_beside_that_exits_ends_alone(caplog: pytest.LogCaptureFixture) -> None:
    """asyncio ends its loop for SystemExit in any task: here it is said, and everything else goes on."""
    app = App("a")
    done = app.Table("done", default=int)
    beside: list[asyncio.Task[None]] = []

    async def exits() -> None:
        await asyncio.sleep(0)
        sys.exit("bad argument")

    @app.agent(app.topic("numbers", key_type=str, value_type=int))
    async def starting(stream: Stream[int]) -> None:
        async for value in stream:
            beside.append(asyncio.create_task(exits()))
            done[str(value)] += 1

    with Driver(app) as driver:
        for value in range(3):
            driver.send("numbers", key="a", value=value)
        assert driver.table("done") == {"0": 1, "1": 1, "2": 1}
    assert caplog.text.count("has raised SystemExit('bad argument')") == 3
    assert all(task.done() and isinstance(task.exception(), SystemExit) for task in beside)


@pytest.mark.parametrize("kind", [*RAISED, *(kind for kind in AWAITED if kind != "cancels_itself")])
def test_callback_that_raises_is_named(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """A receiver of a signal, and what is called when a table is restored; the agents that run already end."""
    act, _ = RAISED.get(kind) or AWAITED[kind]
    app = App("a")

    @app.on_partitions_assigned.connect
    async def warm_up(sender: object, **_: object) -> None:
        result = act()
        if result is not None:
            await result

    count(app, app.topic("numbers", key_type=str, value_type=int), act)
    with pytest.raises(CallbackFailed, match="on_partitions_assigned: warm_up failed"):
        Driver(app)
    gc.collect()
    assert "was destroyed but it is pending" not in caplog.text
