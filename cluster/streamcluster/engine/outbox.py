"""Outbox: the records that a task (or the worker's own functions) sent since the last cut, in order per topic."""

from __future__ import annotations

from typing import Any

OutputRecord = dict[str, Any]


class Outbox:
    """Output records by topic. Dictionaries as `Producer.produce_batch` takes them."""

    __slots__ = ("topics",)

    def __init__(self) -> None:
        self.topics: dict[str, list[OutputRecord]] = {}

    def append(self, topic: str, message: OutputRecord) -> None:
        """Add one record."""
        try:
            self.topics[topic].append(message)
        except KeyError:
            self.topics[topic] = [message]

    def records_of(self, topic: str) -> list[OutputRecord]:
        """The list that records for `topic` go to until the next `swap`."""
        return self.topics.setdefault(topic, [])

    def count(self) -> int:
        """Records waiting, over all topics."""
        return sum(map(len, self.topics.values()))

    def swap(self) -> dict[str, list[OutputRecord]]:
        """Take everything out."""
        taken, self.topics = self.topics, {}
        return taken
