"""Two hosts, and somebody who may write to the app's own topics: records that no coordinator writes, or that lie.

Records flow on all partitions all the time. Whatever is written there, all of them are committed soon after, nobody
ends, the record is named, a killed host's tasks move, and a start after that is as any other.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer

from streamcluster_coordinator.broker.ports import free_ports
from streamcluster_coordinator.records.snapshot import control_topic, status_topic
from streamcluster_coordinator.records.status import Status
from tests.conftest import MakeTopic
from tests.hosts.cluster import is_spread
from tests.process.checker import Row
from tests.process.conftest import StartApp
from tests.process.records import Reader, send
from tests.process.running import Running, positions_of

PARTITIONS = 4
KEYS = 40
HOSTS = {"a", "b"}
# The bound of the issue: so soon all else is committed.
COMMITTED_SECONDS = 10.0
SECONDS = 90.0
# More than librdkafka unpacks.
HUGE = b"0" * (150 << 20)


class Pair:
    """Two hosts with one worker each; `secret` is theirs, when they have one."""

    def __init__(
        self, running: StartApp, bootstrap: str, reader: Reader, prefix: str, secret: Path | None = None
    ) -> None:
        self._bootstrap = bootstrap
        self._reader = reader
        self._prefix = prefix
        self._rounds = 0
        self.hosts: dict[str, Running] = {}
        for name in sorted(HOSTS):
            settings: dict[str, Any] = {}
            if secret is not None:
                settings = {"cluster_secret_file": secret, "advertise": f"127.0.0.1:{free_ports(1)[0]}"}
            self.hosts[name] = running("obedient", name=name, **settings)

    @property
    def app_id(self) -> str:
        """Of both."""
        return self.hosts["a"].app_id

    def start(self, *names: str) -> None:
        """These, and wait until both have tasks."""
        for name in names:
            self.hosts[name].start(1, "--host", name)
        self.until_spread(HOSTS)

    def drain(self) -> None:
        """End both, as an operator does."""
        for run in self.hosts.values():
            run.signal(signal.SIGTERM)
        for run in self.hosts.values():
            assert run.wait() == 0, run.log_end()

    def until_spread(self, hosts: set[str]) -> None:
        """Wait until these hosts, and no other, have tasks, and know it."""
        for name in sorted(hosts):
            self.hosts[name].until(lambda status: is_spread(status, hosts), f"{hosts} have the tasks", SECONDS)

    def commit_a_round(self, *names: str, seconds: float = COMMITTED_SECONDS) -> None:
        """Send records to all partitions, and see that all are committed in time."""
        self._rounds += 1
        rows = [Row(f"k{number}", b"%d" % self._rounds) for number in range(KEYS)]
        send(self._bootstrap, f"{self._prefix}in", rows)
        for name in names or sorted(HOSTS):
            self.hosts[name].until(
                lambda status: self._reader.is_reached(positions_of(status)), "the round is committed", seconds
            )

    def write(self, topic: str, value: bytes, **config: object) -> None:
        """As anybody may who has the right to."""
        producer = Producer({"bootstrap.servers": self._bootstrap, **config})
        producer.produce(topic, key=b"snapshot", value=value, partition=0)
        assert producer.flush(SECONDS) == 0

    def newest(self, topic: str, key: bytes) -> dict[str, Any]:
        """The newest record with this key, as a tree."""
        records = [one.value() for one in self._reader.messages(topic)[0] if one.key() == key and one.value()]
        tree: dict[str, Any] = msgspec.json.decode(records[-1] or b"")
        return tree

    def restarts(self) -> list[tuple[str, int]]:
        """How often each worker was replaced."""
        status = self.hosts["a"].until(lambda status: is_spread(status, HOSTS), "both have tasks", SECONDS)
        return [(worker.host, worker.restarts) for worker in status.workers]

    def until_named(self, topic: str, count: int) -> None:
        """Wait until the status of both says that so many records of the topic were not used, and why."""

        def names(status: Status) -> bool:
            return any(one.place == f"topic {topic}" and one.count >= count and one.last for one in status.dropped)

        for run in self.hosts.values():
            run.until(names, f"{count} records of {topic} are named", SECONDS)
            assert f"topic {topic}: not used" in run.log()


@pytest.fixture
def topics(make_topic: MakeTopic, topic_prefix: str) -> None:
    """What the app reads and writes."""
    for name in ("in", "out"):
        make_topic(f"{topic_prefix}{name}", PARTITIONS)


def lies(report: dict[str, Any]) -> list[bytes]:
    """A host's own report, far newer, with what no coordinator says in it."""
    report["sequence"] += 1_000_000
    rows: dict[str, Any] = report["rows"] or {}
    changes: list[dict[str, Any]] = [
        {"rows": {**rows, "stored": {"nonsense": 5}}},
        {"rows": {**rows, "tasks": [{"task": "x", "slot": 0, "state": "running"}]}},
        {"rows": {**rows, "workers": [{"slot": 0, "pid": 1 << 60, "state": "running"}]}},
        {"slots": [{"number": "x"}]},
        {"host": "b/../a"},
    ]
    told = [msgspec.json.encode({**report, **change}) for change in changes]
    return [*told, told[0].replace(b'"pid":', b'"pid":1' + b"0" * 30, 1)]


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("topics")
def test_records_that_no_coordinator_writes_stop_nobody(
    running: StartApp, bootstrap: str, reader: Reader, topic_prefix: str
) -> None:
    """On both topics: what does not decode, what decodes and is no report or snapshot, what cannot be unpacked."""
    pair = Pair(running, bootstrap, reader, topic_prefix)
    pair.start("a", "b")
    pair.commit_a_round(seconds=SECONDS)
    before, pids = pair.restarts(), [run.process.pid for run in pair.hosts.values()]
    status, control = status_topic(pair.app_id), control_topic(pair.app_id)

    for value in (b'{"host":"\xff\xfe"}', b'{"x":' + b"[" * 3_000, *lies(pair.newest(status, b"b"))):
        pair.write(status, value)
    pair.commit_a_round()
    pair.write(status, HUGE, **{"compression.type": "zstd", "message.max.bytes": 10**9, "batch.size": 10**9})
    pair.commit_a_round()
    pair.until_named(status, 5)

    snapshot = pair.newest(control, b"snapshot")
    slots = {**snapshot, "slots": ["nonsense"]}
    for value in (b'{"format_version":2,"cluster_id":"\xff"}', b"hello", msgspec.json.encode(slots)):
        pair.write(control, value)
    pair.write(control, msgspec.json.encode({**snapshot, "epoch": 1}))
    pair.commit_a_round()
    pair.write(control, HUGE, **{"compression.type": "zstd", "message.max.bytes": 10**9, "batch.size": 10**9})
    pair.commit_a_round()
    pair.until_named(control, 5)
    # The leader has written its own anew, so that compaction keeps that; no epoch was lost.
    pair.hosts["a"].until(lambda status: status.epoch > snapshot["epoch"], "it was written anew")
    assert pair.restarts() == before
    assert [run.process.pid for run in pair.hosts.values()] == pids

    os.killpg(pair.hosts["b"].process.pid, signal.SIGKILL)
    pair.hosts["b"].wait()
    pair.until_spread({"a"})
    pair.commit_a_round("a", seconds=SECONDS)

    pair.start("b")
    pair.commit_a_round(seconds=SECONDS)
    pair.drain()
    pair.start("a", "b")
    pair.commit_a_round(seconds=SECONDS)
    pair.drain()


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("topics")
def test_with_a_secret_nobody_without_it_speaks_for_a_host(
    running: StartApp, bootstrap: str, reader: Reader, topic_prefix: str, tmp_path: Path
) -> None:
    """Reports that silence a host, end it, or lead its tables elsewhere, and a snapshot that takes its tasks away."""
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef0123456789abcdef\n")
    pair = Pair(running, bootstrap, reader, topic_prefix, secret)
    pair.start("a", "b")
    pair.commit_a_round(seconds=SECONDS)
    before = pair.restarts()
    status, control = status_topic(pair.app_id), control_topic(pair.app_id)
    report, snapshot = pair.newest(status, b"b"), pair.newest(control, b"snapshot")
    taken = {**snapshot, "epoch": snapshot["epoch"] + 50, "owned": {}, "hosts": {}}

    silencing = {**report, "sequence": 1 << 50}
    ending = {**report, "instance": "another", "sequence": 1, "shape": snapshot["shape"]}
    leading = {**report, "sequence": report["sequence"] + 100, "peer": "127.0.0.1:1"}
    phantom = {**ending, "host": "c"}
    for lie in (silencing, ending, leading, phantom):
        pair.write(status, msgspec.json.encode(lie))
    for lie in ({key: value for key, value in taken.items() if key != "signature"}, taken):
        pair.write(control, msgspec.json.encode(lie))
    pair.until_named(status, 4)
    pair.until_named(control, 2)
    pair.commit_a_round()

    assert pair.restarts() == before
    told = pair.hosts["a"].until(lambda one: len(one.hosts) == 2, "there are two hosts")
    assert {one.host: one.peer != "127.0.0.1:1" for one in told.hosts} == {"a": True, "b": True}
    assert pair.hosts["a"].table("seen") == {f"k{number}": 2 for number in range(KEYS)}
    pair.drain()
