"""Where logs begin and end while their leaders die and move: a right answer or none, on a cluster of three brokers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streamcluster.errors import BrokerUnreachable
from streamcluster.ids import TP
from streamcluster.settings import Settings
from streamcluster_coordinator.broker import Broker
from streamcluster_worker.kafka import Connection
from streamcluster_worker.offsets import Offsets
from tests.process.waiting import eventually

SECONDS = 30.0
PARTITIONS = 6
RECORDS = 10


@pytest.fixture(scope="module")
def cluster() -> Iterator[Broker]:
    """Three brokers, each of which leads some partitions of topic `log`."""
    with Broker(brokers=3) as broker:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        topic = NewTopic("log", num_partitions=PARTITIONS, replication_factor=3)
        admin.create_topics([topic], operation_timeout=SECONDS)["log"].result(SECONDS)
        eventually(lambda: leaders(admin, "log") == {1, 2, 3}, SECONDS, "every broker leads")
        producer = Producer({"bootstrap.servers": broker.bootstrap, "acks": "all"})
        for number in range(PARTITIONS):
            for _ in range(RECORDS):
                producer.produce("log", b"record", partition=number)
        assert producer.flush(SECONDS) == 0
        yield broker


def leaders(admin: AdminClient, topic: str) -> set[int]:
    """Who leads a partition of the topic; -1 for one without a leader."""
    return {
        partition.leader for partition in admin.list_topics(topic, timeout=SECONDS).topics[topic].partitions.values()
    }


def test_offsets_are_right_while_one_broker_after_the_other_dies(cluster: Broker) -> None:
    """A leader that does not answer is no log that ends at -1001, and its successor is asked when there is one."""
    tps = [TP("log", number) for number in range(PARTITIONS)]
    offsets = Offsets(Settings(id="offsets", broker=cluster.url), Connection())
    begins, ends = dict.fromkeys(tps, 0), dict.fromkeys(tps, RECORDS)
    assert offsets.end_offsets(tps, timeout=SECONDS) == ends

    for node in (1, 2):
        cluster.kill(node)
        with pytest.raises(BrokerUnreachable, match="no broker answers"):
            offsets.end_offsets(tps, timeout=0.2)
        assert offsets.end_offsets(tps, timeout=SECONDS) == ends
        assert offsets.begin_offsets(tps, timeout=SECONDS) == begins
        cluster.start(node)
        assert offsets.end_offsets(tps, timeout=SECONDS) == ends


def test_partitions_without_a_leader_are_not_called_missing(cluster: Broker) -> None:
    """While the only replica is away they are there, and have no leader: the topic was not deleted."""
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    topic = NewTopic("alone", num_partitions=3, replication_factor=1)
    admin.create_topics([topic], operation_timeout=SECONDS)["alone"].result(SECONDS)
    eventually(lambda: leaders(admin, "alone") == {1, 2, 3}, SECONDS, "every broker leads")
    tps = [TP("alone", number) for number in range(3)]
    offsets = Offsets(Settings(id="offsets", broker=cluster.url), Connection())

    cluster.kill(3)
    eventually(lambda: -1 in leaders(admin, "alone"), SECONDS, "one has no leader")
    with pytest.raises(BrokerUnreachable, match=r"alone\[\d\] has no leader"):
        offsets.end_offsets(tps, timeout=1.0)
    cluster.start(3)

    assert offsets.end_offsets(tps, timeout=SECONDS) == dict.fromkeys(tps, 0)
