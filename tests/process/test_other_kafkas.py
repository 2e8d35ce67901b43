"""The core on other releases of Kafka, the oldest and the newest that are pinned: `streamcluster broker --kafka`.

Long: it downloads Kafka, and lets Java learn it. `scripts/test` runs everything on the release that runs by default.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from streamcluster_coordinator.broker import Broker, pinned_versions
from streamcluster_coordinator.records.status import Status
from tests.process import topics
from tests.process.checker import verdict
from tests.process.conftest import StartApp
from tests.process.records import Feed, Reader
from tests.process.running import is_running
from tests.process.seed_program import OUTPUTS, PARTITIONS, movements, observe

VERSIONS = (pinned_versions()[0], pinned_versions()[-1])
SEED = int(os.environ.get("STREAMCLUSTER_CHAOS_SEED", time.time_ns() % 1_000_000))
RATE = 500
# Of each phase, on a busy machine.
SECONDS = 90.0
START_SECONDS = 240.0

pytestmark = [
    pytest.mark.skipif(not os.environ.get("STREAMCLUSTER_LONG"), reason="long: STREAMCLUSTER_LONG=1 runs it"),
    pytest.mark.timeout(START_SECONDS + 6 * SECONDS),
]


@pytest.fixture(params=VERSIONS)
def kafka(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """A broker of this release."""
    with Broker(kafka=request.param, start_timeout=START_SECONDS) as broker:
        yield broker


def owners(status: Status) -> dict[str, str]:
    """Task -> host/slot."""
    return {task.task: task.owner for task in status.tasks if task.owner}


def test_everything_counts_once_on_it(running: StartApp, topic_prefix: str, kafka: Broker) -> None:
    """Two hosts count and group under load while a worker is killed with -9, a task moves, and a host leaves."""
    topics.create(kafka.bootstrap, [f"{topic_prefix}{name}" for name in ("in", *OUTPUTS)], PARTITIONS)
    a, b = (running("ledger", name=name, broker_url=kafka.url, host=name) for name in ("a", "b"))
    for host in (a, b):
        host.start(1)
    hosts = {"a/0", "b/0"}
    a.until(lambda status: is_running(status) and {*owners(status).values()} == hosts, "both have tasks", SECONDS)
    feed = Feed(kafka.bootstrap, f"{topic_prefix}in", movements(SEED), rate=RATE)
    feed.start()

    commits = a.worker().figures.commits_total
    a.until(lambda status: status.workers[0].figures.commits_total > commits + 3, "commits are made", SECONDS)
    killed = a.pid_of()
    os.kill(killed, signal.SIGKILL)
    status = a.until(
        lambda status: is_running(status) and status.workers[0].pid not in (None, killed), "it runs again", SECONDS
    )
    task = next(task for task, owner in owners(status).items() if owner == "a/0")
    moved = a.cli("move", task, "b/0")
    assert moved.returncode == 0, moved.stderr
    a.until(lambda status: is_running(status) and owners(status).get(task) == "b/0", "it has moved", SECONDS)
    assert a.drain() == 0, a.log_end()
    b.until(lambda status: is_running(status) and {*owners(status).values()} == {"b/0"}, "the other has all", SECONDS)
    feed.stop()

    b.until_caught_up(SECONDS)
    reader = Reader(kafka.bootstrap)
    try:
        found = verdict(observe(b, reader, topic_prefix, feed))
    finally:
        reader.close()
    assert found == [], f"STREAMCLUSTER_CHAOS_SEED={SEED}, {len(feed.acked)} records\n" + "\n".join(found)
    assert len(feed.acked) > 1_000
