"""The boundary to user code: whatever it raises is a failure of what was called, and of nothing else.

SystemExit, KeyboardInterrupt, GeneratorExit and cancellations that user code raised or met are errors like others. What
alone passes is the end of a coroutine that we asked for, or that the interpreter asks for when a loop is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from typing import Any, TypeVar

from .printable import repr_of, showable, traceback_of

T = TypeVar("T")
logger = logging.getLogger("streamcluster")


def running_task() -> asyncio.Task[Any] | None:
    """The asyncio task that runs; None outside of a loop, as when the interpreter closes what a loop left."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


class _Home:
    """Where users' code is to run. pid: of that process; None: wherever."""

    __slots__ = ("pid",)

    def __init__(self) -> None:
        self.pid: int | None = None


_home = _Home()


def stay_in_this_process() -> None:
    """End a process that is forked from this one when it comes back from users' code: it is not a second worker."""
    _home.pid = os.getpid()


def end_if_forked(error: BaseException | None = None) -> None:
    """End this process if it is a child that users' code has forked. error: what it ends with."""
    if _home.pid is None or _home.pid == os.getpid():
        return
    code = 1 if error is not None else 0
    if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
        code = error.code or 0
    elif error is not None:
        sys.stderr.write(f"{traceback_of(error)}\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 0xFF)


async def failure_of(error: BaseException) -> BaseException:
    """What user code raised in the running task, which nobody of ours has ended, as a failure.

    A cancellation is said in words, and the running task, if user code has cancelled it, goes on.
    """
    end_if_forked(error)
    task = running_task()
    was_cancelled = task is not None and task.cancelling() > 0
    while task is not None and task.cancelling():
        task.uncancel()
        # What was only noted would be raised by whatever is awaited next (Python forgets it itself from 3.13 on).
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
    if not isinstance(error, asyncio.CancelledError):
        return error
    what = "the asyncio task that it runs in was cancelled" if was_cancelled else "something that it awaited"
    how = "by code of the app" if was_cancelled else "had been cancelled"
    failure = RuntimeError(f"{what} {how} (CancelledError)")
    failure.__cause__ = error
    return failure


def raise_or_say(name: str, error: BaseException) -> None:
    """What a coroutine that we have ended raises is its end, or a fault in how the app's code takes its end."""
    end_if_forked(error)
    if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
        raise error
    logger.warning("%s has raised %s while it was being ended", name, repr_of(error), exc_info=showable(error))


def unlisted(task: asyncio.Task[T]) -> asyncio.Task[T]:
    """The task, which `asyncio.all_tasks` has no more: recipes for an orderly end cancel all that they find there."""
    asyncio.tasks._unregister_task(task)
    return task


def run_to_the_end(
    loop: asyncio.AbstractEventLoop, task: asyncio.Task[T], passed: tuple[type[BaseException], ...]
) -> T:
    """The result of `task`, also when something else on the loop raises one of `passed`, which stop a loop.

    A task that user code started and that ends in sys.exit() would end the process, whatever it was started for. It is
    over, whoever awaits it meets its exception, and everything else goes on.
    """
    while True:
        try:
            return loop.run_until_complete(task)
        except passed as error:
            if task.done():
                raise
            text = "code that the app runs beside its events has raised %s: it is over, and everything else goes on"
            logger.error(text, repr_of(error), exc_info=showable(error))
