"""A reader of committed records that is there all the time, and notes when outputs became visible. Decides nothing."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from tests.hosts.arrivals import Arrivals

_POLL_SECONDS = 0.02
_END_SECONDS = 20.0


class Watch:
    """A thread that reads topics with so many partitions from their beginning, until it is closed."""

    def __init__(self, bootstrap: str, topics: Sequence[str], partitions: int) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "hosts-tests-watch",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 50,
                # Comes back as soon as the brokers do, or what is measured is this reader.
                "reconnect.backoff.max.ms": 200,
                "topic.metadata.refresh.interval.ms": 2000,
                "log_level": 0,
            }
        )
        self._partitions = partitions
        self._arrivals = Arrivals()
        self._counts: Counter[str] = Counter()
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        places = [TopicPartition(topic, number, OFFSET_BEGINNING) for topic in topics for number in range(partitions)]
        self._consumer.assign(places)
        self._thread.start()

    def count(self, topic: str) -> int:
        """How many committed records of a topic have been seen."""
        return self._counts[topic]

    def first_after(self, fault: float) -> float:
        """Seconds from a fault until every partition that it silenced had a new record."""
        return self._arrivals.first_after(fault, time.monotonic())

    def longest(self, since: float) -> float:
        """The longest silence of any partition, in seconds."""
        return self._arrivals.longest(since, time.monotonic())

    def silent(self, topic: str, since: float) -> list[int]:
        """The partitions of a topic that got nothing after `since`."""
        return self._arrivals.silent(topic, self._partitions, since)

    def close(self) -> None:
        """End the thread."""
        self._enough.set()
        self._thread.join(_END_SECONDS)
        self._consumer.close()

    def _read(self) -> None:
        while not self._enough.is_set():
            messages = [one for one in self._consumer.consume(1000, _POLL_SECONDS) if one.error() is None]
            now = time.monotonic()
            batch = Counter((str(one.topic()), int(one.partition() or 0)) for one in messages)
            for place, count in batch.items():
                self._arrivals.note(place, now)
                self._counts[place[0]] += count
