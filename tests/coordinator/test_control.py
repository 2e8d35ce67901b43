"""Leadership over a real control topic: takeover, fences, proof, and what makes it refuse."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import KafkaException, Producer

from streamcluster.errors import Fenced, StateIncompatible
from streamcluster.settings import Settings, make_settings
from streamcluster_coordinator.control import Control, control_topic_spec, open_fencing
from streamcluster_coordinator.control_record import control_topic, decode_leader, slot_id
from streamcluster_coordinator.topics import Brokers, Cluster
from tests.conftest import MakeTopic

MakeControl = Callable[[], Control]


@pytest.fixture
def settings(broker_url: str, topic_prefix: str) -> Settings:
    """Of an app that no other test has."""
    return make_settings({"id": f"{topic_prefix}app", "broker": broker_url, "connect_timeout": 20.0})


@pytest.fixture
def cluster(settings: Settings) -> Cluster:
    """The cluster, with the app's control topic made."""
    brokers = Brokers(settings)
    cluster = brokers.connect()
    assert brokers.create([control_topic_spec(settings.app_id)], cluster) == [control_topic(settings.app_id)]
    return cluster


@pytest.fixture
def make_control(settings: Settings, cluster: Cluster) -> Iterator[MakeControl]:
    """Makes controls of that app."""
    assert cluster.brokers >= 1
    made: list[Control] = []

    def make() -> Control:
        made.append(Control(settings))
        return made[-1]

    yield make
    for control in made:
        control.close(drained=False)


def transaction(settings: Settings, slot: int, topic: str) -> Producer:
    """A worker's producer in the middle of a transaction."""
    producer = open_fencing(settings, slot_id(settings.app_id, slot), time.monotonic() + 20)
    producer.begin_transaction()
    producer.produce(topic, value=b"", partition=0)
    assert producer.flush(20) == 0
    return producer


def test_takeover_counts_epochs_and_fences_the_predecessor(
    settings: Settings, cluster: Cluster, make_control: MakeControl
) -> None:
    """The second leader has the next epoch; the first can prove nothing any more and hears who took over."""
    first, second = make_control(), make_control()
    heard: list[str] = []
    told = threading.Event()

    def taken(text: str) -> None:
        heard.append(text)
        told.set()

    one = first.take_over(cluster_id=cluster.cluster_id, slots=2, topology_hash="x")
    first.confirm()
    first.listen(taken)
    two = second.take_over(cluster_id=cluster.cluster_id, slots=2, topology_hash="x")

    assert two.epoch == one.epoch + 1
    second.confirm()
    with pytest.raises(Fenced, match=rf"another coordinator of {settings.app_id} took over"):
        first.confirm()
    with pytest.raises(Fenced):
        first.record_slots(5)
    assert told.wait(10)
    assert f"pid {two.pid} on {two.host}" in heard[0]


def test_takeover_fences_every_slot_of_the_predecessor(
    settings: Settings, cluster: Cluster, make_control: MakeControl, make_topic: MakeTopic
) -> None:
    """A worker of the old leader cannot commit after the takeover, also in a slot that the new one does not have."""
    make_control().take_over(cluster_id=cluster.cluster_id, slots=3, topology_hash="x")
    output = make_topic(f"{settings.app_id}-output", 1)
    workers = [transaction(settings, slot, output) for slot in range(3)]

    make_control().take_over(cluster_id=cluster.cluster_id, slots=1, topology_hash="x")

    for worker in workers:
        with pytest.raises(KafkaException, match="FENCED"):
            worker.commit_transaction(10)


def test_slots_stay_recorded_until_a_drained_end(cluster: Cluster, make_control: MakeControl) -> None:
    """A leader with fewer slots keeps the larger number, for its takeover may have been cut short; a clean end is 0."""
    make_control().take_over(cluster_id=cluster.cluster_id, slots=5, topology_hash="x")
    second, third = make_control(), make_control()

    assert second.take_over(cluster_id=cluster.cluster_id, slots=2, topology_hash="x").slots == 5
    second.record_slots(6)
    second.close(drained=True)

    assert third.take_over(cluster_id=cluster.cluster_id, slots=2, topology_hash="x").slots == 2


def test_topic_of_another_cluster_is_refused(cluster: Cluster, make_control: MakeControl) -> None:
    """A mirrored control topic would make two clusters think that they are one."""
    make_control().take_over(cluster_id="elsewhere", slots=1, topology_hash="x")

    with pytest.raises(StateIncompatible, match="is about Kafka cluster elsewhere"):
        make_control().take_over(cluster_id=cluster.cluster_id, slots=1, topology_hash="x")


def test_foreign_records_are_refused(settings: Settings, cluster: Cluster, make_control: MakeControl) -> None:
    """What another version or another program wrote is not guessed at."""
    producer = Producer({"bootstrap.servers": settings.broker.removeprefix("kafka://")})
    producer.produce(control_topic(settings.app_id), key=b"leader", value=b'{"format_version": 99}')
    assert producer.flush(20) == 0

    with pytest.raises(StateIncompatible, match=r"another version of streamcluster \(format 99"):
        make_control().take_over(cluster_id=cluster.cluster_id, slots=1, topology_hash="x")
    with pytest.raises(StateIncompatible, match="holds what no coordinator writes"):
        decode_leader(b"hello", topic="t")
