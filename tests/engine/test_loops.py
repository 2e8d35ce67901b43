"""The loops in C: what they hand out, wait for and raise is what asynchronous generators do in their place."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from types import FunctionType, SimpleNamespace
from typing import Any

import pytest

from streamcluster import App, Stream, loops
from streamcluster.current import Cursor
from streamcluster.engine.shard_view import ShardView
from streamcluster.iteration import values as _values
from streamcluster.loops import gathered, use_python, values_of_runs
from streamcluster.tables import Table
from streamcluster.testing import Driver

pytestmark = pytest.mark.skipif(not loops.is_in_c(), reason="the loops were not built")
Ways = list[Callable[[Any], AsyncIterator[Any]]]
# Runs: values that are there at once; seconds to wait before; what is raised in place of a run; None: no run this time.
Runs = list[list[Any] | float | BaseException | None]


class Odd(BaseException):
    """Not an Exception."""


def intake_of(runs: Runs) -> Any:
    """What hands out these runs, and then waits for ever."""
    cursor, left = Cursor("agent", None), list(runs)

    async def next_run() -> Any:
        while left:
            one = left.pop(0)
            if isinstance(one, float):
                await asyncio.sleep(one)
            elif isinstance(one, BaseException):
                raise one
            else:
                cursor.iterator = iter(one or ())
                return one
        await asyncio.get_running_loop().create_future()

    return SimpleNamespace(next_run=next_run, cursor=cursor)


def in_c_over(intake: Any) -> AsyncIterator[Any]:
    """The values of these runs, in C."""
    values = values_of_runs(intake.next_run, intake.cursor)
    assert values is not None
    return values


async def said(steps: Callable[[AsyncIterator[Any]], Awaitable[Any]], values: AsyncIterator[Any]) -> Any:
    """What the steps gave, or how they ended."""
    try:
        return await asyncio.wait_for(steps(values), 5.0)
    except BaseException as error:  # noqa: BLE001 (it is what is compared)
        return repr(error)


async def some(values: AsyncIterator[Any]) -> list[Any]:
    """Five values."""
    found = []
    async for value in values:
        found.append(value)
        if len(found) == 5:
            break
    return found


async def on_after_an_error(values: AsyncIterator[Any]) -> list[Any]:
    """What comes after an error: nothing."""
    found: list[Any] = []
    for _ in range(4):
        try:
            found.append(await anext(values))
        except (OSError, StopAsyncIteration) as error:
            found.append(repr(error))
    return found


async def on_after_a_timeout(values: AsyncIterator[Any]) -> list[Any]:
    """What comes after a wait was given up: nothing."""
    found: list[Any] = []
    for _ in range(3):
        try:
            found.append(await asyncio.wait_for(anext(values), 0.01))
        except (TimeoutError, StopAsyncIteration) as error:
            found.append(type(error))
    return found


@pytest.mark.parametrize("traced", [False, True], ids=["", "traced"])
@pytest.mark.parametrize(
    ("runs", "steps"),
    [
        ([[1, 2], [], None, 0.0, [(3, 4), StopIteration(5)], [None]], some),
        ([[1], OSError("gone"), [2]], on_after_an_error),
        ([[1], 0.2, [2]], on_after_a_timeout),
        ([[1]], on_after_a_timeout),
        ([Odd()], some),
    ],
)
def test_values_are_those_of_a_generator(runs: Runs, steps: Any, *, traced: bool) -> None:
    """The same values and errors, also when a tracer has the interpreter ask in another way."""

    async def both() -> list[Any]:
        in_c = in_c_over(intake_of(runs))
        return [repr(await said(steps, values)) for values in (in_c, _values(intake_of(runs)))]

    before = sys.gettrace()
    if traced:
        sys.settrace(lambda *_: None)
    try:
        one, other = asyncio.run(both())
    finally:
        sys.settrace(before)
    assert one == other


def test_only_one_waits() -> None:
    """A second one that asks while one waits is told so, and the first one gets its value."""

    async def ask() -> None:
        values = in_c_over(intake_of([0.01, [1]]))
        first = asyncio.ensure_future(values.__anext__())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="waited for already"):
            values.__anext__()
        assert await first == 1

    asyncio.run(ask())


def test_what_is_let_go_is_collected() -> None:
    """Also in a circle, while it waits."""

    class Held:
        pass

    async def leave() -> weakref.ref[Held]:
        held: Any = Held()
        intake = intake_of([])
        intake.cursor.task = held
        held.values = in_c_over(intake)
        held.waiting = held.values.__anext__().__await__()
        next(held.waiting)
        return weakref.ref(held)

    found = asyncio.run(leave())
    gc.collect()
    assert found() is None


async def stubborn(log: list[str]) -> AsyncIterator[Any]:
    """Yields, waits, and goes on after it was cancelled once."""
    yield 1
    try:
        await asyncio.sleep(10.0)
    except asyncio.CancelledError:
        log.append("cancelled")
    yield 2
    await asyncio.sleep(0)
    yield (3, 4)
    raise OSError("done")


def test_gathered_is_what_a_generator_is() -> None:
    """Until it is told to keep something, and where a cancellation is swallowed."""

    async def go(values: AsyncIterator[Any], log: list[str]) -> list[Any]:
        found: list[Any] = []

        async def read() -> None:
            try:
                async for value in values:
                    found.append(value)
            except OSError as error:
                found.append(repr(error))

        task = asyncio.ensure_future(read())
        await asyncio.sleep(0)
        task.cancel()
        await task
        with pytest.raises(StopAsyncIteration):
            await anext(values)
        return [*found, *log]

    async def both() -> tuple[list[Any], list[Any]]:
        logs: list[list[str]] = [[], []]
        in_c = gathered(stubborn(logs[0]), Cursor("agent", None), str.encode, 100)
        assert in_c is not None
        return await go(in_c, logs[0]), await go(stubborn(logs[1]), logs[1])

    one, other = asyncio.run(both())
    assert one == other == [1, 2, (3, 4), "OSError('done')", "cancelled"]


class Iterator:
    """No generator: it may hold values back, and is left to Python."""

    def __aiter__(self) -> Iterator:
        return self

    async def __anext__(self) -> int:
        raise StopAsyncIteration


def test_only_generators_are_gathered() -> None:
    """Only of these is known how they suspend; and nothing is in C when Python was asked for."""
    assert gathered(Iterator(), Cursor("agent", None), str.encode, 100) is None


@pytest.fixture(params=["in C", "in Python"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Generator[None, None, None]:
    """Both ways to run an agent."""
    monkeypatch.setattr(loops, "_in_c", True)
    if request.param == "in Python":
        use_python()
        intake = intake_of([])
        assert values_of_runs(intake.next_run, intake.cursor) is None
        assert type(vars(Table)["__getitem__"]) is type(vars(Table)["get"]) is FunctionType
    yield
    monkeypatch.setattr(loops, "_in_c", True)
    loops.do_items_in_c(Table, ShardView)


@pytest.mark.usefixtures("way")
def test_an_agent_that_does_everything() -> None:
    """It leaves its loop, waits, yields none or several, too large values and ones that cannot be encoded."""
    app = App("shop", producer_max_request_size=2000)
    numbers = app.topic("numbers", value_type=int)
    out = app.topic("out", partitions=1, value_type=int | str)

    @app.agent(numbers, sink=[out], on_error="dead_letter")
    async def agent(stream: Stream[int]) -> AsyncIterator[Any]:
        while True:
            async for number in stream:
                if number % 50 == 7:
                    await asyncio.sleep(0)
                if number % 50 == 13:
                    break
                if number % 50 != 17:
                    yield number
                if number % 50 == 23:
                    yield "again"
                if number == 1533:
                    yield "x" * 3000
                if number == 1633:
                    yield object()

    with Driver(app) as driver:
        for number in range(2000):
            record = {"key": b"k", "value": b"%d" % number, "timestamp": 1000 * number + 1, "headers": None}
            driver.logs.append("numbers", record, 0.0)
        driver.advance(0.0)
        found = [(output.value, output.timestamp) for output in driver.output(out)]
        wanted: list[tuple[Any, float]] = []
        for number in range(2000):
            if number % 50 not in (13, 17) and number not in (1533, 1633):
                wanted.append((number, number + 0.001))
            if number % 50 == 23:
                wanted.append(("again", number + 0.001))
        assert found == wanted
        assert [letter.value for letter in driver.dead_letters()] == [b"1533", b"1633"]
