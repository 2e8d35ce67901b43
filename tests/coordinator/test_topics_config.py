"""Topics that the app makes, on brokers that do not know all that is asked for."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from streamcluster.errors import BrokerUnreachable, ConfigurationError
from streamcluster.settings import make_settings
from streamcluster.topology import ResolvedTopic, TopicSpec
from streamcluster_coordinator.admin import brokers as topics
from streamcluster_coordinator.admin.brokers import Brokers


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError._TRANSPORT, BrokerUnreachable),
        (KafkaError._DESTROY_BROKER, BrokerUnreachable),
        (KafkaError.REQUEST_TIMED_OUT, BrokerUnreachable),
        (KafkaError.NOT_CONTROLLER, BrokerUnreachable),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, ConfigurationError),
    ],
)
def test_a_broker_that_is_gone_has_refused_nothing(code: int, kind: type[Exception]) -> None:
    """The worker or the operator waits for it; what is refused ends the app."""
    brokers = Brokers(make_settings({"id": "shop", "broker": "kafka://127.0.0.1:1"}))
    assert type(brokers._error("reading the topics", KafkaException(KafkaError(code)))) is kind


def made(brokers: Brokers, name: str, config: dict[str, str]) -> dict[str, str]:
    """What a topic that is made with this configuration has of it."""
    topic = ResolvedTopic(name=name, role="repartition", partitions=1, create=True, config=config)
    brokers.create([topic], brokers.connect())
    return brokers.topics([TopicSpec(name=name, role="repartition")])[name].config


def test_repartition_topics_take_every_timestamp(broker_url: str, topic_prefix: str) -> None:
    """The broker keeps what the records bring, however far ahead."""
    brokers = Brokers(make_settings({"id": topic_prefix, "broker": broker_url}))
    config = {"message.timestamp.type": "CreateTime", "message.timestamp.after.max.ms": str(2**63 - 1)}
    found = made(brokers, f"{topic_prefix}a", config)
    assert {name: found[name] for name in config} == config


def test_a_broker_that_does_not_know_the_bound_makes_the_topic_without(
    monkeypatch: pytest.MonkeyPatch, broker_url: str, topic_prefix: str
) -> None:
    """As before Kafka 3.6; what else is unknown is still refused."""
    brokers = Brokers(make_settings({"id": topic_prefix, "broker": broker_url}))
    monkeypatch.setattr(topics, "_DISPENSABLE_CONFIG", "not.known.there")
    assert made(brokers, f"{topic_prefix}a", {"not.known.there": "1", "retention.ms": "-1"})["retention.ms"] == "-1"
    with pytest.raises(ConfigurationError, match="also"):
        made(brokers, f"{topic_prefix}b", {"also.not": "1"})
