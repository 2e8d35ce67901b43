"""What only a cluster shows, on one of three brokers, of which one or two are away.

It serves without one of them. Where logs end is answered rightly or not at all while their leaders die and move. A
commit waits for brokers that are away as long as the others need, and not longer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer, ElectionType, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stub
    AdminClient,
    PartitionMetadata,
    TopicMetadata,
)
from confluent_kafka.cimpl import NewPartitions

from streamcluster.errors import BrokerUnreachable
from streamcluster.ids import TP
from streamcluster.kafka import offsets as offsets_module
from streamcluster.kafka.offsets import Offsets, read_committed_positions
from streamcluster.kafka.opening import Connection, open_group_consumer
from streamcluster.kafka.opening import Producer as Transactional
from streamcluster.kafka.verdicts import ResetNeeded, classify
from streamcluster.output import output_of
from streamcluster.settings import Settings, make_settings
from streamcluster.topology import BrokerTopic
from streamcluster_coordinator.admin.brokers import Brokers
from streamcluster_coordinator.broker import Broker
from streamcluster_coordinator.control.topics import control_topics
from streamcluster_worker.data.committer import Committer
from streamcluster_worker.kafka.producers import open_transactional_producer
from tests.columns import columns_of
from tests.process import topics
from tests.process.waiting import eventually

# Three brokers take their time to start on a busy machine.
pytestmark = pytest.mark.timeout(300)
NODES = {1, 2, 3}
SECONDS = 30.0
IN_SYNC_SECONDS = 90.0
PARTITIONS = 6
RECORDS = 10
INPUT = TP("in", 0)
TRANSACTION_SECONDS = 60.0


@pytest.fixture(scope="module")
def brokers(three_brokers: Broker) -> Broker:
    """Three brokers, who lead the partitions of topic `log`, which has records."""
    topics.create(three_brokers.bootstrap, ["log", "in", "changelog"], PARTITIONS, copies=3)
    producer = Producer({"bootstrap.servers": three_brokers.bootstrap, "acks": "all"})
    for number in range(PARTITIONS):
        for _ in range(RECORDS):
            producer.produce("log", b"record", partition=number)
    assert producer.flush(SECONDS) == 0
    return three_brokers


@pytest.fixture
def cluster(brokers: Broker) -> Broker:
    """The same when all three have and lead their part, whatever the test before did: the next may lose any of them."""
    admin = AdminClient({"bootstrap.servers": brokers.bootstrap})

    def those(is_wrong: Callable[[PartitionMetadata], bool]) -> list[str]:
        return [
            f"{topic.topic}[{one.id}]"
            for topic in admin.list_topics(timeout=SECONDS).topics.values()
            for one in topic.partitions.values()
            if is_wrong(one)
        ]

    def behind() -> list[str]:
        return those(lambda one: one.leader < 0 or len(one.isrs) < len(one.replicas))

    def away() -> list[str]:
        return those(lambda one: one.leader != one.replicas[0])

    eventually(lambda: not behind(), IN_SYNC_SECONDS, "all copies are in sync", lambda: str(behind()[:5]))
    # Who was away leads nothing until it is elected, and then one broker may lead everything.
    admin.elect_leaders(ElectionType.PREFERRED).result(SECONDS)
    eventually(lambda: not away(), SECONDS, "each broker leads what it is the first for", lambda: str(away()[:5]))
    return brokers


def leaders(cluster: Broker, topic: str) -> list[int]:
    """Who leads each partition of the topic; -1 for one without a leader."""
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    partitions = admin.list_topics(topic, timeout=SECONDS).topics[topic].partitions
    return [partitions[number].leader for number in sorted(partitions)]


def test_three_nodes_serve_on_without_one_of_them(cluster: Broker, topic_prefix: str) -> None:
    """With three copies a committed record survives the loss of a node, and the next can be written."""
    topic = f"{topic_prefix}replicated"
    topics.create(cluster.bootstrap, [topic], 1, copies=3)
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "transactional.id": topic})
    producer.init_transactions(SECONDS)

    def produce(value: str) -> None:
        producer.begin_transaction()
        producer.produce(topic, value)
        producer.commit_transaction(SECONDS)

    produce("a")
    (leader,) = leaders(cluster, topic)
    cluster.kill(leader)
    produce("b")

    settings = {"bootstrap.servers": cluster.bootstrap, "group.id": topic, "isolation.level": "read_committed"}
    consumer = Consumer({**settings, "auto.offset.reset": "error"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[bytes | None] = []

    def read_on() -> bool:
        found.extend(one.value() for one in consumer.consume(1, 0.1) if one.error() is None)
        return len(found) == 2

    eventually(read_on, SECONDS, "both are read")
    consumer.close()
    assert found == [b"a", b"b"]
    assert len(cluster.pids) == 2
    cluster.start(leader)
    assert len(cluster.pids) == 3


def test_an_apps_topics_have_three_copies(cluster: Broker, topic_prefix: str) -> None:
    """Two of which must have each record."""
    settings = make_settings({"id": f"{topic_prefix}app", "broker": cluster.url, "connect_timeout": SECONDS})
    brokers = Brokers(settings)
    brokers.create(control_topics(settings), brokers.connect())

    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    made: dict[str, TopicMetadata] = {}

    def are_there() -> bool:
        # A broker that has just come back may answer before it knows of them.
        topics = admin.list_topics(timeout=SECONDS).topics
        made.update({name: topic for name, topic in topics.items() if settings.app_id in name})
        return len(made) == len(control_topics(settings))

    eventually(are_there, SECONDS, "the topics are there")
    looked: dict[str, BrokerTopic] = {}

    def are_described() -> bool:
        # Each of the brokers may be asked, and may be the one that does not know of them yet.
        looked.update(brokers.topics(control_topics(settings)))
        return made.keys() <= looked.keys()

    eventually(are_described, SECONDS, "the topics are described")
    for name, topic in made.items():
        assert {len(partition.replicas) for partition in topic.partitions.values()} == {3}
        assert looked[name].config["min.insync.replicas"] == "2"


def test_offsets_are_right_while_one_broker_after_the_other_dies(cluster: Broker) -> None:
    """A leader that does not answer is no log that ends at -1001, and its successor is asked when there is one."""
    tps = [TP("log", number) for number in range(PARTITIONS)]
    offsets = Offsets(Settings(id="offsets", broker=cluster.url), Connection())
    begins, ends = dict.fromkeys(tps, 0), dict.fromkeys(tps, RECORDS)
    assert offsets.end_offsets(tps, timeout=SECONDS) == ends

    for _ in range(2):
        node = leaders(cluster, "log")[0]
        other = min(NODES - {node})
        # One broker alone cannot have another one lead.
        cluster.pause(other)
        cluster.kill(node)
        with pytest.raises(BrokerUnreachable, match="no broker answers"):
            offsets.end_offsets(tps, timeout=0.2)
        cluster.resume(other)
        assert offsets.end_offsets(tps, timeout=SECONDS) == ends
        assert offsets.begin_offsets(tps, timeout=SECONDS) == begins
        cluster.start(node)
        assert offsets.end_offsets(tps, timeout=SECONDS) == ends


def test_partitions_of_which_a_broker_has_not_heard_yet_are_waited_for(
    cluster: Broker, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right after a topic was made, or got partitions, some broker may say that they are not there."""
    offsets = Offsets(Settings(id="offsets", broker=cluster.url), Connection())
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    topic, real, missed = f"{topic_prefix}late", offsets_module._look_for, list[TP]()

    def look(*asked: Any) -> dict[TP, bool]:
        """The partition is made after somebody was told that it is not there."""
        looks = real(*asked)
        gone = [tp for tp, is_gone in looks.items() if is_gone and tp not in missed]
        if gone == [TP(topic, 0)]:
            topics.create(cluster.bootstrap, [topic], 1)
        elif gone:
            admin.create_partitions([NewPartitions(topic, 2)])[topic].result(SECONDS)
        missed.extend(gone)
        return looks

    monkeypatch.setattr(offsets_module, "_look_for", look)
    for number in range(2):
        assert offsets.end_offsets([TP(topic, number)], timeout=SECONDS) == {TP(topic, number): 0}
    assert missed == [TP(topic, 0), TP(topic, 1)]


@pytest.mark.parametrize(("gone_seconds", "timeout"), [(1.0, 10 * SECONDS), (10 * SECONDS, 10.0)])
def test_partitions_that_are_not_there_are_called_missing(
    cluster: Broker, topic_prefix: str, monkeypatch: pytest.MonkeyPatch, gone_seconds: float, timeout: float
) -> None:
    """After a while, or when the caller's time is over if that is sooner; it is not said that brokers are away."""
    topic = f"{topic_prefix}short"
    topics.create(cluster.bootstrap, [topic], 1)
    offsets = Offsets(Settings(id="offsets", broker=cluster.url), Connection())
    monkeypatch.setattr(offsets_module, "_GONE_SECONDS", gone_seconds)
    began = time.monotonic()

    with pytest.raises(ResetNeeded, match="Was the topic deleted"):
        offsets.end_offsets([TP(topic, 0), TP(topic, 1), TP(f"{topic}-never", 0)], timeout=timeout)

    assert min(gone_seconds, timeout) <= time.monotonic() - began < 10 * SECONDS


def test_partitions_without_a_leader_are_not_called_missing(
    cluster: Broker, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the only replica is away they are there, and have no leader: the topic was not deleted."""
    topic = f"{topic_prefix}alone"
    topics.create(cluster.bootstrap, [topic], 3)
    tps = [TP(topic, number) for number in range(3)]
    offsets = Offsets(Settings(id="offsets", broker=cluster.url), Connection())
    assert offsets.end_offsets(tps, timeout=SECONDS) == dict.fromkeys(tps, 0)

    node = leaders(cluster, topic)[0]
    cluster.kill(node)
    eventually(lambda: -1 in leaders(cluster, topic), SECONDS, "one has no leader")

    real, told = offsets_module.ask_offsets, list[KafkaError]()

    def tell_once(*asked: Any) -> offsets_module.OffsetsAnswer:
        """Afterwards the time ends before there is an answer."""
        got = real(*asked) if not told else offsets_module.OffsetsAnswer()
        told.extend(error for error in got.errors.values() if classify(error) == "missing")
        return got

    monkeypatch.setattr(offsets_module, "ask_offsets", tell_once)
    with pytest.raises(BrokerUnreachable, match=r"alone\[\d\] has no leader"):
        offsets.end_offsets(tps, timeout=5.0)
    monkeypatch.undo()
    cluster.start(node)

    assert offsets.end_offsets(tps, timeout=SECONDS) == dict.fromkeys(tps, 0)


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

    def open(self, transactional_id: str) -> Transactional:
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


def test_a_client_that_waits_for_a_dead_group_coordinator_is_given_up(cluster: Broker) -> None:
    """It forgot that broker and waits for it (librdkafka issue 5511); a new one finds its successor."""
    slot = Slot(cluster, "forgotten")
    committer, changelog = slot.committer(), slot.not_led_by("changelog", slot.group_leader)
    committer.commit({}, {changelog: columns_of([output_of(b"k", b"1")])}, {INPUT: (1, "")})
    dead = slot.group_leader

    cluster.kill(dead)
    eventually(lambda: dead not in slot.leaders("__consumer_offsets"), SECONDS, "another broker coordinates")
    eventually(lambda: dead not in slot.producer.list_topics(timeout=SECONDS).brokers, SECONDS, "it is forgotten")
    assert slot.committed() == 1
    begin = time.monotonic()
    try:
        committer.commit({}, {changelog: columns_of([output_of(b"k", b"2")])}, {INPUT: (2, "")})
    except ResetNeeded:
        slot.producer = slot.open(slot.transactional_id)
        slot.committer().commit({}, {changelog: columns_of([output_of(b"k", b"2")])}, {INPUT: (2, "")})
    took = time.monotonic() - begin
    assert slot.committed() == 2
    cluster.start(dead)

    # 5 s, and whatever the machine takes.
    assert took < TRANSACTION_SECONDS / 2, f"{took:.1f} s"
