"""Simulated topics: logs in memory, with offsets, and the clock that goes with them."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..batch import Batch, KafkaRecord
from ..ids import TP
from ..output import AT_COMMIT, BY_KEY, OutputRecord, output_of
from ..topology.murmur2 import partition_for


@dataclass(frozen=True, slots=True)
class Output:
    """A record that the app sent, decoded where the app says how, else as bytes. timestamp: seconds."""

    key: Any
    value: Any
    partition: int
    offset: int
    timestamp: float
    headers: dict[str, bytes]


@dataclass(slots=True)
class SimulatedLogs:
    """All partitions of all topics. partition_counts: topic -> count."""

    partition_counts: dict[str, int]
    logs: dict[TP, list[KafkaRecord]] = field(default_factory=dict)
    _round_robin: int = 0

    def append(self, topic: str, message: dict[str, Any], now: float) -> KafkaRecord:
        """Add a record, given as the arguments of `output_of`, to its partition."""
        return self.add(topic, output_of(**message), now)

    def add(self, topic: str, output: OutputRecord, now: float) -> KafkaRecord:
        """Add an output record to its partition."""
        key, value, partition, milliseconds, headers = output
        count = self.partition_counts[topic]
        if partition == BY_KEY and key is not None:
            partition = partition_for(key, count)
        elif partition == BY_KEY:
            partition = self._round_robin = (self._round_robin + 1) % count
        if not 0 <= partition < count:
            raise ValueError(f"topic {topic!r} has partitions 0 to {count - 1}, not {partition}.")
        tp = TP(topic, partition)
        log = self.logs.setdefault(tp, [])
        record = KafkaRecord(
            offset=len(log),
            timestamp=int(now * 1000) if milliseconds == AT_COMMIT else milliseconds,
            key=key,
            value=value,
            headers=headers,
        )
        log.append(record)
        return record


def batches_of(tp: TP, records: Sequence[KafkaRecord]) -> Iterator[Batch]:
    """Consecutive records of a log; one that cannot be unpacked is a batch of its own, and the last."""
    why = [record.why for record in records]
    end = next((at for at, error in enumerate(why) if error is not None), len(records))
    if readable := records[:end]:
        yield Batch(
            tp,
            [record.offset for record in readable],
            [record.timestamp for record in readable],
            [record.key for record in readable],
            [record.value for record in readable],
            [record.headers for record in readable] if any(record.headers for record in readable) else None,
        )
    if error := next(filter(None, why), None):
        yield Batch.unreadable(tp, records[end].offset, error)


class SimulatedClock:
    """Time that moves only when it is told to. Implements the engine's Clock."""

    __slots__ = ("_alarms", "_count", "_now", "_start_time")

    def __init__(self, start_time: float = 0.0) -> None:
        """start_time: seconds since the epoch."""
        self._now = 0.0
        self._start_time = start_time
        self._count = 0
        self._alarms: list[tuple[float, int, SimulatedAlarm]] = []

    def now(self) -> float:
        """Seconds since the driver was made."""
        return self._now

    def wall(self) -> float:
        """Seconds since the epoch."""
        return self._start_time + self._now

    def move_wall(self, wall: float) -> None:
        """It is that late by the time of day, if it was earlier; no alarm rings for that."""
        self._start_time = max(self._start_time, wall - self._now)

    def call_later(self, seconds: float, fun: Callable[[], object]) -> SimulatedAlarm:
        """Call `fun` when time has moved by `seconds`."""
        self._count += 1
        alarm = SimulatedAlarm(fun)
        heapq.heappush(self._alarms, (self._now + seconds, self._count, alarm))
        return alarm

    def next_due(self) -> float | None:
        """When the next alarm rings, or None."""
        while self._alarms and self._alarms[0][2].fun is None:
            heapq.heappop(self._alarms)
        return self._alarms[0][0] if self._alarms else None

    def move_to(self, now: float) -> None:
        """Set the time and ring the alarms that are due."""
        self._now = max(self._now, now)
        while self._alarms and self._alarms[0][0] <= self._now:
            alarm = heapq.heappop(self._alarms)[2]
            if alarm.fun is not None:
                alarm.fun()


class SimulatedAlarm:
    """One alarm; `fun` is None once it is cancelled."""

    __slots__ = ("fun",)

    def __init__(self, fun: Callable[[], object]) -> None:
        self.fun: Callable[[], object] | None = fun

    def cancel(self) -> None:
        """Do not ring."""
        self.fun = None
