"""The producers of a worker: what it writes leaves in C, where the module in C is there. Every wait has a deadline."""

from __future__ import annotations

import time

from confluent_kafka import KafkaException, Producer

from streamcluster.kafka.config import BATCH_BYTES_MAX, producer_config
from streamcluster.kafka.opening import Connection, connect, error_of, open_client, retry
from streamcluster.kafka.verdicts import classify, error_for
from streamcluster.settings import Settings

from .native import with_plugin

# An open transaction of a dead predecessor is aborted by the first handle's request, and that handle then backs off for
# 0.5 s; a fresh handle does not. Measured on Kafka 4.1, connected first: 0.04 s without an open transaction, 0.12 s
# with one; unconnected 0.19 and 0.47 s.
_INIT_SECONDS = (0.05, 0.05, 0.05, 0.05, 0.1, 0.2, 0.4)


def open_producer(settings: Settings, connection: Connection, *, batch_bytes_max: int = BATCH_BYTES_MAX) -> Producer:
    """An idempotent producer, for what leaves at once. It does not wait for a broker."""
    config = producer_config(settings, None, batch_bytes_max=batch_bytes_max)
    return open_client(Producer, with_plugin(settings, config), connection)


def open_transactional_producer(
    settings: Settings,
    transactional_id: str,
    connection: Connection,
    timeout: float,
    *,
    batch_bytes_max: int = BATCH_BYTES_MAX,
) -> Producer:
    """Open a producer that owns `transactional_id`: when this returns, every earlier owner is fenced.

    Args:
        settings: the app's settings.
        transactional_id: the slot's id.
        connection: gets the news of the brokers.
        timeout: seconds for all of it.
        batch_bytes_max: as for `producer_config`.

    Raises:
        Fenced: another owner took the id in this very moment (the peer).
        BrokerUnreachable: no answer within `timeout` (the operator).
        ConfigurationError: not allowed, or a setting that the brokers refuse (the operator).
    """
    deadline = time.monotonic() + timeout
    config = with_plugin(settings, producer_config(settings, transactional_id, batch_bytes_max=batch_bytes_max))
    what = f"Opening transactional id {transactional_id} on {settings.broker} within {timeout:.0f} s"

    def open_one() -> Producer:
        return open_client(Producer, config, connection)

    for patience in _INIT_SECONDS:
        producer = connect(open_one(), open_one, settings, deadline - time.monotonic(), what)
        try:
            producer.init_transactions(min(timeout, patience))
            return producer
        except KafkaException as error:
            if classify(error_of(error)) in ("fenced", "config"):
                raise error_for(what, error_of(error)) from error
    producer = open_one()
    retry(what, lambda left: producer.init_transactions(left), deadline)
    return producer
