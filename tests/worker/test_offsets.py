"""Where logs begin and end while their leaders die and move: a right answer or none, on a cluster of three brokers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from streamcluster.errors import BrokerUnreachable
from streamcluster.ids import TP
from streamcluster.kafka import offsets as offsets_module
from streamcluster.kafka.offsets import Offsets
from streamcluster.kafka.opening import Connection
from streamcluster.kafka.verdicts import ResetNeeded, classify
from streamcluster.settings import Settings
from streamcluster_coordinator.broker import Broker
from tests.process import topics
from tests.process.waiting import eventually

# Three brokers take their time to start on a busy machine.
pytestmark = pytest.mark.timeout(300)
START_SECONDS = 150
NODES = {1, 2, 3}
SECONDS = 30.0
PARTITIONS = 6
RECORDS = 10


@pytest.fixture(scope="module")
def cluster() -> Iterator[Broker]:
    """Three brokers, who lead the partitions of topic `log`."""
    with Broker(brokers=len(NODES), start_timeout=START_SECONDS) as broker:
        topics.create(broker.bootstrap, ["log"], PARTITIONS, copies=3)
        producer = Producer({"bootstrap.servers": broker.bootstrap, "acks": "all"})
        for number in range(PARTITIONS):
            for _ in range(RECORDS):
                producer.produce("log", b"record", partition=number)
        assert producer.flush(SECONDS) == 0
        yield broker


def leaders(cluster: Broker, topic: str) -> list[int]:
    """Who leads each partition of the topic; -1 for one without a leader."""
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    partitions = admin.list_topics(topic, timeout=SECONDS).topics[topic].partitions
    return [partitions[number].leader for number in sorted(partitions)]


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

    real, told = offsets_module._round, list[KafkaError]()

    def tell_once(*asked: Any) -> offsets_module._Round:
        """Afterwards the time ends before there is an answer."""
        got = real(*asked) if not told else offsets_module._Round()
        told.extend(error for error in got.errors.values() if classify(error) == "missing")
        return got

    monkeypatch.setattr(offsets_module, "_round", tell_once)
    with pytest.raises(BrokerUnreachable, match=r"alone\[\d\] has no leader"):
        offsets.end_offsets(tps, timeout=5.0)
    monkeypatch.undo()
    cluster.start(node)

    assert offsets.end_offsets(tps, timeout=SECONDS) == dict.fromkeys(tps, 0)
