"""RunIntake: the queue of runs of one coroutine, and how far that coroutine has come.

It holds the two moves that commits rest on: `hold` cuts the run in hand behind the current event, so that the
coroutine comes to rest there; `position` says the oldest offset of a partition that it has not finished (I5).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from ..current import Cursor, Kept, Run
from ..ids import TP
from .clock import Clock


class RunIntake:
    """Implements `streams.Intake`."""

    __slots__ = (
        "_clock",
        "_enter",
        "_on_rest",
        "_stopped",
        "_waiter",
        "cursor",
        "done",
        "flush",
        "held",
        "kept",
        "now",
        "queue",
    )

    def __init__(
        self, cursor: Cursor, clock: Clock, on_rest: Callable[[], None], enter: Callable[[Run], None] | None = None
    ) -> None:
        self.cursor = cursor
        self._clock = clock
        self.now = clock.now
        self._on_rest = on_rest
        self._enter = enter
        self._waiter: asyncio.Future[None] | None = None
        # A run said that it must not be passed.
        self._stopped = False
        self.kept = Kept()
        self.queue: deque[Run] = deque()
        # TP -> offset behind the last finished run.
        self.done: dict[TP, int] = {}
        self.held = False
        self.flush = False

    # What streams call

    def begin(self) -> None:
        """An iteration starts: what an earlier one left comes again. A batch in the body counts as finished."""
        self.finish()
        if not self.kept.handed_out:
            for run, index in reversed(self.kept.events):
                record = run.records[index]
                value = run.values[index]
                self.queue.appendleft(Run(run.task, run.tp, [record], [value], record.offset() + 1, run.decode_key))
                self.done[run.tp] = record.offset()
        self.kept.clear()

    async def next_run(self, timeout: float | None = None) -> Run | None:
        """Finish the run in hand and wait for the next one; None on time-out, or when kept events are wanted."""
        self.finish()
        deadline = None if timeout is None else self.now() + timeout
        while not self._may_enter():
            if self._wants_kept(deadline):
                return None
            await self._rest(None if deadline is None or self.held else deadline - self.now())
        run = self.queue.popleft()
        if self._enter is not None:
            self._enter(run)
        self.cursor.run = run
        self.cursor.iterator = iter(run.values)
        return run

    def _may_enter(self) -> bool:
        if self.held or not self.queue or self._stopped:
            return False
        before = self.queue[0].before
        if before is None:
            return True
        # What it does is committed with the position behind it, so nothing before it may be unfinished.
        if self.kept.events:
            return False
        self._stopped = not before()
        return not self._stopped

    def _wants_kept(self, deadline: float | None) -> bool:
        """take() is to hand out what it has: time is up, a trial waits for it, or the next run must not pass it."""
        if self.held or not self.kept.events:
            return False
        return self.flush or bool(self.queue) or (deadline is not None and self.now() >= deadline)

    async def _rest(self, seconds: float | None) -> None:
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        alarm = None if seconds is None else self._clock.call_later(seconds, self.wake)
        self._on_rest()
        try:
            await waiter
        finally:
            self._waiter = None
            if alarm is not None:
                alarm.cancel()

    def finish(self) -> None:
        """The events that were handed out are done with; others of the run in hand, left by `break`, come again."""
        run = self.cursor.run
        if run is not None:
            self._put_back(run)
            # A reader that was ahead of the committed position gets empty runs until it is reached: it stays ahead.
            self.done[run.tp] = max(run.next_offset, self.done.get(run.tp, 0))
            self.cursor.run = None
            self.cursor.iterator = iter(())

    def _put_back(self, run: Run) -> None:
        count = self.cursor.consumed_count()
        if count < len(run.values):
            self.queue.appendleft(run.cut(count))

    # What the engine calls

    def forget(self) -> None:
        """Forget the run in hand and what was kept."""
        self.kept.clear()
        self._stopped = False
        self.cursor.run = None
        self.cursor.iterator = iter(())

    @property
    def resting(self) -> bool:
        """No event is half done in the coroutine."""
        return self._waiter is not None

    @property
    def idle(self) -> bool:
        """Resting, with nothing queued that it may hand out."""
        return self._waiter is not None and (not self.queue or self._stopped)

    def push(self, run: Run) -> None:
        """Add a run behind the others."""
        self.queue.append(run)
        if not self.held:
            self.wake()

    def wake(self) -> None:
        """Let the coroutine look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def hold(self) -> None:
        """Come to rest after the current event: what is behind it in the run goes back to the queue."""
        self.held = True
        if self.cursor.run is not None:
            self._put_back(self.cursor.run)

    def release(self) -> None:
        """Go on after `hold`."""
        self.held = False
        self.wake()


def position_of(intake: RunIntake, tp: TP, fallback: int) -> int:
    """The oldest offset of `tp` that is not finished, while resting; `fallback` when nothing of it came yet."""
    if intake.kept.events:
        for kept_tp, offset in intake.kept.offsets():
            if kept_tp == tp:
                return offset
    return intake.done.get(tp, fallback)


def suspects_of(intake: RunIntake) -> list[tuple[TP, int]]:
    """The events that a failure now belongs to: those kept by take(), and the current one."""
    found = list(dict.fromkeys(intake.kept.offsets()))
    run, index = intake.cursor.run, intake.cursor.index()
    if run is not None and index is not None:
        current = (run.tp, run.offset(index))
        if current not in found:
            found.append(current)
    return found
