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

    __slots__ = ("_intake", "_next", "_task")

    def __init__(self, values: AsyncIterator[Any], intake: LeftIntake) -> None:
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

    def __del__(self) -> None:
        intake = self._intake
        if self._task is None or intake.leave is None or intake.reader is not self._next:
            return
        if asyncio._get_running_loop() is None or asyncio.current_task() is not self._task:
            return
        frame = sys._getframe(1)
        if dis.opname[frame.f_code.co_code[frame.f_lasti]] in _LETS_GO:
            intake.leave()
