"""Sending: the time of one operator on its way to who reads the repartition topic that its task sends to."""

from __future__ import annotations

from dataclasses import dataclass

from ...output import OutputColumns
from ...times import NO_TIME
from .marks import ProducerMark, records_of
from .operator_time import OperatorTime
from .producers import RENEW_SECONDS

_NOTHING = (NO_TIME, False)


@dataclass(frozen=True, slots=True)
class Destination:
    """Where marks go.

    producer: the name of the task, and of the unit where the topic has several. hold_ms: how far behind the operator's
    time what is sent there may be.
    """

    topic: str
    partitions: int
    producer: str
    hold_ms: int = 0


class Sending:
    """Of one forwarding unit in one task. interval: between two marks, at least, in seconds."""

    __slots__ = ("_interval", "_is_asked", "_sent", "_sent_at", "_to", "operator", "topic")

    def __init__(self, to: Destination, operator: OperatorTime, interval: float) -> None:
        self.topic = to.topic
        self._to = to
        self.operator = operator
        self._interval = interval
        # What was sent last, and when. None: since the task began, or was rolled back, nothing.
        self._sent: tuple[int, bool] | None = None
        self._sent_at = 0.0
        # A commit was asked for, to carry a mark.
        self._is_asked = False

    def _state(self) -> tuple[int, bool]:
        time = self.operator.finished
        return time if time == NO_TIME else time - self._to.hold_ms, self.operator.idle_since is not None

    def _is_due(self, now: float) -> bool:
        state, sent = self._state(), self._sent
        if sent is None:
            return state != _NOTHING
        return now >= self._sent_at + (self._interval if state != sent else RENEW_SECONDS) and (
            state != sent or sent[1]
        )

    def asks(self, now: float) -> bool:
        """Whether there is a mark that a commit should carry, for which none was asked for."""
        if self._is_asked or not self._is_due(now):
            return False
        self._is_asked = True
        return True

    def take(self, now: float) -> OutputColumns | None:
        """The marks for the cut that is made."""
        if not self._is_due(now):
            return None
        self._sent = time, _ = self._state()
        self._sent_at, self._is_asked = now, False
        idle_since = self.operator.idle_since
        idle_ms = None if idle_since is None else round((now - idle_since) * 1000)
        return records_of(ProducerMark(self._to.producer, time, idle_ms), self._to.partitions)

    def rewind(self) -> None:
        """What was sent in transactions that were not committed is not there."""
        self._sent, self._is_asked = None, False
