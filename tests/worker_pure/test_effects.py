"""Effects of one task follow one another; those of others, and the loop, do not wait."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from streamcluster_worker.effects import Effects


def play(story: Callable[[Effects], Awaitable[None]]) -> None:
    """Run a story with effects, and leave nothing of them."""

    async def run() -> None:
        effects = Effects(pool, lambda: None)
        await asyncio.wait_for(story(effects), 10.0)
        await asyncio.wait_for(effects.end(), 10.0)

    with ThreadPoolExecutor(2) as pool:
        asyncio.run(run())


async def until(holds: Callable[[], bool]) -> None:
    """Let everything run until it is so."""
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0)
    raise AssertionError("it does not come to that")


def test_task_that_opens_slowly_holds_no_other() -> None:
    """[C10] While one task waits, another is performed from first to last, in order."""

    async def story(effects: Effects) -> None:
        done: list[str] = []
        slow, both = asyncio.Event(), asyncio.Event()

        def perform(name: str, wait: asyncio.Event | None = None) -> Callable[[], Awaitable[None]]:
            async def effect() -> None:
                if wait is not None:
                    await wait.wait()
                done.append(name)
                if len(done) == 2:
                    both.set()

            return effect

        effects.begin(("a",), perform("open a", slow))
        effects.begin(("a",), perform("run a"))
        effects.begin(("b",), perform("open b"))
        effects.begin(("b",), perform("run b"))
        await both.wait()
        assert done == ["open b", "run b"]
        effects.begin(("a", "b"), perform("close both"))
        slow.set()
        await until(lambda: len(done) == 5)
        assert done[2:] == ["open a", "run a", "close both"]

    play(story)


def test_failed_effect_is_raised_and_nothing_follows_it() -> None:
    """What waited for an effect that failed is not performed; the loop raises its error, once."""

    async def story(effects: Effects) -> None:
        done: list[str] = []

        async def fail() -> None:
            raise ValueError("no disk")

        async def follow() -> None:
            done.append("run")

        effects.begin(("a",), fail)
        effects.begin(("a",), follow)
        await until(lambda: not effects.all_keys())
        with pytest.raises(ValueError, match="no disk"):
            effects.raise_failed()
        effects.raise_failed()
        assert done == []

    play(story)


def test_end_waits_for_threads() -> None:
    """A thread that was begun is not left behind with handles of a session that is over."""

    async def story(effects: Effects) -> None:
        begun, go_on = threading.Event(), threading.Event()
        ended: list[bool] = []

        def work() -> None:
            begun.set()
            go_on.wait(10.0)
            ended.append(True)

        async def effect() -> None:
            await effects.in_thread(work)

        effects.begin(("a",), effect)
        await asyncio.get_running_loop().run_in_executor(None, begun.wait, 10.0)
        ending = asyncio.get_running_loop().create_task(effects.end())
        await asyncio.sleep(0)
        assert not ending.done()
        go_on.set()
        await ending
        assert ended == [True]

    play(story)


def test_a_thread_that_fails_while_all_ends_is_no_news() -> None:
    """Everything begins anew, so nobody is told of an exception that nobody waits for."""
    told: list[dict[str, object]] = []

    async def story(effects: Effects) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        begun, ending = threading.Event(), threading.Event()

        def fail() -> None:
            begun.set()
            assert ending.wait(10.0)
            raise OSError("no answer")

        async def perform() -> None:
            await effects.in_thread(fail)

        effects.begin(("a",), perform)
        await asyncio.to_thread(begun.wait, 10.0)
        end = asyncio.ensure_future(effects.end())
        await asyncio.sleep(0)
        ending.set()
        await end
        effects.raise_failed()

    play(story)
    gc.collect()
    assert told == []
