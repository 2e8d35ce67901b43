"""LoopIterator: iterates a stream, and tells when its `async for` loop is left by `break` or `return`.

Python tells nobody. But the loop holds the only reference to its iterator, so that this is finalized at that moment, in
the frame of the loop; and there the instruction at hand tells leaving from failing: only one that can raise lets an
exception out. A loop that an exception leaves is not told of: whether its event failed, the function's end decides.
"""

from __future__ import annotations

import asyncio
import dis
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

# What lets go of a value and cannot raise: `break` and `return` pop the iterator (POP_ITER from Python 3.14 on), code
# that drives it by hand overwrites or deletes its variable.
_LETS_GO = frozenset({"POP_TOP", "POP_ITER", "STORE_FAST", "DELETE_FAST"})


class LeftIntake(Protocol):
    """What wants to know that its loop was left. reader: who iterates it now."""

    reader: object
    leave: Callable[[], None] | None


class LoopIterator:
    """An iterator over `values`, which come from `intake`."""

    __slots__ = ("_intake", "_next", "_task", "_values")

    def __init__(self, values: AsyncIterator[Any], intake: LeftIntake) -> None:
        self._values = values
        self._next = values.__anext__
        self._intake = intake
        self._task: asyncio.Task[Any] | None = None

    def __aiter__(self) -> LoopIterator:
        return self

    def __anext__(self) -> Awaitable[Any]:
        if self._task is None:
            self._task = asyncio.current_task()
            self._intake.reader = self._next
        return self._next()

    async def aclose(self) -> None:
        """End it, as `contextlib.aclosing` does behind its block; the loop is left, unless an exception leaves it."""
        await close_values(self._values)
        if self._is_read_here() and sys.exc_info()[0] is None:
            self._leave()
        self._task = None

    def __del__(self) -> None:
        if not self._is_read_here():
            return
        frame = sys._getframe(1)
        if dis.opname[frame.f_code.co_code[frame.f_lasti]] in _LETS_GO:
            self._leave()

    def _is_read_here(self) -> bool:
        """Who iterates the intake does it by this, in the asyncio task that runs."""
        intake = self._intake
        if self._task is None or intake.leave is None or intake.reader is not self._next:
            return False
        return asyncio._get_running_loop() is not None and asyncio.current_task() is self._task

    def _leave(self) -> None:
        if self._intake.leave is not None:
            self._intake.leave()


async def close_values(values: object) -> None:
    """Close an asynchronous iterator, if it is one that can be."""
    aclose = getattr(values, "aclose", None)
    if aclose is not None:
        await aclose()
