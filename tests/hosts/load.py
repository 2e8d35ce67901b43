"""The seed program under load on a cluster: fed at a steady rate, watched from outside, and judged at the end."""

from __future__ import annotations

import random
import time

from tests.hosts.brokers import Brokers
from tests.hosts.cluster import Cluster
from tests.hosts.watch import Watch
from tests.process.checker import same_rows, verdict
from tests.process.records import Feed, Reader
from tests.process.seed_program import OUTPUTS, movements, observe
from tests.process.waiting import eventually

# A task for each of the slots that three hosts of two workers have.
PARTITIONS = 6
RATE = 200
# Outputs that are watched: what a task of the first kind sends, and one of the second.
WATCHED = ("echo", "counts")
FLOW_SECONDS = 90.0


class Load:
    """Records that flow through a cluster from `start` to `finish`."""

    def __init__(self, cluster: Cluster, brokers: Brokers, prefix: str) -> None:
        self.cluster = cluster
        self.brokers = brokers
        self.prefix = prefix
        self.seed = random.randrange(1_000_000)
        brokers.make_topics([f"{prefix}{name}" for name in ("in", *OUTPUTS)], PARTITIONS)
        self.feed = Feed(brokers.bootstrap, f"{prefix}in", movements(self.seed), rate=RATE)
        self.watch = Watch(brokers.bootstrap, [f"{prefix}{name}" for name in WATCHED], PARTITIONS)

    def start(self) -> None:
        """Feed, and wait until outputs of all partitions come."""
        begin = time.monotonic()
        self.feed.start()
        self.until_flowing(begin)

    def until_flowing(self, since: float, seconds: float = FLOW_SECONDS) -> None:
        """Wait until every partition has outputs that came after `since`."""

        def is_flowing() -> bool:
            self.cluster.check_alive()
            return not self.watch.silent(f"{self.prefix}echo", since)

        eventually(is_flowing, seconds, "all partitions get outputs", self.told)

    def told(self) -> str:
        """What can be said of a wait that failed."""
        return f"{self.behind()} records behind, seed {self.seed}.\n{self.cluster.told()}"

    def until_caught_up(self, since: float, seconds: float = FLOW_SECONDS) -> float:
        """Wait until outputs flow and what had piled up by then is processed; the seconds from `since` to that."""
        self.until_flowing(since, seconds)
        # Not until nothing is behind: on a busy machine a commit or two always are.
        piled_up = len(self.feed.acked)
        eventually(lambda: piled_up <= self.watch.count(f"{self.prefix}echo"), seconds, "outputs catch up", self.told)
        return time.monotonic() - since

    def behind(self) -> int:
        """How many records are acknowledged and not yet echoed."""
        return len(self.feed.acked) - self.watch.count(f"{self.prefix}echo")

    def finish(self) -> list[str]:
        """End the feed, let everything be processed, end the app, and return every violation of exactly once."""
        self.feed.stop()
        self.cluster.until_caught_up(FLOW_SECONDS)
        last = self.cluster.shrink_to_one()
        reader = Reader(self.brokers.bootstrap)
        try:
            observed = observe(last, reader, self.prefix, self.feed)
        finally:
            reader.close()
        # A reader that was there all the time must not have seen what was taken back later.
        kept = {"echo": observed.echoes, "counts": observed.counts}
        found = verdict(observed)
        for name, rows in kept.items():
            self._until_seen(name, sum(map(len, rows.values())))
            found += same_rows(f"{name} as seen meanwhile", rows, self.watch.rows(f"{self.prefix}{name}"))
        return found + self.watch.rewritten

    def _until_seen(self, name: str, count: int) -> None:
        topic = f"{self.prefix}{name}"
        eventually(
            lambda: self.watch.count(topic) >= count, FLOW_SECONDS, f"the watch has seen all of {name}", self.told
        )

    def close(self) -> None:
        """Leave nothing running."""
        self.watch.close()
        self.cluster.close()
