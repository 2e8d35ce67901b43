"""Coroutine: what a task, and the open transaction, see of whatever runs user code over the task's events.

Two kinds: `instance.Instance` runs an agent in one task; `shared.SharedPart` is what a stream of `app.stream`, which
goes over the tasks of a worker, does in one of them.
"""

from __future__ import annotations

from typing import Protocol

from ..ids import TP
from .hand import Hand
from .intake import RunIntake


class Coroutine(Protocol):
    """User code over the events of one task."""

    hand: Hand
    intake: RunIntake

    @property
    def unit_name(self) -> str:
        """The name of the agent, or of the stream."""
        ...

    @property
    def resting(self) -> bool:
        """No event of the task is half done."""
        ...

    @property
    def idle(self) -> bool:
        """Resting, with nothing of the task queued that it may hand out."""
        ...

    @property
    def failed(self) -> bool:
        """It failed at an event, and the rollback is still to come."""
        ...

    def stop_taking(self) -> None:
        """Take no further event of the task, which is being closed."""
        ...


def holds_back(coroutine: Coroutine) -> bool:
    """The task cannot be cut: an event is half done, and something that is not finished may be in the shards.

    An event that has written nothing can stay out of a cut: what it sent is in its hand, and the position before it.
    """
    if coroutine.resting:
        return False
    return coroutine.intake.unsettled or coroutine.hand.is_seen()


def settle(coroutine: Coroutine) -> None:
    """A cut is near: what a resting coroutine has done is finished."""
    if coroutine.resting:
        coroutine.hand.settle()
        coroutine.intake.unsettled = False


def event_in_hand(coroutine: Coroutine) -> tuple[TP, int] | None:
    """The event that is half done."""
    return None if coroutine.resting else coroutine.intake.current()
