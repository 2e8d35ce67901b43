"""Outbox: the records that a task (or the worker's own functions) sent since the last cut, in order per topic."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

OutputRecord = dict[str, Any]


class Outbox:
    """Output records by topic. Dictionaries as `Producer.produce_batch` takes them.

    Args:
        records_max: bound per topic (I7): a sender that awaits is held up above it, until the next `swap`.
        on_full: called when a sender is held up.
    """

    __slots__ = ("_on_full", "_records_max", "_waiting", "topics")

    def __init__(self, records_max: int, on_full: Callable[[], None]) -> None:
        self.topics: dict[str, list[OutputRecord]] = {}
        self._records_max = records_max
        self._on_full = on_full
        self._waiting: list[asyncio.Future[None]] = []

    def append(self, topic: str, message: OutputRecord) -> bool:
        """Add one record; True when the sender had better wait for `room`."""
        try:
            records = self.topics[topic]
        except KeyError:
            records = self.topics[topic] = []
        records.append(message)
        return len(records) > self._records_max

    async def room(self) -> None:
        """Wait until what is here has been taken out."""
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

    def count(self) -> int:
        """Records waiting, over all topics."""
        return sum(map(len, self.topics.values()))

    def swap(self) -> dict[str, list[OutputRecord]]:
        """Take everything out."""
        taken, self.topics = self.topics, {}
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()
        return taken
