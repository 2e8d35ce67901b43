"""Session: one set of clients and what lives and dies with it (I3): the pump, the restorer, the follower."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from streamcluster.dates import dated_tables
from streamcluster.engine.engine import Engine
from streamcluster.engine.pump import Pump
from streamcluster.engine.topic_rows import TopicRows, topic_rows_of
from streamcluster.ids import TP, TaskId
from streamcluster.protocol.messages import WorkerConfig

from .data.clients import Clients
from .data.positions import topic_positions
from .data.source import Source
from .data.writes import KafkaWrites
from .state.changelogs import Log
from .state.follow import ASK_SECONDS, Follower
from .state.restore import Restorer
from .state.stores import Stores

# Batches of fewer bytes are not made smaller: one of a single record is taken or not.
BATCH_BYTES_LEAST = 16 * 1024


class Session(msgspec.Struct):
    """Everything of a worker that is thrown away when the outcome of a commit is unknown."""

    clients: Clients
    source: Source
    writes: KafkaWrites
    pump: Pump
    restorer: Restorer
    follower: Follower

    @classmethod
    def begin(
        cls,
        engine: Engine,
        config: WorkerConfig,
        clients: Clients,
        stores: Stores,
        committed: dict[TP, int],
        restored: Callable[[Restorer, TaskId, Exception | None], None],
    ) -> Session:
        """Build it over `clients`, on the loop.

        committed: gets every position that this worker commits.
        restored: called from a thread when a task is restored, or cannot be; with the restorer, since one of an earlier
        session may still have something to say.
        """
        settings = config.settings
        dated = dated_tables(engine.plan.tables)

        def topic_rows() -> dict[str, TopicRows]:
            # Each for one thread.
            return topic_rows_of(engine.plan, config.topology, settings)

        restorer = Restorer(
            settings,
            clients.connection,
            clients.offsets,
            done=lambda task: restored(restorer, task, None),
            failed=lambda task, error: restored(restorer, task, error),
            dated=dated,
            topic_rows=topic_rows(),
        )
        source = Source(clients.consumer, settings, engine.changed.set, clients.heard)
        changelogs = {table.name: table.changelog for table in config.topology.tables}
        feeders = {table.name: table.feeder for table in config.topology.tables if table.feeder}
        writes = KafkaWrites(settings, changelogs, clients, stores.open_stores, committed, dated, feeders)

        def positions(logs: Sequence[Log]) -> Mapping[TP, int]:
            return topic_positions(clients, settings, {log.tp: feeders[log.table] for log in logs}, ASK_SECONDS)

        return cls(
            clients=clients,
            source=source,
            writes=writes,
            pump=Pump(engine, settings, source, writes),
            restorer=restorer,
            follower=Follower(
                settings,
                clients.connection,
                clients.offsets,
                stores,
                lambda: restorer.busy,
                dated=dated,
                topic_rows=topic_rows(),
                positions=positions,
            ),
        )

    def close(self) -> None:
        """End the threads and let go of the clients; the stores stay open. Blocks until the threads are back."""
        self.restorer.stop()
        self.follower.stop()
        self.source.close()
        self.writes.close()
        self.clients.close()


def batch_bytes_max(config: WorkerConfig) -> int:
    """How large a batch of records may be that every topic takes."""
    limits = [topic.message_bytes_max for topic in config.topology.topics if topic.message_bytes_max is not None]
    return min(limits, default=config.settings.producer_max_request_size)


def smaller_batch(bytes_max: int) -> int:
    """After brokers refused one: they do so whole, and a topic may take less than it did."""
    return max(BATCH_BYTES_LEAST, bytes_max // 2)


def open_clients(config: WorkerConfig, batch_bytes_max: int) -> Clients:
    """Open every client; the first thing that this does is to fence whoever had the slot before. Blocks.

    Raises:
        Fenced, BrokerUnreachable, ConfigurationError: as `Clients.open` says.
    """
    settings = config.settings
    return Clients.open(settings, config.transactional_id, settings.connect_timeout, batch_bytes_max)
