"""Commits while a broker that they need is away for good: they wait as long as the others need, and not longer."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from confluent_kafka.admin import AdminClient

from streamcluster.ids import TP
from streamcluster.kafka.opening import Connection, Producer, open_group_consumer, read_committed_positions
from streamcluster.kafka.verdicts import ResetNeeded
from streamcluster.output import output_of
from streamcluster.settings import Settings
from streamcluster_coordinator.broker import Broker
from streamcluster_worker.data.committer import Committer
from streamcluster_worker.kafka.producers import open_transactional_producer
from tests.process import topics
from tests.process.waiting import eventually

# Three brokers take their time to start on a busy machine.
pytestmark = pytest.mark.timeout(300)
START_SECONDS = 150
SECONDS = 30.0
PARTITIONS = 6
INPUT = TP("in", 0)
TRANSACTION_SECONDS = 60.0


class Slot:
    """What a worker commits with, and on whom that depends: two brokers, one for the group and one for the slot."""

    def __init__(self, cluster: Broker, app_id: str) -> None:
        self.settings = Settings(id=app_id, broker=cluster.url, transaction_timeout=TRANSACTION_SECONDS)
        self._admin = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
        self.group = open_group_consumer(self.settings, Connection())
        read_committed_positions(self.group, [INPUT], SECONDS)
        self.group_leader = self.leaders("__consumer_offsets")[java_hash(app_id)]
        slots = [f"{app_id}-{number}" for number in range(100)]
        # With the first of them the brokers make the topic.
        self.open(slots[0])
        coordinators = self.leaders("__transaction_state")
        self.transactional_id = next(slot for slot in slots if coordinators[java_hash(slot)] != self.group_leader)
        self.producer = self.open(self.transactional_id)

    def open(self, transactional_id: str) -> Producer:
        """A new handle, which fences the one before."""
        return open_transactional_producer(self.settings, transactional_id, Connection(), SECONDS)

    def committer(self) -> Committer:
        """A committer over the handle of now."""
        return Committer(self.settings, self.producer, self.group)

    def leaders(self, topic: str) -> list[int]:
        """The leader of each partition, as soon as each has one; not every broker has heard of a new topic."""

        def found() -> list[int]:
            partitions = self._admin.list_topics(topic, timeout=SECONDS).topics[topic].partitions
            leaders = [partitions[number].leader for number in sorted(partitions)]
            return leaders if -1 not in leaders else []

        return eventually(found, SECONDS, f"each partition of {topic} has a leader")

    def not_led_by(self, topic: str, node: int) -> TP:
        """A partition that another node leads."""
        return TP(topic, next(number for number, leader in enumerate(self.leaders(topic)) if leader != node))

    def committed(self) -> int | None:
        """The group's position of INPUT."""
        return read_committed_positions(self.group, [INPUT], SECONDS)[INPUT].offset


def java_hash(name: str) -> int:
    """Which of the development broker's four internal partitions a group or a transactional id belongs to."""
    value = 0
    for letter in name:
        value = (31 * value + ord(letter)) & 0xFFFFFFFF
    return (value & 0x7FFFFFFF) % 4


@pytest.fixture
def cluster() -> Iterator[Broker]:
    """Three brokers with two topics."""
    with Broker(brokers=3, start_timeout=START_SECONDS) as broker:
        topics.create(broker.bootstrap, ["in", "log"], PARTITIONS, copies=3)
        yield broker


def test_a_client_that_waits_for_a_dead_group_coordinator_is_given_up(cluster: Broker) -> None:
    """It forgot that broker and waits for it (librdkafka issue 5511); a new one finds its successor."""
    slot = Slot(cluster, "forgotten")
    committer, changelog = slot.committer(), slot.not_led_by("log", slot.group_leader)
    committer.commit({}, {changelog: [output_of(b"k", b"1")]}, {INPUT: (1, "")})
    dead = slot.group_leader

    cluster.kill(dead)
    eventually(lambda: dead not in slot.leaders("__consumer_offsets"), SECONDS, "another broker coordinates")
    eventually(lambda: dead not in slot.producer.list_topics(timeout=SECONDS).brokers, SECONDS, "it is forgotten")
    assert slot.committed() == 1
    begin = time.monotonic()
    try:
        committer.commit({}, {changelog: [output_of(b"k", b"2")]}, {INPUT: (2, "")})
    except ResetNeeded:
        slot.producer = slot.open(slot.transactional_id)
        slot.committer().commit({}, {changelog: [output_of(b"k", b"2")]}, {INPUT: (2, "")})
    took = time.monotonic() - begin
    assert slot.committed() == 2
    cluster.start(dead)

    # 5 s, and whatever the machine takes.
    assert took < TRANSACTION_SECONDS / 2, f"{took:.1f} s"
