"""At least once, a host that is stopped in the middle of a commit and goes on when another one has its tasks.

What it had in hand, in its memory or in its clients', must not be written over what its successor has written since.
The short form stops one host once; several stops, of both hosts in turn, and a million rows a round:
STREAMCLUSTER_STOPS=6 STREAMCLUSTER_STOP_KEYS=250000 pytest tests/process/test_stopped_host.py
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import psutil
import pytest

from tests.conftest import MakeTopic
from tests.hosts.cluster import is_spread, owners
from tests.process.checker import Row
from tests.process.conftest import StartApp
from tests.process.records import Reader, send
from tests.process.running import Running, positions_of
from tests.process.waiting import eventually

STOPS = int(os.environ.get("STREAMCLUSTER_STOPS", "1"))
KEYS = int(os.environ.get("STREAMCLUSTER_STOP_KEYS", "40000"))
PARTITIONS = 4
HOSTS = {"a", "b"}
# A host that was taken for dead before gets more time each time.
SECONDS = 90.0


class Pair:
    """Two hosts with one worker each, fed by rounds in which each key comes once."""

    def __init__(self, running: StartApp, bootstrap: str, reader: Reader, prefix: str) -> None:
        self.hosts = {
            name: running("obedient", name=name, processing_guarantee="at_least_once", commit_interval=1)
            for name in sorted(HOSTS)
        }
        self.rounds = 0
        self._bootstrap = bootstrap
        self._reader = reader
        self._prefix = prefix
        self._pool = ThreadPoolExecutor(1)
        self._sent: Future[object] | None = None

    def start(self) -> None:
        """Both, and each has tasks."""
        for name, run in self.hosts.items():
            run.start(1, "--host", name)
        self.until_spread(HOSTS)

    def begin_round(self) -> None:
        """Send each key once more, and do not wait."""
        self.rounds += 1
        rows = [Row(f"k{number}", b"%d" % self.rounds) for number in range(KEYS)]
        self._sent = self._pool.submit(send, self._bootstrap, f"{self._prefix}in", rows)

    def until_done(self, by: Running) -> None:
        """Wait until all that was sent is committed."""
        assert self._sent is not None
        self._sent.result(SECONDS)
        by.until(lambda status: self._reader.is_reached(positions_of(status)), "all rounds are committed", SECONDS)

    def until_spread(self, hosts: set[str]) -> None:
        """Wait until these hosts, and no other, have tasks, and know it."""
        for name in sorted(hosts):
            self.hosts[name].until(lambda status: is_spread(status, hosts), f"{hosts} have the tasks", SECONDS)

    def stop_in_a_commit(self, victim: str) -> list[psutil.Process]:
        """Stop every process of a host while it writes the changelog of one of its tasks."""
        run = self.hosts[victim]
        tasks = owners(run.until(lambda status: is_spread(status, HOSTS), "both have tasks"))
        partition = next(int(task.rpartition("_")[2]) for task, host in sorted(tasks.items()) if host == victim)
        coordinator = psutil.Process(run.process.pid)
        processes = [*coordinator.children(recursive=True), coordinator]
        log = f"{run.app_id}-seen-changelog"
        before = self._reader.high(log, partition)
        self.begin_round()
        eventually(lambda: self._reader.high(log, partition) > before, SECONDS, "a commit has begun", every=0.0005)
        for process in processes:
            process.suspend()
        return processes


@pytest.fixture
def pair(running: StartApp, bootstrap: str, reader: Reader, make_topic: MakeTopic, topic_prefix: str) -> Iterator[Pair]:
    """With the topics; nothing stays stopped."""
    for name in ("in", "out"):
        make_topic(f"{topic_prefix}{name}", PARTITIONS)
    one = Pair(running, bootstrap, reader, topic_prefix)
    yield one
    for run in one.hosts.values():
        if run.has_process:
            coordinator = psutil.Process(run.process.pid)
            for process in [*coordinator.children(recursive=True), coordinator]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGCONT)


@pytest.mark.timeout(120 + 150 * STOPS)
def test_a_host_that_was_stopped_in_a_commit_writes_nothing_over_its_successor(
    pair: Pair, reader: Reader, topic_prefix: str
) -> None:
    """No key is counted too low, nor a position put back, and no output is missing."""
    pair.start()
    pair.begin_round()
    pair.until_done(pair.hosts["a"])

    for number in range(STOPS):
        victim, other = ("a", "b") if number % 2 == 0 else ("b", "a")
        stopped = pair.stop_in_a_commit(victim)
        pair.until_spread({other})
        pair.until_done(pair.hosts[other])
        pair.begin_round()
        pair.until_done(pair.hosts[other])
        for process in stopped:
            process.resume()
        pair.until_spread(HOSTS)
    pair.begin_round()
    pair.until_done(pair.hosts["a"])
    for name, run in pair.hosts.items():
        assert run.drain() == 0, f"{name}: {run.log_end()}"

    app_id, source = pair.hosts["a"].app_id, f"{topic_prefix}in"
    counts = {
        row.key: int(row.value or b"") for rows in reader.rows(f"{app_id}-seen-changelog").values() for row in rows
    }
    assert len(counts) == KEYS
    assert Counter(counts.values()) == {pair.rounds: KEYS}
    came = {(row.key, row.value) for rows in reader.rows(f"{topic_prefix}out").values() for row in rows}
    assert len(came) == KEYS * pair.rounds
    assert reader.committed(app_id, source, ended=True) == {
        number: reader.high(source, number) for number in range(PARTITIONS)
    }
