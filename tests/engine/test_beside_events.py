"""What an agent starts beside its events: it may send, and is told that it cannot write a table at no event."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from streamcluster import App, Stream
from streamcluster.errors import AppError, NoEventInHand, TooLate
from streamcluster.testing import Driver


class Beside:
    """An agent that starts what is given beside each event, which goes on once `go` is set."""

    def __init__(self) -> None:
        self.app = App("a")
        self.done = self.app.Table("done", default=int)
        self.lists = self.app.Table("lists", default=list)
        self.out = self.app.topic("out", key_type=str, value_type=str)
        self.go: list[asyncio.Event] = []
        self.started: list[asyncio.Task[Any]] = []
        self.work: Callable[[], Any] = lambda: None
        self.body: Callable[[], Awaitable[Any]] | None = None
        self.app.agent(self.app.topic("numbers", key_type=str, value_type=int), name="starting")(self._agent)

    async def _agent(self, stream: Stream[int]) -> None:
        async for value in stream:
            self.done[str(value)] += 1
            self.lists["all"].append(value)
            if self.body is not None:
                await self.body()
            else:
                self.go.append(asyncio.Event())
                self.started.append(asyncio.create_task(self._later(self.go[-1])))

    async def _later(self, go: asyncio.Event) -> None:
        await go.wait()
        result = self.work()
        if inspect.iscoroutine(result):
            await result

    def run(self, driver: Driver, number: int = 0) -> BaseException | None:
        """Let the work of this event go on, to its end; returns what it raised."""

        async def go() -> BaseException | None:
            self.go[number].set()
            await asyncio.wait({self.started[number]})
            return self.started[number].exception()

        return driver.run(go())


@pytest.mark.parametrize("kind", ["set", "delete", "pop", "update", "clear"])
def test_write_at_no_event_is_refused_with_what_to_do(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever it is written by; the log has it too, for nobody may ask how the task ended."""
    beside = Beside()
    table = beside.done
    beside.work = {
        "set": lambda: table.__setitem__("late", 1),
        "delete": lambda: table.__delitem__("1"),
        "pop": lambda: table.pop("1"),
        "update": lambda: table.update({"late": 1}),
        "clear": lambda: table.clear(),
    }[kind]
    with Driver(beside.app) as driver:
        driver.send("numbers", key="a", value=1)
        error = beside.run(driver)
        assert isinstance(error, NoEventInHand)
        assert "Await the work inside of the loop" in str(error)
        assert str(error) in caplog.text
        assert "starting" in str(error)
        assert "'done'" in str(error)
        driver.send("numbers", key="a", value=2)
        assert driver.table("done") == {"1": 1, "2": 1}
        driver.crash(lose_stores=True)
        assert driver.table("done") == {"1": 1, "2": 1}


def test_reading_at_no_event_gives_copies() -> None:
    """What is read may be changed: that changes no table."""
    beside = Beside()
    seen: list[Any] = []

    def read() -> None:
        beside.lists["all"].append("late")
        beside.lists["missing"].append("late")
        seen.append((beside.done["1"], beside.done.get("x"), "1" in beside.done, dict(beside.lists.items())))

    beside.work = read
    with Driver(beside.app) as driver:
        driver.send("numbers", key="a", value=1)
        assert beside.run(driver) is None
        assert seen == [(1, None, True, {"all": [1]})]
        driver.send("numbers", key="a", value=2)
        assert driver.table("lists") == {"all": [1, 2]}


def test_write_of_a_child_that_is_awaited_belongs_to_the_event() -> None:
    """A task group, a thread that is waited for, a time-out: all of that is inside of the event."""
    beside = Beside()

    async def write(key: str) -> None:
        await asyncio.sleep(0)
        beside.done[key] += 1

    async def body() -> None:
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            group.create_task(write("one"))
            group.create_task(write("two"))
        await asyncio.to_thread(lambda: beside.done.__setitem__("three", 3))
        await asyncio.wait_for(write("four"), 10)

    beside.body = body
    with Driver(beside.app) as driver:
        driver.send("numbers", key="a", value=1)
        assert driver.table("done") == {"1": 1, "one": 1, "two": 1, "three": 3, "four": 1}
        driver.crash(lose_stores=True)
        assert driver.table("done") == {"1": 1, "one": 1, "two": 1, "three": 3, "four": 1}


def test_batch_of_take_writes() -> None:
    """A batch that is handed out when time is up, and not by an event, is at its events."""
    app = App("a")
    done = app.Table("done", default=int)

    @app.agent(app.topic("numbers", key_type=str, value_type=int))
    async def batches(stream: Stream[int]) -> None:
        async for values in stream.take(10, within=1.0):
            done["sum"] += sum(values)

    with Driver(app) as driver:
        for value in (1, 2, 3):
            driver.send("numbers", key="a", value=value)
        driver.advance(2.0)
        driver.send("numbers", key="a", value=4)
        driver.advance(2.0)
        assert driver.table("done") == {"sum": 10}


def test_send_at_no_event_is_committed() -> None:
    """It is the worker's own output, as that of an @app.task: no event fails with it, and no rollback takes it away."""
    beside = Beside()
    beside.work = lambda: beside.out.send(key="a", value="late")
    with Driver(beside.app) as driver:
        driver.send("numbers", key="a", value=1)
        assert beside.run(driver) is None
        driver.advance(2.0)
        assert [one.value for one in driver.output("out")] == ["late"]
        beside.work = lambda: beside.out.send_soon(key="a", value="later")
        driver.send("numbers", key="a", value=2)
        assert beside.run(driver, 1) is None
        beside.work = lambda: None

        async def fail() -> None:
            raise ValueError("bad")

        beside.body = fail
        driver.send("numbers", key="a", value=3)
        driver.advance(60.0)
        assert [one.value for one in driver.output("out")] == ["late", "later"]
        assert len(driver.dead_letters()) == 1


def test_send_after_the_task_is_closed_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """Its task is another worker's: nobody here commits anything of it any more."""
    beside = Beside()
    beside.work = lambda: beside.out.send_soon(key="a", value="late")
    with Driver(beside.app) as driver:
        driver.send("numbers", key="a", value=1)
        driver.send("numbers", key="a", value=2)
        driver.rebalance()
        error = beside.run(driver)
        assert isinstance(error, TooLate)
        assert str(error) in caplog.text
        beside.work = lambda: beside.done.__setitem__("late", 1)
        assert isinstance(beside.run(driver, 1), NoEventInHand)
        driver.send("numbers", key="a", value=3)
        assert driver.table("done") == {"1": 1, "2": 1, "3": 1}


def test_thread_and_timer_are_told_what_to_do() -> None:
    """They have nothing of an agent: a table refuses, a thread's send does, and a timer's send is committed."""
    app = App("a")
    done = app.Table("done", default=int, partitions=1)
    out = app.topic("out", key_type=str, value_type=str)
    errors: list[Exception] = []

    def attempt(act: Callable[[], object]) -> None:
        try:
            act()
        except AppError as error:
            errors.append(error)

    @app.agent(app.topic("numbers", key_type=str, value_type=int))
    async def starting(stream: Stream[int]) -> None:
        async for _ in stream:
            for act in (lambda: done.__setitem__("x", 1), lambda: out.send_soon(key="x", value="x")):
                thread = threading.Thread(target=attempt, args=(act,))
                thread.start()
                thread.join()

    @app.timer(1.0)
    async def timer() -> None:
        await out.send(key="timer", value="sent")
        attempt(lambda: done.__setitem__("x", 1))

    with Driver(app) as driver:
        driver.send("numbers", key="a", value=1)
        driver.advance(1.0)
        assert [one.value for one in driver.output("out")] == ["sent"]
        assert driver.table("done") == {}
    assert [text for error in errors if (text := str(error))]
    assert len(errors) == 3
    assert "Send an event to an agent instead" in str(errors[0])
    assert "send() works in agents, tasks, timers and signal handlers" in str(errors[1])


def test_stream_of_a_task_writes_only_at_its_events() -> None:
    """An @app.task that goes over a stream, and what it starts."""
    app = App("a")
    done = app.Table("done", default=int, partitions=2)
    stream = app.stream(app.topic("numbers", key_type=str, value_type=int))
    started: list[asyncio.Task[None]] = []
    gone = asyncio.Event()

    async def later() -> None:
        await gone.wait()
        done["late"] += 1

    @app.task
    async def going() -> None:
        async for value in stream:
            done[str(value)] += 1
            if not started:
                started.append(asyncio.create_task(later()))

    async def go() -> BaseException | None:
        gone.set()
        await asyncio.wait(started)
        return started[0].exception()

    with Driver(app, partitions=2) as driver:
        for value in range(6):
            driver.send("numbers", key=str(value), value=value)
        assert isinstance(driver.run(go()), NoEventInHand)
        driver.send("numbers", key="a", value=6)
        assert driver.table("done") == {str(value): 1 for value in range(7)}
