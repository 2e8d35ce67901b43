"""Verdicts on Kafka's errors, by name and by flags."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from streamcluster.errors import BrokerUnreachable, ConfigurationError, Fenced
from streamcluster.kafka.verdicts import ResetNeeded, Verdict, classify, error_for

CASES: list[tuple[KafkaError, Verdict]] = [
    (KafkaError(KafkaError._FENCED, fatal=True), "fenced"),
    (KafkaError(KafkaError.INVALID_PRODUCER_EPOCH, txn_requires_abort=True), "fenced"),
    (KafkaError(KafkaError.PRODUCER_FENCED), "fenced"),
    (KafkaError(KafkaError.INVALID_PRODUCER_ID_MAPPING, txn_requires_abort=True), "fenced"),
    (KafkaError(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, fatal=True), "config"),
    (KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, txn_requires_abort=True), "refused"),
    (KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, retriable=True), "missing"),
    (KafkaError(KafkaError.CONCURRENT_TRANSACTIONS, retriable=True), "retriable"),
    (KafkaError(KafkaError._TIMED_OUT, retriable=True), "retriable"),
    (KafkaError(KafkaError.FENCED_LEADER_EPOCH), "retriable"),
    (KafkaError(KafkaError.NOT_COORDINATOR), "retriable"),
    (KafkaError(KafkaError._DESTROY_BROKER), "retriable"),
    (KafkaError(KafkaError.NOT_CONTROLLER), "retriable"),
    (KafkaError(KafkaError.REQUEST_TIMED_OUT), "retriable"),
    (KafkaError(KafkaError.REQUEST_TIMED_OUT, txn_requires_abort=True), "reset"),
    (KafkaError(KafkaError._NOT_IMPLEMENTED), "unreadable"),
    (KafkaError(KafkaError.COORDINATOR_NOT_AVAILABLE, txn_requires_abort=True), "reset"),
    (KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION, txn_requires_abort=True), "reset"),
    (KafkaError(KafkaError._TIMED_OUT), "unreachable"),
    (KafkaError(KafkaError._ALL_BROKERS_DOWN), "unreachable"),
    (KafkaError(KafkaError._STATE), "reset"),
    (KafkaError(KafkaError.UNKNOWN, txn_requires_abort=True, retriable=True), "reset"),
    (KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, fatal=True), "reset"),
]


@pytest.mark.parametrize(("error", "verdict"), CASES, ids=[error.name() for error, _ in CASES])
def test_error_gets_its_verdict(error: KafkaError, verdict: Verdict) -> None:
    """A peer's doing, the operator's, or a reason to start again: each error has one verdict."""
    assert classify(error) == verdict


def test_error_becomes_the_exception_of_who_must_act() -> None:
    """The exception's class says who must act, and its text what was tried and what Kafka said."""
    expected: list[tuple[int, type[Exception]]] = [
        (KafkaError._FENCED, Fenced),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, ConfigurationError),
        (KafkaError._TRANSPORT, BrokerUnreachable),
        (KafkaError._STATE, ResetNeeded),
    ]
    for code, kind in expected:
        found = error_for("Committing a transaction", KafkaError(code, "the reason"))
        assert type(found) is kind
        assert str(found).startswith("Committing a transaction: ")
        assert "the reason" in str(found)


def test_retries_that_are_used_up_mean_unreachable() -> None:
    """A time-out that may be retried becomes BrokerUnreachable once nobody retries it any more."""
    error = KafkaError(KafkaError._TIMED_OUT, retriable=True)
    assert isinstance(error_for("Opening", error), BrokerUnreachable)


def test_brokers_that_are_not_ready_are_waited_for() -> None:
    """An app that found its coordinator loading for too long would end if that were any other error."""
    error = KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS, retriable=True)
    found = error_for("Opening", error)
    assert isinstance(found, BrokerUnreachable)
    assert "not ready" in str(found)
