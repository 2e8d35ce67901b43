"""Functions: the @app.task and @app.timer functions of one worker, on every worker or on the leader only."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Callable

from ..app import App, TaskFunction
from ..boundary import failure_of, raise_or_say, running_task
from ..current import cursor_var, outbox_var
from ..printable import repr_of, showable
from .clock import Clock, sleep
from .outbox import Outbox
from .shared import function_var

logger = logging.getLogger("streamcluster")
CANCEL_SECONDS_MAX = 10.0


class Functions:
    """Starts and stops functions.

    crash: called with (name, error) when an @app.task raises; ended: called with its name when it returns.
    """

    __slots__ = ("_again", "_app", "_clock", "_crash", "_ended", "_ending", "_outbox", "_running", "_wanted")

    def __init__(
        self,
        app: App,
        functions: tuple[TaskFunction, ...],
        clock: Clock,
        outbox: Outbox,
        crash: Callable[[str, BaseException], None],
        ended: Callable[[str], None],
    ) -> None:
        self._app = app
        self._wanted = functions
        self._clock = clock
        self._outbox = outbox
        self._crash = crash
        self._ended = ended
        self._running: dict[str, asyncio.Task[None]] = {}
        # Those that were cancelled and have not ended.
        self._ending: dict[str, asyncio.Task[None]] = {}
        # Those that were cancelled to be started again.
        self._again: set[str] = set()

    def start(self, *, leader: bool) -> None:
        """Start what should run and does not."""
        self._app.leads = leader
        for number, function in enumerate(self._wanted):
            name = f"{function.name}#{number}"
            if name not in self._running and (leader or not function.on_leader):
                self._start(name, function)

    def _start(self, name: str, function: TaskFunction) -> None:
        context = contextvars.copy_context()
        context.run(outbox_var.set, self._outbox)
        context.run(cursor_var.set, None)
        context.run(function_var.set, name)
        run = self._run_task(name, function) if function.interval is None else self._run_timer(name, function)
        self._running[name] = asyncio.get_running_loop().create_task(run, name=name, context=context)

    async def lose_leadership(self) -> None:
        """Stop what runs on the leader only."""
        self._app.leads = False
        await self._cancel([f"{f.name}#{number}" for number, f in enumerate(self._wanted) if f.on_leader])

    async def cancel(self, names: set[str]) -> None:
        """Cancel these functions: what they had in hand was rolled back."""
        self._again |= names & self._running.keys()
        await self._cancel(sorted(names))

    def start_again(self, names: set[str]) -> None:
        """Start these functions afresh after `cancel`. Those that did not run then stay so."""
        for number, function in enumerate(self._wanted):
            name = f"{function.name}#{number}"
            if name in names & self._again and name not in self._running:
                self._start(name, function)
        self._again -= names

    async def stop(self) -> None:
        """Cancel everything."""
        self._again.clear()
        await self._cancel(list(self._running))

    async def _cancel(self, names: list[str]) -> None:
        for name in names:
            if (task := self._running.pop(name, None)) is not None:
                task.cancel()
                self._ending[name] = task
        # Also those that somebody else cancelled and waits for.
        tasks = {self._ending[name] for name in names if name in self._ending}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=CANCEL_SECONDS_MAX)
            for task in late:
                logger.warning("%s did not end within %.0f s of its cancellation", task.get_name(), CANCEL_SECONDS_MAX)
        self._ending = {name: task for name, task in self._ending.items() if task not in tasks}

    def _is_ended(self, name: str) -> bool:
        """We have ended this function, or the interpreter does; what it raises now is no failure."""
        return name not in self._running or self._running[name] is not running_task()

    async def _run_task(self, name: str, function: TaskFunction) -> None:
        try:
            await self._call(function)
            self._ended(name)
        except BaseException as error:  # noqa: BLE001 (the boundary to user code)
            if self._is_ended(name):
                raise_or_say(name, error)
            else:
                self._crash(name, await failure_of(error))

    async def _run_timer(self, name: str, function: TaskFunction) -> None:
        assert function.interval is not None
        due = self._clock.now() + function.interval
        while not self._is_ended(name):
            try:
                await sleep(self._clock, due - self._clock.now())
                await self._call(function)
            except BaseException as error:
                if self._is_ended(name):
                    raise_or_say(name, error)
                    return
                failure = await failure_of(error)
                text = "timer %s failed: %s; its next run is in %.3g s"
                logger.error(text, function.name, repr_of(failure), function.interval, exc_info=showable(failure))
            due = max(due + function.interval, self._clock.now())

    async def _call(self, function: TaskFunction) -> None:
        takes_app = bool(inspect.signature(function.fun).parameters)
        result = function.fun(self._app) if takes_app else function.fun()
        if inspect.isawaitable(result):
            await result
