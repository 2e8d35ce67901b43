"""The handles of a worker: who waits for what, and who must not be kept waiting."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streamcluster.errors import BrokerUnreachable
from streamcluster.ids import TP, TaskId
from streamcluster.kafka.opening import Connection, cluster_id_of
from streamcluster.settings import Settings
from streamcluster_coordinator.broker import Broker
from streamcluster_coordinator.broker.ports import free_ports
from streamcluster_worker.data.begin import Past
from streamcluster_worker.data.clients import Clients
from streamcluster_worker.data.positions import start_positions
from streamcluster_worker.kafka.producers import open_producer, open_transactional_producer
from tests.conftest import MakeTopic

NODE = 1
SECONDS = 30.0
# They take 1 s. The broker must not be frozen for long: a lone one is fenced then, and clients may become deaf.
READS = 100
# A wait that ends without a reason does so at once.
A_WHILE = 0.5


def test_a_loop_goes_on_reading_while_positions_are_waited_for(own_broker: Broker, topic_prefix: str) -> None:
    """A consumer lets one thread in at a time (confluent-kafka 2.16), so who waits for a broker has one of its own."""
    topic = f"{topic_prefix}in"
    admin = AdminClient({"bootstrap.servers": own_broker.bootstrap})
    admin.create_topics([NewTopic(topic, 1)])[topic].result(SECONDS)
    settings = Settings(id=f"{topic_prefix}app", broker=own_broker.url)
    clients = Clients.open(settings, f"{topic_prefix}slot", SECONDS, 1_000_000)

    own_broker.pause(NODE)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(start_positions, clients, settings, {TaskId(1, 0): [TP(topic, 0)]}, Past({}, {}), {}, {})
        for _ in range(READS):
            clients.consumer.consume(1, 0.01)
        # With a consumer that both use, a read comes back after the answer.
        assert not asking.done()
        own_broker.resume(NODE)
        assert asking.result(SECONDS)[TaskId(1, 0)].positions[TP(topic, 0)].next_offset == 0
    clients.close()


def test_cluster_that_does_not_say_its_id_is_not_another_one() -> None:
    """An answer is made up by nobody: with an empty id every store on this disk would count as another cluster's."""
    [port] = free_ports(1)
    settings = Settings(id="shop", broker=f"kafka://127.0.0.1:{port}")
    producer = open_producer(settings, Connection())

    with pytest.raises(BrokerUnreachable, match=r"said within 0.1 s which cluster it belongs to"):
        cluster_id_of(producer, settings, 0.1)


def test_clients_know_the_id_of_their_cluster(broker_url: str, topic_prefix: str) -> None:
    """It is what stores on disk are compared with."""
    settings = Settings(id=f"{topic_prefix}app", broker=broker_url, processing_guarantee="at_least_once")
    clients = Clients.open(settings, f"{topic_prefix}slot", SECONDS, 1_000_000)
    clients.close()

    admin = AdminClient({"bootstrap.servers": broker_url.removeprefix("kafka://")})
    assert clients.cluster_id == admin.list_topics(timeout=SECONDS).cluster_id


def test_who_has_committed_waits_until_brokers_have_ended_it_and_no_longer(
    broker_url: str, topic_prefix: str, make_topic: MakeTopic
) -> None:
    """A transaction that begins before is refused for 20 ms; while somebody else waits for positions, nobody waits."""
    source = TP(make_topic(f"{topic_prefix}in", 1), 0)
    settings = Settings(id=f"{topic_prefix}app", broker=broker_url)
    clients = Clients.open(settings, f"{topic_prefix}slot", SECONDS, 1_000_000)
    # Not the committer's own, whose transaction would be over by the time that anybody looks.
    producer = open_transactional_producer(settings, f"{topic_prefix}other", Connection(), SECONDS)
    producer.begin_transaction()
    offset = TopicPartition(source.topic, source.partition, 9)
    producer.send_offsets_to_transaction([offset], clients.group.consumer_group_metadata())

    clients.wait_until_ended([source])
    patient = replace(clients, ending_seconds=SECONDS)
    patient.wait_until_ended([])
    with patient.group_turn:
        patient.wait_until_ended([source])
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(patient.wait_until_ended, [source])
        with pytest.raises(TimeoutError):
            waiting.result(A_WHILE)
        producer.commit_transaction()
        waiting.result(SECONDS / 2)
    clients.close()
