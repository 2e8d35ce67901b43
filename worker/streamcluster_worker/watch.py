"""Watch: threads, asyncio tasks and callbacks of this worker, none of which may end unseen.

Whatever of ours ends by an error that nothing else takes is said, and told the worker, which ends and is replaced: half
of a worker that looks alive is worse. What users start is said only. It knows no part of the worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any

logger = logging.getLogger("streamcluster")
# What the names of our own threads that are to last begin with.
OWN_THREAD = "streamcluster-"
_OWN_MODULES = ("streamcluster", "streamcluster_worker")
_MACHINERY = ("asyncio", "uvloop")


class Watch:
    """Of one process, from its making on. ended: told on the loop what has ended, and of what."""

    __slots__ = ("_ended", "_loop")

    def __init__(self, ended: Callable[[str, BaseException], None]) -> None:
        """On the loop."""
        self._loop = asyncio.get_running_loop()
        self._ended = ended
        self._loop.set_exception_handler(self._loop_failed)
        threading.excepthook = self._thread_failed

    def task(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run what is to last until it is cancelled."""
        task = self._loop.create_task(coroutine, name=name)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._ended(task.get_name(), task.exception() or RuntimeError("it has returned"))

    def _thread_failed(self, args: threading.ExceptHookArgs) -> None:
        """In the thread that ends."""
        error = args.exc_value
        if args.thread is None or error is None or isinstance(error, SystemExit):
            return
        name = args.thread.name
        if not name.startswith(OWN_THREAD):
            logger.error("thread %s has ended", name, exc_info=error)
            return
        # Once the loop is closed the worker has ended itself.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._ended, f"thread {name}", error)

    def _loop_failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What a callback raised, or a task that nobody has asked how it ended: users may start those of ours, too."""
        error = context.get("exception")
        if "handle" in context and isinstance(error, BaseException) and _is_own(error.__traceback__):
            self._ended(str(context.get("message", "a callback")), error)
        else:
            loop.default_exception_handler(context)


def _is_own(trace: TracebackType | None) -> bool:
    """Whether what was run is ours: users' code that ours calls has its own boundary."""
    while trace is not None:
        package = str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in _MACHINERY:
            return package in _OWN_MODULES
        trace = trace.tb_next
    return False
