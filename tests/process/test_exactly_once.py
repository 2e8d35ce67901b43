"""The seed program: exactly once while workers and the coordinator are killed with kill -9 at random moments.

The seed and the length come from the environment, so that a failure can be played again and a night can be spent:
STREAMCLUSTER_CHAOS_SEED=7 STREAMCLUSTER_CHAOS_SECONDS=1000 pytest tests/process/test_exactly_once.py
"""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pytest

from tests.conftest import MakeTopic
from tests.process.checker import verdict, verdict_at_least_once
from tests.process.conftest import StartApp
from tests.process.records import Feed, Reader
from tests.process.running import Running
from tests.process.seed_program import OUTPUTS, PARTITIONS, movements, observe
from tests.process.waiting import eventually, pause

CHAOS_SECONDS = float(os.environ.get("STREAMCLUSTER_CHAOS_SECONDS", "14"))
# A fixed seed would find one thing once; the message of a failure names the seed.
SEED = int(os.environ.get("STREAMCLUSTER_CHAOS_SEED", time.time_ns() % 1_000_000))
RATE = 1_500
KILLS_MIN = 5
# Killing is what this does, so it is not taken for a crash loop.
SETTINGS: dict[str, Any] = {"crash_loop_deaths": 1_000_000}


@dataclass(slots=True)
class Chaos:
    """Kills workers and the coordinator at moments that the seed decides."""

    run: Running
    source: random.Random
    # What was done, for the message of a failure.
    done: list[str] = field(default_factory=list)

    def go_on_for(self, seconds: float) -> None:
        """Kill until the time is over, and it was done often enough; the coordinator at least once."""
        begin = time.monotonic()
        deadline = begin + seconds
        coordinator_due = begin + seconds * self.source.uniform(0.3, 0.6)
        while (now := time.monotonic()) < deadline or len(self.done) < KILLS_MIN:
            assert now < deadline + 60, f"there is nothing to kill. {self.run.log_end()}"
            if now >= coordinator_due:
                coordinator_due = now + self.source.uniform(8, 20)
                self.kill_coordinator()
            else:
                self.kill_worker()
            pause(self.source.choice((0.05, 0.4, 1.0, 2.5)))

    def kill_worker(self) -> bool:
        """kill -9 of one of the workers, whatever it is doing, also just after its start; whether there was one."""
        status = self.run.status()
        pids = [worker.pid for worker in status.workers if worker.pid is not None] if status is not None else []
        if not pids:
            return False
        pid = self.source.choice(pids)
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        self.done.append(f"worker {pid}")
        return True

    def kill_coordinator(self) -> None:
        """kill -9 of the coordinator, and its successor on the same state directory at once."""
        self.run.kill()
        self.run.start()
        self.done.append("coordinator")


def topics_of(prefix: str, make_topic: MakeTopic) -> None:
    """The topics of the seed program that its user makes."""
    for name in ("in", *OUTPUTS):
        make_topic(f"{prefix}{name}", PARTITIONS)


@pytest.mark.timeout(CHAOS_SECONDS + 170)
def test_everything_counts_once_under_kill_9(
    running: StartApp, make_topic: MakeTopic, reader: Reader, topic_prefix: str, bootstrap: str
) -> None:
    """Output equals input, sums and counts fold, tables equal their changelogs, and no transaction stays open."""
    topics_of(topic_prefix, make_topic)
    run = running("ledger", **SETTINGS)
    run.start()
    run.until_running()
    feed = Feed(bootstrap, f"{topic_prefix}in", movements(SEED), rate=RATE)
    chaos = Chaos(run, random.Random(SEED))

    feed.start()
    chaos.go_on_for(CHAOS_SECONDS)
    feed.stop()
    run.until_caught_up(90)
    found = verdict(observe(run, reader, topic_prefix, feed))

    told = f"STREAMCLUSTER_CHAOS_SEED={SEED}, {len(feed.acked)} records, killed: {', '.join(chaos.done)}"
    assert found == [], f"{told}\n" + "\n".join(found)
    assert "coordinator" in chaos.done, told


@pytest.mark.timeout(150)
def test_at_least_once_loses_nothing_under_kill_9(
    running: StartApp, make_topic: MakeTopic, reader: Reader, topic_prefix: str, bootstrap: str
) -> None:
    """With the other guarantee records may come again after a kill, but each comes, and first ones in order."""
    topics_of(topic_prefix, make_topic)
    run = running("ledger", processing_guarantee="at_least_once", **SETTINGS)
    run.start()
    run.until_running()
    feed = Feed(bootstrap, f"{topic_prefix}in", movements(SEED), rate=RATE)
    source = random.Random(SEED)
    chaos = Chaos(run, source)

    feed.start()
    for _ in range(4):
        pause(source.uniform(0.3, 1.5))
        eventually(chaos.kill_worker, 30, "there is a worker to kill", run.log_end)
    feed.stop()
    run.until_caught_up(60)
    assert run.drain() == 0
    inputs, echoes = reader.rows(f"{topic_prefix}in"), reader.rows(f"{topic_prefix}echo")
    found = verdict_at_least_once(inputs, echoes)

    assert found == [], f"STREAMCLUSTER_CHAOS_SEED={SEED}, killed: {', '.join(chaos.done)}\n" + "\n".join(found)


def test_at_least_once_outputs_do_not_wait_for_the_commit(
    running: StartApp, make_topic: MakeTopic, reader: Reader, topic_prefix: str, bootstrap: str
) -> None:
    """Where a commit hides nothing, readers see what finished events sent long before it."""
    topics_of(topic_prefix, make_topic)
    run = running("ledger", processing_guarantee="at_least_once", commit_interval=600)
    run.start()
    run.until_running()
    Feed(bootstrap, f"{topic_prefix}in", islice(movements(SEED), 20), rate=None).run()

    eventually(lambda: reader.count(f"{topic_prefix}echo") == 20, 30, "all outputs are there")

    # Where its partitions begin, and nothing of an event.
    assert set(reader.committed(run.app_id, f"{topic_prefix}in").values()) == {0}
    assert run.drain() == 0
