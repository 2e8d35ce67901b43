"""The loops in C, given what they are not meant for: an error, or what Python does; and nothing of it is kept."""

from __future__ import annotations

import asyncio
import gc
import os
import weakref
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from streamcluster import loops

if loops.is_in_c():
    from streamcluster._loop import Gathered, Values

pytestmark = pytest.mark.skipif(not loops.is_in_c(), reason="the loops were not built")
MIB = 1024 * 1024
# What a leak is looked for in.
VALUES = 50_000_000 if os.environ.get("STREAMCLUSTER_LONG") else 1_000_000
RUN = 1000
UNBOUNDED = 2**63 - 1


class Event:
    """What is never kept."""


def come(loop: Any) -> Any:
    """The next value, which is there."""
    with pytest.raises(StopIteration) as stop:
        next(loop)
    return stop.value.value


def values_over(*iterators: Any) -> tuple[Any, Any]:
    """A loop over these, one a run, and its cursor."""
    cursor, left = SimpleNamespace(iterator=None), list(iterators)

    async def next_run() -> Any:
        if not left:
            raise OSError("no more")
        cursor.iterator = left.pop(0)
        return cursor

    return Values(next_run, cursor), cursor


async def yielding(values: Any) -> AsyncIterator[Any]:
    for value in values:
        yield value


class Kept:
    """A loop over what is yielded, of which it keeps what it may."""

    def __init__(self, values: Any, encode: Callable[[Any], Any] = b"%d".__mod__) -> None:
        self.run = object()
        self.cursor = SimpleNamespace(run=self.run)
        self.handed: list[Any] = [0] * 10
        self.times: list[Any] = [*range(1000, 1020)]
        self.columns: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
        self.loop: Any = Gathered(yielding(values), self.cursor, encode, Event, 100)  # type: ignore[arg-type]

    def keep(self, left: Callable[[], Any], first: Any = -1, sure: Any = UNBOUNDED) -> None:
        self.loop.keep(self.run, self.handed, left, self.times, first, *self.columns, 10**6, sure)

    def end(self) -> str:
        """What it ends with, or gives."""
        try:
            next(self.loop)
        except StopIteration as stop:
            return f"gave {stop.value}"
        except (OSError, StopAsyncIteration) as error:
            return type(error).__name__
        return "waits"


def test_any_values_are_handed_out() -> None:
    """Also where the cursor has no iterator but a list; what has no values is refused."""
    loop, _ = values_over([1, 2], (3,), 5)
    assert [come(loop) for _ in range(3)] == [1, 2, 3]
    with pytest.raises(TypeError, match="not iterable"):
        next(loop)
    with pytest.raises(StopAsyncIteration):
        next(loop)


@pytest.mark.parametrize("call", [next, lambda loop: loop.send(None), lambda loop: loop.close()])
def test_a_running_loop_is_not_entered_again(call: Callable[[Any], Any]) -> None:
    """By what it calls itself, whose iterator would go meanwhile: that is refused, and the loop goes on."""
    refused: list[int] = []

    def acts(_: object) -> bool:
        with pytest.raises(RuntimeError, match="running already"):
            call(loop)
        refused.append(1)
        return False

    loop, _ = values_over(filter(acts, [1, 2]), [3])
    assert come(loop) == 3
    assert len(refused) == 2


def test_a_wait_is_not_entered_again() -> None:
    """By what is waited for, also while something is thrown into it."""
    refused: list[int] = []

    class Step:
        def __iter__(self) -> Step:
            return self

        def __next__(self) -> None:
            for name, arguments in (("__next__", ()), ("throw", (OSError(),)), ("close", ())):
                with pytest.raises(RuntimeError, match="running already"):
                    getattr(loop, name)(*arguments)
                refused.append(1)

        def throw(self, *_: object) -> None:
            next(self)
            raise OSError("thrown")

    loop: Any = Values(Step, SimpleNamespace())  # type: ignore[arg-type]
    assert next(loop) is None
    with pytest.raises(OSError, match="thrown"):
        loop.throw(ValueError())
    assert len(refused) == 6


def test_an_encoder_cannot_change_what_is_kept_meanwhile() -> None:
    """It is asked between the timestamp and the columns."""

    def encode(_: object) -> bytes:
        with pytest.raises(RuntimeError, match="running already"):
            kept.keep(lambda: 5)
        return b"x"

    kept = Kept([1], encode)
    kept.keep(lambda: 9)
    assert kept.end() == "StopAsyncIteration"
    assert kept.columns == ([None], [b"x"], [1000])


@pytest.mark.parametrize("left", [-1, -5, 10, 11, 2**63 - 1, -(2**63), 2**70, None, "text"])
def test_what_is_left_may_be_wrong(left: Any) -> None:
    """Then the value is given, with a timestamp of nobody."""
    kept = Kept([7])
    kept.keep(lambda: left)
    assert kept.end() == "gave 7"
    assert kept.columns == ([], [], [])


@pytest.mark.parametrize("first", [-2, 21, 2**63 - 1, -(2**63)])
def test_the_first_is_one_of_the_times(first: int) -> None:
    """It is added to: another is refused."""
    with pytest.raises(ValueError, match="not one of these times"):
        Kept([7]).keep(lambda: 9, first)


def test_a_refused_keep_changes_nothing() -> None:
    """What was told before holds, as a whole."""
    kept = Kept([7])
    kept.keep(lambda: 9)
    with pytest.raises(TypeError):
        kept.keep(lambda: 9, 3, "text")
    assert kept.end() == "StopAsyncIteration"
    assert kept.columns == ([None], [b"7"], [1000])


@pytest.mark.parametrize("number", [1, 2**70])
def test_a_timestamp_may_run_code(number: int) -> None:
    """Which takes it out of the list where it was; and what is too large for a number is not kept."""

    class Number:
        def __index__(self) -> int:
            kept.times.clear()
            return number

    kept = Kept([7])
    kept.times[0] = Number()
    kept.keep(lambda: 9, sure=5000)
    assert kept.end() == ("StopAsyncIteration" if number == 1 else "gave 7")
    assert [type(time) for time in kept.columns[2]] == ([Number] if number == 1 else [])


def test_arguments_have_no_names() -> None:
    """One that nobody knows is not passed over."""
    with pytest.raises(TypeError, match="no names"):
        Values(None, None, odd=1)  # type: ignore[call-arg, arg-type]
    with pytest.raises(TypeError, match="no names"):
        Gathered(yielding([]), None, None, Event, 1, odd=1)  # type: ignore[call-arg, arg-type]


async def _round(cursor: Any, run: Any, seconds: float) -> tuple[list[Any], int]:
    """One run of values through both loops, with all that can be amiss; what was kept, and how many were given."""
    handed, is_there = [*range(5000, 5000 + RUN)], True
    odd = {5100: Event(), 5200: "text", 5300: 2**1000}

    async def next_run() -> Any:
        nonlocal is_there
        if not is_there:
            await asyncio.sleep(seconds)
        is_there = False
        cursor.iterator, cursor.run = iter(handed), run
        return run

    async def agent() -> AsyncIterator[Any]:
        async for value in Values(next_run, cursor):
            if value == 5000 + RUN - 1:
                raise OSError("the end of the round")
            if value == 5900:
                await asyncio.sleep(0)
            yield value if value % 100 else odd.get(value, value)

    columns: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
    loop, given = Gathered(agent(), cursor, b"%d".__mod__, Event, 100), 0
    try:
        async for _ in loop:
            given += 1
            left = cursor.iterator.__length_hint__
            loop.keep(run, handed, left, [*range(9000, 9000 + RUN)], -1, *columns, 10**6, UNBOUNDED - given % 2)
    except OSError:
        pass
    waiting = asyncio.ensure_future(anext(Values(next_run, cursor), None))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    return columns[1], given


@pytest.mark.timeout(60 + VALUES * 8e-6)
def test_nothing_is_kept_of_what_passes() -> None:
    """Millions of values, of which some are not as usual, with errors, waits and cancellations."""
    cursor: Any = SimpleNamespace()
    run: Any = Event()
    memory: list[int] = []

    async def all_rounds() -> None:
        for number in range(VALUES // RUN):
            kept, given = await _round(cursor, run, 10.0)
            assert (len(kept), given) == (RUN - 6, 5)
            if number % (VALUES // RUN // 20) == 0:
                memory.append(psutil.Process().memory_info().rss)

    asyncio.run(all_rounds())
    # The first rounds fill the allocator's pools.
    assert memory[-1] - memory[2] < 8 * MIB, [number // MIB for number in memory]
    gone = weakref.ref(run)
    run = cursor = None
    gc.collect()
    assert gone() is None
