"""Instance: one running coroutine of a unit in one task, from start to cancellation."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any, assert_never

from ..boundary import failure_of, raise_or_say, running_task
from ..current import Cursor, cursor_var, outbox_var
from ..errors import AppError, UnencodableEntry, WillNotEnd
from ..ids import TaskId
from ..topology.units import AgentUnit, CloseUnit, ForwardUnit, Unit
from .agent_body import run_agent
from .clock import Clock, sleep
from .close_body import close
from .event_time.ordering import Ordering
from .forward_body import forward
from .hand import Hand
from .intake import RunIntake
from .killers import Caution
from .values import Failure

CANCEL_SECONDS_MAX = 10.0
RESTART_SECONDS_MAX = 30.0


class Instance:
    """One coroutine. `down` while it waits to be started again after it failed outside of an event."""

    __slots__ = (
        "_clock",
        "_context",
        "_ending",
        "_fail",
        "_loop_task",
        "down",
        "failed",
        "hand",
        "intake",
        "name",
        "order",
        "task",
        "unit",
    )

    def __init__(
        self,
        unit: Unit,
        name: str,
        task: TaskId,
        hand: Hand,
        clock: Clock,
        on_rest: Callable[[], None],
        fail: Callable[[Failure], None],
        caution: Caution,
    ) -> None:
        self.unit = unit
        self.name = name
        self.task = task
        self.hand = hand
        cursor = Cursor(unit.name, task)
        self.intake = RunIntake(cursor, clock, on_rest, self._settle, caution)
        self.intake.hand = hand
        self._clock = clock
        self._fail = fail
        self._loop_task: asyncio.Task[None] | None = None
        # What was cancelled, until it has ended.
        self._ending: asyncio.Task[None] | None = None
        self.down = False
        # It failed at an event and waits for its task to be rolled back.
        self.failed = False
        self._context = contextvars.copy_context()
        self._context.run(cursor_var.set, cursor)
        self._context.run(outbox_var.set, hand.outbox)

    @property
    def unit_name(self) -> str:
        """The agent's name."""
        return self.unit.name

    @property
    def resting(self) -> bool:
        """No event is half done."""
        return self.intake.resting or self.down

    @property
    def idle(self) -> bool:
        """Resting, with nothing queued."""
        return self.down or self.intake.idle

    def stop_taking(self) -> None:
        """Come to rest after the current event."""
        self.intake.hold("closing")

    def _settle(self) -> bool:
        """The event in hand is finished; False when what it wrote cannot be committed, which is its failure."""
        if self.intake.strict and not self.failed:
            try:
                self.hand.check()
            except UnencodableEntry as error:
                suspects = self.intake.suspects()
                self.failed = bool(suspects)
                self._fail(Failure(self.unit.name, self.unit.policy, self.task, suspects, error))
        if self.failed:
            return False
        self.hand.settle()
        return True

    def set_shard(self, variable: contextvars.ContextVar[Any], shard: Any) -> None:
        """Give the coroutine its shard of one table."""
        self._context.run(variable.set, shard)

    def order_inputs(self, order: Ordering) -> None:
        """Have it take its events in the order of time."""
        self.order = self.intake.order = order

    def start(self) -> None:
        """Run a fresh coroutine."""
        self.failed = self.down = False
        self.intake.is_ended = False
        self.intake.release(self)
        self._loop_task = asyncio.get_running_loop().create_task(self._main(), name=self.name, context=self._context)

    async def cancel(self) -> None:
        """End the coroutine and forget what it had in hand.

        Raises:
            WillNotEnd: it swallowed the cancellation; only the end of the process helps.
        """
        self.end()
        if self._ending is not None:
            done, _ = await asyncio.wait({self._ending}, timeout=CANCEL_SECONDS_MAX)
            if not done:
                raise WillNotEnd(
                    f"agent {self.unit.name!r} did not end within {CANCEL_SECONDS_MAX:.0f} s of its cancellation."
                )
            self._ending = None
        self.intake.queue.clear()
        self.intake.forget()

    def end(self) -> None:
        """Cancel the coroutine, without a wait for its end: who waits may be cancelled, and it must not go on."""
        self.intake.is_ended = True
        self.hand.shut()
        self.intake.hold(self)
        if self._loop_task is not None:
            self._ending, self._loop_task = self._loop_task, None
            self._ending.cancel()

    async def _main(self) -> None:
        attempt = 0
        while not self._is_ended():
            try:
                if attempt:
                    await sleep(self._clock, min(RESTART_SECONDS_MAX, 0.1 * 2**attempt))
                self.down = False
                before, self.intake.is_begun = dict(self.intake.done), False
                await self._run_once()
                if self._is_ended():
                    return
                is_at_event = self.intake.is_begun and self.intake.cursor.index() is not None
                if self.intake.done == before and not is_at_event:
                    raise AppError(f"agent {self.unit.name!r} returned without reading its stream.")
                self.intake.begin()
                attempt = 0
            except BaseException as error:  # noqa: BLE001 (the boundary to user code)
                if self._is_ended():
                    raise_or_say(self.unit.name, error)
                    return
                self.hand.shut()
                failure = await failure_of(error)
                suspects = self.intake.suspects()
                self.failed = bool(suspects)
                self.down = not suspects
                self._fail(Failure(self.unit.name, self.unit.policy, self.task, suspects, failure))
                if suspects:
                    return
                attempt += 1

    def _is_ended(self) -> bool:
        """We have ended this coroutine, or the interpreter does; what user code raises now is no failure."""
        return self._loop_task is None or self._loop_task is not running_task()

    async def _run_once(self) -> None:
        match self.unit:
            case AgentUnit():
                await run_agent(self.unit, self.intake, self.hand.outbox)
            case ForwardUnit():
                await forward(self.unit, self.intake, self.hand.outbox)
            case CloseUnit():
                await close(self.unit, self.intake, self._context[self.unit.due.table.shard_var])
            case _ as unknown:
                assert_never(unknown)
