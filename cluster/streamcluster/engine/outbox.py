"""Outbox: the records that a coroutine, a task or the worker's own functions sent since the last cut, per topic."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import NoReturn

from ..errors import TooLate
from ..output import OutputRecord

logger = logging.getLogger("streamcluster")
Outputs = dict[str, list[OutputRecord]]


class _Ended:
    """In the place of `Outbox.topics`, so that a send pays nothing for the question whether it comes too late."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False

    def values(self) -> tuple[()]:
        """Nothing waits."""
        return ()

    def __getitem__(self, topic: str) -> NoReturn:
        error = TooLate(topic)
        # Nobody may look at what a task raises that was started and forgotten.
        logger.error("%s", error)
        raise error


class Outbox:
    """Output records by topic.

    Args:
        records_max: bound per topic (I7): a sender that awaits is held up above it, until there is room again.
        on_full: called when a sender is held up.
        behind: the outbox that this one is moved into; what waits there counts too.
    """

    __slots__ = ("_behind", "_on_full", "_waiting", "has_ended", "records_max", "topics")

    def __init__(self, records_max: int, on_full: Callable[[], None], behind: Outbox | None = None) -> None:
        self.topics: Outputs = {}
        self.has_ended = False
        # May be raised for an event that must be done in one go.
        self.records_max = records_max
        self._on_full = on_full
        self._behind = behind
        self._waiting: list[asyncio.Future[None]] = []

    def append(self, topic: str, record: OutputRecord) -> bool:
        """Add one record; True when the sender had better wait for `room`."""
        try:
            records = self.topics[topic]
        except KeyError:
            self.topics[topic] = [record]
            # What is behind grows when this is moved there, and then this begins anew: no need to ask at each record.
            return self.records_max < 1 or (self._behind is not None and self._behind.is_crowded(topic))
        records.append(record)
        return len(records) > self.records_max

    def is_crowded(self, topic: str) -> bool:
        """More waits for `topic` than may."""
        return topic in self.topics and len(self.topics[topic]) > self.records_max

    async def room(self) -> None:
        """Wait until what is here has been taken out, or more may wait."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._on_full()
        await waiter

    def is_full(self) -> bool:
        """A sender is held up."""
        return any(not waiter.done() for waiter in self._waiting)

    def records_of(self, topic: str) -> list[OutputRecord]:
        """The list that records for `topic` go to until the next `swap`."""
        return self.topics.setdefault(topic, [])

    def end(self) -> None:
        """No commit will take anything from here: who sends is told so."""
        self.has_ended = True
        self.topics = _Ended()  # type: ignore[assignment]  # It is asked for one topic, and that is all.

    def count(self) -> int:
        """Records waiting, over all topics."""
        return sum(map(len, self.topics.values()))

    def swap(self) -> Outputs:
        """Take everything out."""
        if self.has_ended:
            return {}
        taken, self.topics = self.topics, {}
        self.let_go_on()
        return taken

    def let_go_on(self) -> None:
        """Let senders go on that are held up, unless too much waits here itself."""
        if any(map(self.is_crowded, self.topics)):
            return
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()


def merge(into: Outputs, outputs: Outputs) -> None:
    """Add the records of `outputs` to those of `into`, topic by topic."""
    for topic, records in outputs.items():
        if topic in into:
            into[topic] += records
        else:
            into[topic] = records
