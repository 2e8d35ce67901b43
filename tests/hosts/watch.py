"""When outputs became visible to a reader of committed records: what recovery times are measured with.

It notes the time at which records of each partition arrive; a partition is what one task writes to. Decides nothing.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

Place = tuple[str, int]
_POLL_SECONDS = 0.02
_END_SECONDS = 20.0
# A worker that dies may have committed a moment before, which its reader sees a moment later.
_BEGUN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Silence:
    """A time in which a partition got nothing, on the monotonic clock."""

    begin: float
    end: float


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
        self._places = [(topic, number) for topic in topics for number in range(partitions)]
        # Times of arrival, oldest first: one per batch of a partition.
        self._arrivals: dict[Place, list[float]] = {place: [] for place in self._places}
        self._counts: Counter[str] = Counter()
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for topic, number in self._places])
        self._thread.start()

    def count(self, topic: str) -> int:
        """How many committed records of a topic have been seen."""
        return self._counts[topic]

    def first_after(self, fault: float) -> float:
        """Seconds from a fault until every partition that it silenced had a new record."""
        found = [0.0]
        for spans in self._silences(fault).values():
            # What began later is another story, for example of a short pause to commit.
            begun = [span for span in spans if span.begin <= fault + _BEGUN_SECONDS]
            found.append(max(begun, key=_seconds_of).end - fault)
        return max(found)

    def longest(self, since: float) -> float:
        """The longest silence of any partition, in seconds."""
        return max((_seconds_of(max(spans, key=_seconds_of)) for spans in self._silences(since).values()), default=0.0)

    def silent(self, topic: str, since: float) -> list[int]:
        """The partitions of a topic that got nothing after `since`."""
        arrivals = [(number, times) for (name, number), times in self._arrivals.items() if name == topic]
        return [number for number, times in arrivals if not times or times[-1] <= since]

    def close(self) -> None:
        """End the thread."""
        self._enough.set()
        self._thread.join(_END_SECONDS)
        self._consumer.close()

    def _silences(self, since: float) -> Mapping[Place, list[Silence]]:
        """The silences of each partition from `since` to now; those that never had a record are left out."""
        now = time.monotonic()
        found: dict[Place, list[Silence]] = {}
        for place, arrivals in self._arrivals.items():
            if arrivals:
                times = [since, *(at for at in list(arrivals) if at > since), now]
                found[place] = [Silence(begin, end) for begin, end in pairwise(times)]
        return found

    def _read(self) -> None:
        while not self._enough.is_set():
            messages = [one for one in self._consumer.consume(1000, _POLL_SECONDS) if one.error() is None]
            now = time.monotonic()
            batch = Counter((str(one.topic()), int(one.partition() or 0)) for one in messages)
            for place, count in batch.items():
                self._arrivals[place].append(now)
                self._counts[place[0]] += count


def _seconds_of(silence: Silence) -> float:
    return silence.end - silence.begin
