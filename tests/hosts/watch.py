"""A reader of committed records that is there all the time: what became visible, and when. Decides nothing."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Sequence

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from tests.hosts.arrivals import Arrivals, Place
from tests.process.checker import Row
from tests.process.records import row_of

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
        self._seen: defaultdict[Place, dict[int, Row]] = defaultdict(dict)
        # Positions at which another record came later.
        self.rewritten: list[str] = []
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        places = [TopicPartition(topic, number, OFFSET_BEGINNING) for topic in topics for number in range(partitions)]
        self._consumer.assign(places)
        self._thread.start()

    def count(self, topic: str) -> int:
        """How many committed records of a topic have been seen; one that is read again counts once."""
        return sum(len(self._seen[topic, number]) for number in range(self._partitions))

    def rows(self, topic: str) -> dict[int, list[Row]]:
        """What was seen of a topic, by partition, in offset order."""
        return {
            number: [row for _, row in sorted(self._seen[topic, number].items())] for number in range(self._partitions)
        }

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
            for place in {place for place in map(self._keep, messages) if place is not None}:
                self._arrivals.note(place, now)

    def _keep(self, message: Message) -> Place | None:
        """Keep what is new, and say where that is."""
        place = str(message.topic()), int(message.partition() or 0)
        seen, offset, row = self._seen[place], int(message.offset() or 0), row_of(message)
        if offset not in seen:
            seen[offset] = row
            return place
        if seen[offset] != row:
            self.rewritten.append(f"{place} at {offset}: {seen[offset]} was read, and later {row}")
        return None
