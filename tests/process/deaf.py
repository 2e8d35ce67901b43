"""The obedient app, whose worker reads at first with a client that never hears of a broker. Not a test."""

from __future__ import annotations

import itertools

from streamcluster.kafka import hearing
from streamcluster.protocol.messages import WorkerConfig
from streamcluster.settings import Settings
from streamcluster_worker import session
from streamcluster_worker import worker as runtime
from streamcluster_worker.data import clients
from streamcluster_worker.kafka.consumers import open_consumer
from tests.process.apps import obedient

__all__ = ["obedient"]
_number = itertools.count()


def _open_clients(config: WorkerConfig, batch_bytes_max: int) -> clients.Clients:
    made = session.open_clients(config, batch_bytes_max)
    if next(_number) == 0:
        made.consumer = open_consumer(Settings(id="deaf", broker="kafka://127.0.0.1:1"), made.connection)
    return made


runtime.open_clients = _open_clients  # type: ignore[attr-defined]  # it imports that name, and exports it to nobody
hearing.QUIET_SECONDS = 1.0
