"""The consumers of a worker whose records are taken in C, where the module in C is there (`batches.take`)."""

from __future__ import annotations

from streamcluster.kafka.config import changelog_consumer_config, consumer_config, follower_config
from streamcluster.kafka.opening import Connection, Consumer, open_client
from streamcluster.settings import Settings

from .native import with_plugin


def open_consumer(settings: Settings, connection: Connection) -> Consumer:
    """A consumer for assign(), incremental_assign(), incremental_unassign(). It never joins its group.

    The end of a partition comes in place of a record, with the offset of the next one to read.
    """
    return open_client(Consumer, with_plugin(settings, consumer_config(settings)), connection)


def open_changelog_consumer(settings: Settings, connection: Connection) -> Consumer:
    """A consumer that gets to the end of a log, and says so, as quickly as it can."""
    return open_client(Consumer, with_plugin(settings, changelog_consumer_config(settings)), connection)


def open_follower_consumer(settings: Settings, connection: Connection) -> Consumer:
    """A consumer that stays at the ends of logs at little cost."""
    return open_client(Consumer, with_plugin(settings, follower_config(settings)), connection)
