"""Events for the machine from any thread: they wait in order until the loop takes them, also before there is a loop."""

from __future__ import annotations

import asyncio
from collections import deque

from ..machine.events import Event


class Inbox:
    """A queue without a bound of its own: workers, two topics and the clock fill it more slowly than it is read."""

    __slots__ = ("_events", "_loop", "_wakeup")

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wakeup = asyncio.Event()

    def open(self) -> None:
        """Wake the running loop from now on."""
        self._loop = asyncio.get_running_loop()
        self._wakeup.set()

    def post(self, event: Event) -> None:
        """Queue an event; for the loop's thread."""
        self._events.append(event)
        self._wakeup.set()

    def post_from_thread(self, event: Event) -> None:
        """Queue an event; for any thread. After the loop's end it is dropped."""
        self._events.append(event)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wakeup.set)

    async def wait(self) -> None:
        """Until there is an event."""
        await self._wakeup.wait()
        self._wakeup.clear()

    def take(self) -> Event | None:
        """The oldest event; None: there is none."""
        return self._events.popleft() if self._events else None
