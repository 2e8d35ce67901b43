"""What is made of what clients hear, and of nothing; no broker is asked."""

from __future__ import annotations

import logging

import pytest
from confluent_kafka import Consumer, KafkaError

from streamcluster.errors import ConfigurationError
from streamcluster.kafka import hearing
from streamcluster.kafka.hearing import SILENT, Connection, Replaceable, Silence
from streamcluster.kafka.opening import open_client


def test_that_all_brokers_are_down_is_no_reason(caplog: pytest.LogCaptureFixture) -> None:
    """The status shows why each could not be reached, which librdkafka says before."""
    connection = Connection()
    with caplog.at_level(logging.WARNING, "streamcluster.kafka"):
        connection.error_cb(KafkaError(KafkaError._TRANSPORT, "Connect to 10.0.0.1:9092 failed"))
        connection.error_cb(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))

    assert connection.last_error == "Connect to 10.0.0.1:9092 failed"
    assert connection.down_since is not None
    assert [record.getMessage() for record in caplog.records] == [
        "Kafka: Connect to 10.0.0.1:9092 failed; trying again"
    ]
    connection.answered()
    assert connection.down_since is None


def test_a_refusal_lasts_a_while_and_ends_with_an_answer() -> None:
    """A broker that is just starting may refuse for a moment; a token that was not got is no word of the brokers'."""
    connection = Connection(SILENT)
    connection.error_cb(KafkaError(KafkaError._AUTHENTICATION, "Failed to acquire SASL OAUTHBEARER token"))
    assert connection.refusal("here", 0.0) is None
    connection.error_cb(KafkaError(KafkaError._AUTHENTICATION, "invalid credentials"))

    assert connection.refusal("here") is None
    refusal = connection.refusal("here", 0.0)
    assert isinstance(refusal, ConfigurationError)
    assert "invalid credentials. Check sasl_mechanism, the user and the password" in str(refusal)
    connection.answered()
    assert connection.refusal("here", 0.0) is None


def test_a_silence_is_long_until_it_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins when somebody begins to listen."""
    silence = Silence()
    told = [silence.is_long]
    monkeypatch.setattr(hearing, "QUIET_SECONDS", 0.0)
    told.append(silence.is_long)
    monkeypatch.undo()
    silence.broken()
    told.append(silence.is_long)
    assert told == [False, True, False]


def test_a_client_is_replaced_by_one_with_a_silence_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The old one is closed; while none is open nobody waits to hear anything."""
    replaceable = Replaceable(
        lambda: open_client(Consumer, {"bootstrap.servers": "127.0.0.1:1", "group.id": "any"}, Connection(SILENT))
    )
    told = [replaceable.is_quiet]
    first = replaceable.get()
    assert replaceable.get() is first
    monkeypatch.setattr(hearing, "QUIET_SECONDS", 0.0)
    told.append(replaceable.is_quiet)

    replaceable.drop()
    told.append(replaceable.is_quiet)
    with pytest.raises(RuntimeError, match="closed"):
        first.poll(0)
    monkeypatch.undo()
    assert replaceable.get() is not first
    told.append(replaceable.is_quiet)
    assert told == [False, True, False, False]
    replaceable.drop()


def test_a_client_that_librdkafka_does_not_take_names_the_option() -> None:
    """Whoever opens it, the operator reads one line."""
    with pytest.raises(ConfigurationError, match=r'"no\.such\.option".*Check broker_options'):
        open_client(Consumer, {"group.id": "any", "no.such.option": "1"}, Connection(SILENT))
