"""RunIntake: the queue of runs of one coroutine, and how far that coroutine has come.

It holds the two moves that commits rest on: `hold` cuts the run in hand behind the current event, so that the
coroutine comes to rest there; `positions` says the oldest offset per partition that it has not finished (I5).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from ..current import Cursor, Run
from ..ids import TP
from .clock import Clock


class RunIntake:
    """Implements `streams.Intake`."""

    __slots__ = (
        "_clock",
        "_enter",
        "_kept",
        "_on_rest",
        "_waiter",
        "cursor",
        "done",
        "flush",
        "held",
        "queue",
    )

    def __init__(
        self, cursor: Cursor, clock: Clock, on_rest: Callable[[], None], enter: Callable[[Run], None] | None = None
    ) -> None:
        self.cursor = cursor
        self._clock = clock
        self._on_rest = on_rest
        self._enter = enter
        self._waiter: asyncio.Future[None] | None = None
        # Events buffered by take(): not delivered yet, in the order of arrival.
        self._kept: list[tuple[TP, int]] = []
        self.queue: deque[Run] = deque()
        # TP -> offset behind the last finished run.
        self.done: dict[TP, int] = {}
        self.held = False
        self.flush = False

    # What streams call

    def now(self) -> float:
        """Monotonic seconds."""
        return self._clock.now()

    async def next_run(self, timeout: float | None = None) -> Run | None:
        """Finish the run in hand and wait for the next one; None on time-out, or when kept events are wanted."""
        self.finish()
        deadline = None if timeout is None else self._clock.now() + timeout
        while self.held or not self.queue:
            if not self.held and self._kept and (self.flush or self._is_over(deadline)):
                return None
            await self._rest(None if deadline is None or self.held else deadline - self._clock.now())
        run = self.queue.popleft()
        if self._enter is not None:
            self._enter(run)
        self.cursor.run = run
        self.cursor.iterator = iter(run.values)
        return run

    def _is_over(self, deadline: float | None) -> bool:
        return deadline is not None and self._clock.now() >= deadline

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
        """The run in hand is done with."""
        run = self.cursor.run
        if run is not None:
            self.done[run.tp] = run.next_offset
            self.cursor.run = None
            self.cursor.iterator = iter(())

    def keep(self, run: Run, index: int) -> None:
        """The event at `index` of `run` is buffered by take()."""
        self._kept.append((run.tp, run.records[index].offset()))

    def delivered(self) -> None:
        """The buffered events have been delivered and finished."""
        self._kept.clear()

    # What the engine calls

    def reset(self) -> None:
        """Forget the queue, the run in hand and what was kept."""
        self.queue.clear()
        self.reset_hand()

    def has_kept(self) -> bool:
        """take() has buffered events."""
        return bool(self._kept)

    def reset_hand(self) -> None:
        """Forget the run in hand and what was kept."""
        self._kept.clear()
        self.cursor.run = None
        self.cursor.iterator = iter(())

    @property
    def resting(self) -> bool:
        """No event is half done in the coroutine."""
        return self._waiter is not None

    @property
    def idle(self) -> bool:
        """Resting, with nothing left to hand out."""
        return self._waiter is not None and not self.queue

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
        run = self.cursor.run
        if run is None:
            return
        count = self.cursor.consumed_count()
        if count < len(run.values):
            rest = Run(run.task, run.tp, run.records[count:], run.values[count:], run.next_offset, run.decode_key)
            run.next_offset = rest.records[0].offset()
            del run.values[count:]
            self.queue.appendleft(rest)

    def release(self) -> None:
        """Go on after `hold`."""
        self.held = False
        self.wake()

    def queued_count(self) -> int:
        """Records waiting in the queue."""
        return sum(len(run.values) for run in self.queue)

    def position(self, tp: TP, fallback: int) -> int:
        """The oldest offset of `tp` that is not finished, while resting; `fallback` when nothing of it came yet."""
        for kept_tp, offset in self._kept:
            if kept_tp == tp:
                return offset
        return self.done.get(tp, fallback)

    def suspects(self) -> list[tuple[TP, int]]:
        """The events that a failure now belongs to: those kept by take(), and the current one."""
        found = list(dict.fromkeys(self._kept))
        run, index = self.cursor.run, self.cursor.index()
        if run is not None and index is not None:
            current = (run.tp, run.records[index].offset())
            if current not in found:
                found.append(current)
        return found

    def purge(self, predicate: Callable[[Run], bool]) -> None:
        """Drop the queued runs that `predicate` names."""
        self.queue = deque(run for run in self.queue if not predicate(run))
