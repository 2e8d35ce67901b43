"""LongEvents: which events have been running for long, so that `status` and the log can name what holds a task up.

It is asked now and then, not told: an event that ends within two looks costs nothing. Pure: time comes in.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from ..ids import TP, TaskId
from ..protocol.messages import LONG_EVENT
from .coroutine import event_in_hand
from .task import RunningTask

logger = logging.getLogger("streamcluster")


@dataclass(slots=True)
class LongEvent:
    """An event that is in hand. since: the time of the first look that found it so."""

    unit: str
    tp: TP
    offset: int
    since: float
    is_told: bool = False

    def describe(self, now: float) -> str:
        """For people."""
        return f"event {self.tp}@{self.offset} of {self.unit} {LONG_EVENT} {now - self.since:.0f} s"


class LongEvents:
    """The events in hand of one worker, by the last look. report_seconds: when one is told of in the log, once."""

    __slots__ = ("_found", "_report_seconds")

    def __init__(self, report_seconds: float) -> None:
        self._report_seconds = report_seconds
        self._found: dict[TaskId, dict[int, LongEvent]] = {}

    def look(self, tasks: Mapping[TaskId, RunningTask], now: float) -> None:
        """See which events are in hand, and tell of those that have been for long."""
        before, self._found = self._found, {}
        for task in tasks.values():
            here = before.get(task.id, {})
            for coroutine in task.coroutines:
                event = event_in_hand(coroutine)
                if event is None:
                    continue
                tp, offset = event
                known = here.get(id(coroutine))
                if known is None or (known.tp, known.offset) != event:
                    known = LongEvent(coroutine.unit_name, tp, offset, now)
                self._found.setdefault(task.id, {})[id(coroutine)] = known
                if not known.is_told and now - known.since >= self._report_seconds > 0:
                    known.is_told = True
                    logger.warning("%s; the others go on", known.describe(now))

    def longest(self, task: TaskId, now: float) -> str | None:
        """The event of the task that has been running for longest, when that is long enough to be told of."""
        events = [event for event in self._found.get(task, {}).values() if now - event.since >= self._report_seconds]
        return min(events, key=lambda event: event.since).describe(now) if events else None
