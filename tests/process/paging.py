"""Pages a table from its first row to its last while the app is fed. Run as `python -m tests.process.paging`.

It decides what was missing, what came twice, how long it took and how late commits were; a test does it small.
"""

from __future__ import annotations

import itertools
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
from confluent_kafka import OFFSET_END, Consumer, TopicPartition

from streamcluster_coordinator.broker import Broker
from streamcluster_coordinator.cli.running import all_rows
from tests.process import topics
from tests.process.checker import Row
from tests.process.records import Feed, send
from tests.process.running import Running

ROWS, RATE, PARTITIONS = 300_000, 5_000, 4
# Keys that are written again and again meanwhile, beside those that come new.
_BUSY_KEYS = 2_000
_HEARD_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Paging:
    """What was seen. missing, twice: of the rows that did not change; latest: seconds until a result was committed."""

    seconds: float
    rows: int
    missing: int
    twice: int
    latest: float
    fed: int

    def __str__(self) -> str:
        return (
            f"{self.rows:,} rows in {self.seconds:.1f} s, {self.missing} missing, {self.twice} twice; meanwhile "
            f"{self.fed:,} events, the latest of them committed after {self.latest:.2f} s"
        )


def fill(run: Running, bootstrap: str, prefix: str, rows: int) -> None:
    """Have the table hold so many rows, and all of them committed."""
    send(bootstrap, f"{prefix}in", (Row(f"row-{number:09}", b"v") for number in range(rows)))
    run.until_caught_up(300.0)


def page_beside_a_load(run: Running, bootstrap: str, prefix: str, rows: int, rate: int) -> Paging:
    """Read the table of `fill` while other keys change, and new ones come before, between and behind its rows."""
    feed = Feed(bootstrap, f"{prefix}in", _changes(rows), rate=rate)
    lateness = _Lateness(bootstrap, f"{prefix}out")
    lateness.start()
    feed.start()
    try:
        lateness.until_heard()
        begin = time.monotonic()
        seen = Counter(key for key, _ in all_rows(run.settings, "seen"))
        seconds = time.monotonic() - begin
    finally:
        feed.stop()
        lateness.stop()
    kept = [msgspec.json.encode(f"row-{number:09}").decode() for number in range(rows)]
    return Paging(
        seconds=seconds,
        rows=seen.total(),
        missing=sum(not seen[key] for key in kept),
        twice=sum(seen[key] > 1 for key in kept),
        latest=lateness.latest,
        fed=len(feed.acked),
    )


def _changes(rows: int) -> Iterator[Row]:
    for number in itertools.count():
        key = f"row-{number * 7919 % rows:09}-new" if number % 2 else f"busy-{number % _BUSY_KEYS}"
        yield Row(key, str(time.time()).encode())


class _Lateness:
    """Reads what the app sends, as soon as it is committed; each value is the time at which its event was sent."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.latest = 0.0
        self._heard = threading.Event()
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": f"{topic}-lateness",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
            }
        )
        self._consumer.assign([TopicPartition(topic, number, OFFSET_END) for number in range(PARTITIONS)])

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def until_heard(self) -> None:
        """Wait for the first."""
        assert self._heard.wait(_HEARD_SECONDS), "nothing comes out of the app"

    def stop(self) -> None:
        """End."""
        self._enough.set()
        self._thread.join()
        self._consumer.close()

    def _read(self) -> None:
        while not self._enough.is_set():
            messages = self._consumer.consume(1000, 0.05)
            now = time.time()
            for message in messages:
                value = message.value()
                if message.error() is None and value is not None:
                    self.latest = max(self.latest, now - float(value))
                    self._heard.set()


def main() -> None:
    """The whole figure, with a broker of its own."""
    prefix = f"paging-{uuid.uuid4().hex[:8]}-"
    with tempfile.TemporaryDirectory() as directory, Broker() as broker:
        topics.create(broker.bootstrap, [f"{prefix}in", f"{prefix}out"], PARTITIONS)
        run = Running("obedient", prefix, f"kafka://{broker.bootstrap}", Path(directory))
        try:
            run.start()
            run.until_running()
            fill(run, broker.bootstrap, prefix, ROWS)
            print(page_beside_a_load(run, broker.bootstrap, prefix, ROWS, RATE))
        finally:
            run.close()


if __name__ == "__main__":
    main()
