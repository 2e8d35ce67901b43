"""Effects: performs what the life cycle decides beside the turns of the worker's loop, in the order of each task.

Two effects of one task follow one another; those of different tasks run side by side, so that a store that takes long
to open, or user code that is told of a rebalance, holds up nobody else. It knows no effect.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from streamcluster.boundary import failure_of

logger = logging.getLogger("streamcluster")
R = TypeVar("R")
# What user code gets to end, once it is cancelled.
CANCEL_SECONDS_MAX = 10.0


class Effects:
    """What is being performed. changed: called when something ended."""

    __slots__ = ("_changed", "_ending", "_error", "_jobs", "_last", "_pool", "_threads")

    def __init__(self, pool: ThreadPoolExecutor, changed: Callable[[], None]) -> None:
        self._pool = pool
        self._changed = changed
        self._jobs: set[asyncio.Task[None]] = set()
        # Key (a task's id, or what else must keep its order) -> the last that was begun.
        self._last: dict[Hashable, asyncio.Task[None]] = {}
        self._threads: set[asyncio.Future[Any]] = set()
        self._error: BaseException | None = None
        # Everything is being cancelled.
        self._ending = False

    def begin(self, keys: Iterable[Hashable], perform: Callable[[], Awaitable[None]]) -> None:
        """Perform it once all that was begun with one of these keys has ended."""
        keys = tuple(keys)
        before = {job for key in keys if (job := self._last.get(key)) is not None and not job.done()}
        job = asyncio.get_running_loop().create_task(self._run(before, perform))
        self._last.update(dict.fromkeys(keys, job))
        self._jobs.add(job)
        job.add_done_callback(self._ended)

    async def _run(self, before: set[asyncio.Task[None]], perform: Callable[[], Awaitable[None]]) -> None:
        if before:
            await asyncio.wait(before)
        if self._error is not None:
            return
        try:
            await perform()
        except BaseException as error:
            if self._ending and isinstance(error, asyncio.CancelledError):
                raise
            # What is called may be user code, that was cancelled, or met what was: nothing may stand still for that.
            self._failed(await failure_of(error))

    def _failed(self, error: BaseException) -> None:
        self._error = self._error or error

    def _ended(self, job: asyncio.Task[None]) -> None:
        self._jobs.discard(job)
        self._last = {key: last for key, last in self._last.items() if last is not job}
        self._changed()

    def raise_failed(self) -> None:
        """Raise what an effect failed with, once; nothing that waited for it is performed."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def all_keys(self) -> tuple[Hashable, ...]:
        """The keys of everything that is being performed."""
        return tuple(self._last)

    async def in_thread(self, call: Callable[[], R]) -> R:
        """Call it in a thread. Cancelling the effect does not end the thread: see `end`."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, call)
        self._threads.add(future)
        future.add_done_callback(self._thread_ended)
        return await asyncio.shield(future)

    def _thread_ended(self, future: asyncio.Future[Any]) -> None:
        self._threads.discard(future)
        if not future.cancelled():
            # Who was cancelled does not ask any more, and then asyncio would tell the log of it.
            future.exception()

    async def end(self) -> None:
        """Cancel everything, and wait until no thread of it is left."""
        self._ending = True
        jobs = set(self._jobs)
        for job in jobs:
            job.cancel()
        if jobs:
            _, late = await asyncio.wait(jobs, timeout=CANCEL_SECONDS_MAX)
            if late:
                text = "%d functions that were told of a rebalance did not end within %.0f s of their cancellation"
                logger.warning(text, len(late), CANCEL_SECONDS_MAX)
        if self._threads:
            await asyncio.wait(set(self._threads))
        self._last.clear()
        self._error = None
        self._ending = False
