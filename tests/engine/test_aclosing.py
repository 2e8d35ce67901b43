"""`contextlib.aclosing` around a stream or its iterator, as whoever leaves loops early writes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import pytest

from streamcluster import App, Stream, loops
from streamcluster.current import cursor_var
from streamcluster.events import Event
from streamcluster.iteration import values as values_in_python
from tests.engine.conftest import Drive

WAYS: list[Callable[[Any], Any]] = [lambda stream: stream, aiter, lambda stream: stream.items()]


@pytest.fixture(params=["c", "python"])
def _loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loops that agents run."""
    if request.param == "python":
        monkeypatch.setattr(loops, "_in_c", False)
    elif not loops.is_in_c():
        pytest.skip("the loops were not built")


@pytest.mark.parametrize("way", WAYS, ids=["stream", "iterator", "items"])
@pytest.mark.usefixtures("_loop")
def test_an_agent_loses_no_event(drive: Drive, way: Callable[[Any], Any]) -> None:
    """That it left the loop at each third changes nothing: what was read and not handed out comes again."""
    app = App("closing")
    seen: list[int] = []

    @app.agent(app.topic("numbers", value_type=int, partitions=1))
    async def read(stream: Stream[int]) -> None:
        async with aclosing(way(stream)) as values:
            async for value in values:
                seen.append(value[1] if isinstance(value, tuple) else value)
                if len(seen) % 3 == 0:
                    break

    driver = drive(app)
    for number in range(10):
        driver.logs.append("numbers", {"key": None, "value": b"%d" % number}, 0.0)
    driver.run(driver.worker.process(commit=True))
    assert seen == [*range(10)]
    assert driver.positions() == dict.fromkeys(driver.positions(), 10)


@pytest.mark.parametrize("way", WAYS, ids=["stream", "iterator", "items"])
@pytest.mark.parametrize("fails", [False, True])
def test_a_task_has_left_its_loop_unless_an_exception_did(drive: Drive, way: Callable[[Any], Any], fails: bool) -> None:
    """Behind the block it is at no event; where one failed it is still at that, so that this is known to have."""
    app = App("closing")
    numbers = app.stream(app.topic("numbers", value_type=int, partitions=1))
    at_event: list[bool] = []

    @app.task
    async def read() -> None:
        try:
            async with aclosing(way(numbers)) as values:
                async for _ in values:
                    if fails:
                        raise ValueError
                    break
        except ValueError:
            pass
        at_event.append(cursor_var.get() is not None)

    driver = drive(app)
    driver.send("numbers", value=1)
    assert at_event == [fails]


def in_c(intake: Any) -> AsyncIterator[Any]:
    """The loop in C."""
    values = loops.values_of_runs(intake.next_run, intake.cursor)
    if values is None:
        pytest.skip("the loops were not built")
    return values


@pytest.mark.parametrize("make", [in_c, values_in_python])
def test_a_closed_loop_gives_nothing_more(make: Callable[[Any], Any]) -> None:
    """As a closed generator; closing it again does nothing, and what was handed to the cursor is left there."""
    cursor = SimpleNamespace(iterator=iter(()))

    async def next_run() -> object:
        cursor.iterator = iter([1, 2, 3])
        return cursor

    async def steps() -> None:
        values = make(SimpleNamespace(next_run=next_run, cursor=cursor))
        assert await anext(values) == 1
        assert await values.aclose() is None
        assert await anext(values, "over") == "over"
        assert await values.aclose() is None
        assert list(cursor.iterator) == [2, 3]

    asyncio.run(steps())


@pytest.mark.parametrize("make", [in_c, values_in_python])
def test_a_loop_that_waits_cannot_be_closed(make: Callable[[Any], Any]) -> None:
    """Somebody waits for its next value: that is said, and they get it."""
    cursor = SimpleNamespace(iterator=iter(()))

    async def steps() -> None:
        come = asyncio.Event()

        async def next_run() -> object:
            await come.wait()
            cursor.iterator = iter([1])
            return cursor

        values = make(SimpleNamespace(next_run=next_run, cursor=cursor))
        waiting = asyncio.ensure_future(anext(values))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="aclose"):
            await values.aclose()
        come.set()
        assert await waiting == 1

    asyncio.run(steps())


def test_what_an_agent_yields_is_closed_with_its_generator() -> None:
    """So that its `finally` runs, and may await."""
    closed: list[str] = []

    async def yielding() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.append("closed")

    async def steps() -> None:
        values: Any = loops.gathered(yielding(), SimpleNamespace(run=None), lambda value: value, 100)  # type: ignore[arg-type]
        if values is None:
            pytest.skip("the loops were not built")
        assert await anext(values) == 1
        await values.aclose()
        assert await anext(values, Event) is Event
        assert closed == ["closed"]

    asyncio.run(steps())
