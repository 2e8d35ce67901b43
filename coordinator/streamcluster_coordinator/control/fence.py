"""Opens producers by transactional id, which fences whoever had it. It knows no leader, slot or task.

librdkafka cannot ask for a fence as such, so a fence is a producer that is opened, and dropped.
"""

from __future__ import annotations

import itertools
import time

from confluent_kafka import KafkaException, Producer

from streamcluster.errors import BrokerUnreachable, ConfigurationError
from streamcluster.settings import Settings

from ..admin.brokers import client_config

_TRANSACTION_TIMEOUT_MS = 10_000
# librdkafka backs off for 0.5 s when it asks before a connection is up (so the cluster is asked something else first),
# or when the request meets an open transaction (so a fresh handle asks again). Measured on Kafka 4.1: 60 ms for an idle
# id and 0.12 to 0.24 s with an open transaction; 0.5 to 1.5 s without these two.
_TRIES_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)
_TRY_SECONDS_MAX = 5.0
_FENCED_NAMES = ("_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH")


def is_fenced(error: KafkaException) -> bool:
    """Whether another producer of the same transactional id was opened after the one that this comes from."""
    return error.args[0].name() in _FENCED_NAMES


def open_fencing(settings: Settings, transactional_id: str, deadline: float) -> Producer:
    """A producer that owns `transactional_id`; whoever had it is fenced when this returns. From any thread.

    Raises:
        BrokerUnreachable: not before `deadline`.
        ConfigurationError: not allowed (the operator).
    """
    config = {
        **client_config(settings),
        "transactional.id": transactional_id,
        "transaction.timeout.ms": _TRANSACTION_TIMEOUT_MS,
        "message.timeout.ms": _TRANSACTION_TIMEOUT_MS,
        "linger.ms": 0,
        "compression.type": "lz4",
        "retry.backoff.ms": 5,
        "retry.backoff.max.ms": 50,
    }
    for patience in itertools.chain(_TRIES_SECONDS, itertools.repeat(_TRY_SECONDS_MAX)):
        producer = Producer(config)
        try:
            producer.list_topics(timeout=max(0.1, min(_TRY_SECONDS_MAX, deadline - time.monotonic())))
            producer.init_transactions(max(0.05, min(patience, deadline - time.monotonic())))
            return producer
        except KafkaException as error:
            facts = error.args[0]
            if "AUTHORIZATION" in facts.name() or facts.name() in ("_INVALID_ARG", "INVALID_TRANSACTION_TIMEOUT"):
                raise ConfigurationError(
                    f"transactional id {transactional_id!r} cannot be used at {settings.broker}: {facts.str()}."
                ) from error
            if time.monotonic() >= deadline:
                raise BrokerUnreachable(
                    f"opening transactional id {transactional_id!r} at {settings.broker}: {facts.str()}."
                ) from error
    raise AssertionError("the last patience is repeated for ever")
