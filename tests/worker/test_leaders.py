"""How soon a running consumer reads a topic that is new to it: each move of a task waits for that."""

from __future__ import annotations

import time

from confluent_kafka import Producer

from streamcluster.ids import TP
from streamcluster.kafka.opening import Connection, connect
from streamcluster.settings import Settings, bootstrap_servers
from streamcluster_worker.kafka.consumers import open_consumer
from streamcluster_worker.state.changelogs import Log, assign_only
from tests.conftest import MakeTopic

SECONDS = 30.0
TOPICS = 9


def test_a_topic_that_is_new_to_a_running_consumer_is_read_at_once(
    broker_url: str, topic_prefix: str, make_topic: MakeTopic
) -> None:
    """The client by itself asks who leads it when its timer of one second fires: just after that it takes longest."""
    settings = Settings(id=f"{topic_prefix}app", broker=broker_url)
    # The app's own topic is there, as in an app that runs; one that is not makes the client ask all the time.
    make_topic(settings.dead_letters, 1)
    topics = [make_topic(f"{topic_prefix}{number}", 1) for number in range(TOPICS)]
    producer = Producer({"bootstrap.servers": bootstrap_servers(broker_url)})
    for topic in topics:
        producer.produce(topic, b"record")
    assert producer.flush(SECONDS) == 0
    connection = Connection()
    consumer = connect(
        open_consumer(settings, connection), lambda: open_consumer(settings, connection), settings, SECONDS
    )

    logs = [Log("t", TP(topic, 0)) for topic in topics]
    seconds = []
    for count in range(1, len(topics) + 1):
        begin = time.monotonic()
        assign_only(consumer, logs[:count])
        while not any(message.error() is None for message in consumer.consume(1, 0.1)):
            assert time.monotonic() < begin + SECONDS
        seconds.append(time.monotonic() - begin)
    consumer.close()

    assert min(seconds[1:]) < 0.5, seconds
