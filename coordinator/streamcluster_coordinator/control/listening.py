"""A thread without which this host is deaf: it goes on whatever a turn of it raises."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..dropped import Dropped

# For a turn that is under way, which takes a few seconds at most: it must not meet a closed consumer, however busy the
# machine is.
_THREAD_SECONDS = 10.0
_PAUSE_SECONDS = 0.2


class Listening:
    """Takes one turn after the other until it is ended, and tells `dropped` why one was not taken to its end.

    Args:
        name: of the thread.
        topic: what it listens to.
        dropped: told of what is not used.
        turn: returns within a few seconds.
    """

    __slots__ = ("_dropped", "_ended", "_thread", "_topic", "_turn")

    def __init__(self, name: str, topic: str, dropped: Dropped, turn: Callable[[], None]) -> None:
        """It begins with `start`."""
        self._topic = topic
        self._dropped = dropped
        self._turn = turn
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Take turns from now on."""
        self._thread.start()

    def end(self) -> None:
        """Take no turn more, and wait for one that is under way, unless it is the one that says so."""
        self._ended = True
        if self._thread is not threading.current_thread():
            self._thread.join(_THREAD_SECONDS)

    def is_alive(self) -> bool:
        """Whether the thread is there."""
        return self._thread.is_alive()

    def _run(self) -> None:
        while not self._ended:
            try:
                self._turn()
            except Exception as error:  # noqa: BLE001 (the boundary of a thread without which this host is deaf)
                self._dropped.add(f"topic {self._topic}", f"{type(error).__name__}: {error}", traceback=error)
                time.sleep(_PAUSE_SECONDS)
