"""The producers of a worker: what it writes leaves in C, where the module in C is there."""

from __future__ import annotations

from confluent_kafka import Producer

from streamcluster.kafka.config import BATCH_BYTES_MAX, producer_config
from streamcluster.kafka.fencing import open_owner
from streamcluster.kafka.opening import Connection, open_client
from streamcluster.settings import Settings

from .native import with_plugin


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
        Fenced, BrokerUnreachable, ConfigurationError: as `open_owner` says.
    """
    config = with_plugin(settings, producer_config(settings, transactional_id, batch_bytes_max=batch_bytes_max))
    return open_owner(settings, transactional_id, config, connection, timeout)
