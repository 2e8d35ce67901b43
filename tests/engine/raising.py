"""What user code may raise, and how: a function for each kind, which raises it when it is called or awaited."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable
from typing import Any

LONG = 1_000_000


class Odd(BaseException):
    """Of a library that wants to get past `except Exception`."""


class Hostile(Exception):
    """Its text ends the process."""

    def __str__(self) -> str:
        raise SystemExit("no text")

    __repr__ = __str__


class Loud(Exception):
    """Its text has no end."""

    def __str__(self) -> str:
        return "x" * LONG


class NoCause(Exception):
    """Its cause cannot be asked for."""

    @property
    def __cause__(self) -> BaseException | None:  # type: ignore[override]
        raise ValueError("no cause")


class NotPickled(Exception):
    """It cannot be sent to another process."""

    def __init__(self, one: object, *, two: object) -> None:
        super().__init__(f"{one} {two}")
        self.kept = lambda: two

    def __reduce__(self) -> Any:
        raise TypeError("not pickled")


def _cyclic() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    raise one


def _chained() -> None:
    error = ValueError("first")
    for number in range(5_000):
        following = ValueError(str(number))
        following.__cause__ = error
        error = following
    raise error


def _recursive() -> None:
    # Coroutines of other tests are garbage by now, and cannot be closed at the end of the stack: pytest says so here.
    gc.collect()
    gc.disable()
    try:
        _endless()
    finally:
        gc.enable()


def _endless() -> None:
    _endless()


def _raises(make: Callable[[], BaseException]) -> Callable[[], None]:
    def act() -> None:
        raise make()

    return act


# Name -> what raises it at once, and a word that the reason of its dead letter must have.
RAISED: dict[str, tuple[Callable[[], None], str]] = {
    "exit": (lambda: sys.exit("bad argument"), "SystemExit: bad argument"),
    "interrupt": (_raises(KeyboardInterrupt), "KeyboardInterrupt"),
    "cancelled": (_raises(asyncio.CancelledError), "CancelledError"),
    "generator_exit": (_raises(GeneratorExit), "GeneratorExit"),
    "stop_iteration": (_raises(StopIteration), "StopIteration"),
    "stop_async_iteration": (_raises(StopAsyncIteration), "StopAsyncIteration"),
    "base": (_raises(lambda: Odd("odd")), "Odd: odd"),
    "group": (_raises(lambda: ExceptionGroup("both", [ValueError("a"), KeyError("b")])), "ExceptionGroup: both"),
    "base_group": (_raises(lambda: BaseExceptionGroup("both", [SystemExit(2), KeyError("b")])), "BaseExceptionGroup"),
    "hostile": (_raises(Hostile), "Hostile"),
    "loud": (_raises(Loud), "Loud: xxx"),
    "no_cause": (_raises(lambda: NoCause("why")), "NoCause: why"),
    "cyclic": (_cyclic, "ValueError: one"),
    "chained": (_chained, "ValueError: 4999"),
    "not_pickled": (_raises(lambda: NotPickled("one", two="two")), "NotPickled: one two"),
    "recursion": (_recursive, "RecursionError"),
    "memory": (_raises(MemoryError), "MemoryError"),
}


async def _met_a_cancelled_task() -> None:
    task = asyncio.create_task(asyncio.sleep(3600))
    task.cancel()
    await task


async def _cancels_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def _cancels_itself_and_raises() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    raise ValueError("late")


async def _times_out() -> None:
    async with asyncio.timeout(0):
        await asyncio.sleep(3600)


async def _exits_in_a_group() -> None:
    async def child() -> None:
        await asyncio.sleep(0)
        sys.exit("in a group")

    async with asyncio.TaskGroup() as group:
        group.create_task(child())
        await asyncio.sleep(3600)


async def _exits_in_a_gathered_task() -> None:
    async def child() -> None:
        await asyncio.sleep(0)
        raise Odd("gathered")

    await asyncio.gather(child(), asyncio.sleep(0))


AWAITED: dict[str, tuple[Callable[[], Any], str]] = {
    "met": (_met_a_cancelled_task, "CancelledError"),
    "cancels_itself": (_cancels_itself, "was cancelled by code of the app"),
    "cancels_and_raises": (_cancels_itself_and_raises, "ValueError: late"),
    "timeout": (_times_out, "TimeoutError"),
    "exits_in_a_group": (_exits_in_a_group, "SystemExit: in a group"),
    "gathered": (_exits_in_a_gathered_task, "Odd: gathered"),
}
