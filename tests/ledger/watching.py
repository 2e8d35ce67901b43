"""Looks at a run from outside while it runs: a reader of committed records, and what hosts say and use.

Each look is noted with its time on the monotonic clock of this machine. It decides nothing.
"""

from __future__ import annotations

import contextlib
import threading
import time
from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import psutil
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from streamcluster_coordinator.records.status import Status, TaskStatus, WorkerStatus
from tests.ledger.folds import decode_posted
from tests.ledger.values import Sight, Usage, digest, text_of_key
from tests.process.waiting import pause

_BATCH = 5_000
_POLL_SECONDS = 0.1
LOOK_SECONDS = 0.05
USAGE_SECONDS = 1.0
# Something comes all the time, unless the faults hold it up. A client that hears nothing for longer may be deaf, as one
# that asked a lone broker after a pause (hearing.QUIET_SECONDS).
_QUIET_SECONDS = 5.0


@dataclass(slots=True)
class Arrivals:
    """Results of one partition as they became visible: when, of which movement's time, and by which process."""

    seen_at: array[float] = field(default_factory=lambda: array("d"))
    sent_at: array[float] = field(default_factory=lambda: array("d"))
    by: array[int] = field(default_factory=lambda: array("q"))


@dataclass(frozen=True, slots=True)
class Positions:
    """Since when which committed offset was the newest one of a log."""

    times: list[float] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)

    def add(self, moment: float, offset: int) -> None:
        """A later one."""
        if self.times and self.times[-1] == moment:
            self.offsets[-1] = offset
        else:
            self.times.append(moment)
            self.offsets.append(offset)

    def at(self, moment: float) -> int:
        """The newest offset at a moment; 0: none."""
        index = bisect_right(self.times, moment)
        return self.offsets[index - 1] if index else 0


class Watcher:
    """A read_committed consumer in a thread. topics: topic -> its name in the ledger and its number of partitions."""

    def __init__(self, bootstrap: str, topics: Mapping[str, tuple[str, int]], timed: str) -> None:
        self._bootstrap = bootstrap
        self._names = {topic: name for topic, (name, _) in topics.items()}
        self._timed = timed
        # (topic, partition) -> what is read next.
        self._next = {
            (topic, number): OFFSET_BEGINNING
            for topic, (_, partitions) in topics.items()
            for number in range(partitions)
        }
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger-watcher", daemon=True)
        self.sights: defaultdict[tuple[str, int], Sight] = defaultdict(Sight)
        self.arrivals: defaultdict[int, Arrivals] = defaultdict(Arrivals)
        # Of changelogs; at most one entry per batch.
        self.positions: defaultdict[tuple[str, int], Positions] = defaultdict(Positions)

    def start(self) -> None:
        """Begin at the beginning of each topic."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more."""
        self._enough.set()
        self._thread.join()

    def count(self, place: tuple[str, int]) -> int:
        """How many records were seen of a (topic, partition), by the topic's name in the ledger."""
        sight = self.sights.get(place)
        return 0 if sight is None else len(sight.offsets)

    def _run(self) -> None:
        while not self._enough.is_set():
            consumer = self._opened()
            try:
                self._read(consumer)
            finally:
                consumer.close()

    def _opened(self) -> Consumer:
        """A client that goes on where the one before was."""
        consumer = Consumer(
            {
                "bootstrap.servers": self._bootstrap,
                "group.id": "ledger-watcher",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "error",
                # A broker that comes back is looked for at once: recovery is timed with this.
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )
        consumer.assign([TopicPartition(*place, offset) for place, offset in self._next.items()])
        return consumer

    def _read(self, consumer: Consumer) -> None:
        """Read until it is enough, or nothing comes any more."""
        heard_at = time.monotonic()
        while not self._enough.is_set() and time.monotonic() - heard_at < _QUIET_SECONDS:
            # consume(n) waits until n records are there: one is waited for, and the others are taken along.
            first = consumer.poll(_POLL_SECONDS)
            if first is None:
                continue
            batch = [first, *consumer.consume(_BATCH, 0)]
            now = time.monotonic()
            for message in batch:
                # Errors are of brokers that are away, which is what the faults do.
                if message.error() is None:
                    heard_at = now
                    self._take(message, now)

    def _take(self, message: Message, now: float) -> None:
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None
        assert partition is not None
        assert offset is not None
        self._next[topic, partition] = offset + 1
        name, key, value = self._names[topic], message.key(), message.value()
        sight = self.sights[name, partition]
        sight.offsets.append(offset)
        sight.digests.append(digest("" if key is None else text_of_key(key), value))
        if name == self._timed and value is not None:
            posted = decode_posted(value)
            arrivals = self.arrivals[partition]
            arrivals.seen_at.append(now)
            arrivals.sent_at.append(posted.at)
            arrivals.by.append(posted.by)
        elif name.startswith("changelog:"):
            self.positions[name, partition].add(now, offset)


@dataclass(frozen=True, slots=True)
class Owner:
    """A task as a status shows it. pid None: its slot has no process that has joined; host: the slot's, or empty."""

    pid: int | None
    state: str
    restored: int
    host: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """One status of one host; no owners when nobody answered."""

    at: float
    host: str
    owners: Mapping[str, Owner]
    broker_up: bool = True


def look_of(at: float, host: str, status: Status | None) -> Look:
    """What matters of a status."""
    if status is None:
        return Look(at, host, {})
    joined = {slot_of_worker(worker): worker.pid for worker in status.workers if worker.state == "running"}
    owners = {
        task.task: Owner(joined.get(slot), task.state, task.figures.restored, slot.partition("/")[0] or host)
        for task in status.tasks
        for slot in [slot_of_task(task)]
    }
    return Look(at, host, owners, status.broker_state == "up")


def slot_of_worker(worker: WorkerStatus) -> str:
    """A slot's name, `host/number`; the host is empty in the status of an app that runs on one host only."""
    return f"{getattr(worker, 'host', '')}/{worker.slot}"


def slot_of_task(task: TaskStatus) -> str:
    """The slot that has a task, by the same names."""
    return getattr(task, "owner", None) or f"/{task.slot}"


class Sampler:
    """Asks one host for its status in a thread, and reads its processes' memory and descriptors.

    processes: the live processes of the host. looks: only those that differ from the one before.
    """

    def __init__(
        self,
        host: str,
        status: Callable[[], Status | None],
        processes: Callable[[], Sequence[tuple[str, psutil.Process]]],
    ) -> None:
        self._host = host
        self._status = status
        self._processes = processes
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"ledger-{host}", daemon=True)
        self.looks: list[Look] = []
        self.usage: defaultdict[str, list[Usage]] = defaultdict(list)
        self.last: Status | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._enough.set()
        self._thread.join()

    def _run(self) -> None:
        usage_due = 0.0
        while not self._enough.is_set():
            status = self._status()
            now = time.monotonic()
            if status is not None:
                self.last = status
            look = look_of(now, self._host, status)
            if not self.looks or (look.owners, look.broker_up) != (self.looks[-1].owners, self.looks[-1].broker_up):
                self.looks.append(look)
            if now >= usage_due:
                usage_due = now + USAGE_SECONDS
                self._note_usage(now)
            pause(LOOK_SECONDS)

    def _note_usage(self, now: float) -> None:
        for name, process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied), process.oneshot():
                usage = Usage(now, process.memory_info().rss, process.num_fds())
                self.usage[f"{self._host} {name} {process.pid}"].append(usage)
