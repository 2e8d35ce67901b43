"""Whether nodes of the development broker serve: they answer a real metadata request that names them all.

Only asks; starting and ending nodes is not its business.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Collection

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from .config import NodePlan

_ASK_SECONDS = 1.0
_PAUSE_SECONDS = 0.05

# A node that is still starting refuses connections; that is no news for the user's log.
_silent = logging.getLogger("streamcluster.broker.readiness")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False


def wait_until_serving(nodes: Collection[NodePlan], deadline: float, check: Callable[[], None]) -> bool:
    """Wait until every one of `nodes` answers and knows all of them; False when the deadline comes first.

    Args:
        nodes: the nodes that are meant to run.
        deadline: on the monotonic clock.
        check: called between two tries; raises when waiting makes no sense any more.
    """
    wanted = {node.id for node in nodes}
    for node in nodes:
        while not _accepts(node):
            check()
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE_SECONDS)
        client = AdminClient({"bootstrap.servers": f"{node.host}:{node.port}", "log_level": 0}, logger=_silent)
        while not wanted <= _known_nodes(client):
            check()
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE_SECONDS)
    return True


def _accepts(node: NodePlan) -> bool:
    try:
        socket.create_connection((node.host, node.port), timeout=_ASK_SECONDS).close()
    except OSError:
        return False
    return True


def _known_nodes(client: AdminClient) -> set[int]:
    try:
        return set(client.list_topics(timeout=_ASK_SECONDS).brokers)
    except KafkaException:
        return set()
