"""Where logs begin and end while their leaders die and move: a right answer or none, on a cluster of three brokers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AdminClient

from streamcluster.errors import BrokerUnreachable
from streamcluster.ids import TP
from streamcluster.settings import Settings
from streamcluster_coordinator.broker import Broker
from streamcluster_worker import offsets as offsets_module
from streamcluster_worker.kafka import Connection
from streamcluster_worker.kafka_errors import classify
from streamcluster_worker.offsets import Offsets
from tests.process import topics
from tests.process.waiting import eventually

# Three brokers take their time to start on a busy machine.
pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("offsets")]
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


def test_partitions_without_a_leader_are_not_called_missing(cluster: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the only replica is away they are there, and have no leader: the topic was not deleted."""
    topics.create(cluster.bootstrap, ["alone"], 3)
    tps = [TP("alone", number) for number in range(3)]
    offsets = Offsets(Settings(id="offsets", broker=cluster.url), Connection())
    assert offsets.end_offsets(tps, timeout=SECONDS) == dict.fromkeys(tps, 0)

    node = leaders(cluster, "alone")[0]
    cluster.kill(node)
    eventually(lambda: -1 in leaders(cluster, "alone"), SECONDS, "one has no leader")

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
