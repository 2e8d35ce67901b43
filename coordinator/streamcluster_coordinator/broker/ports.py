"""Which loopback ports the development broker's nodes listen on. Knows sockets, and nothing of Kafka."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable, Sequence

from streamcluster.errors import ConfigurationError

from .config import HOST, NodePlan

# Below the range from which Linux takes the local ports of outgoing connections: a node that is down for a while
# would otherwise find its port taken by some client when it comes back.
_FREE_RANGE = range(20_000, 32_000)
_TRIES_MAX = 1_000
PORT_MAX = 65_535


def plan_nodes(port: int, brokers: int, *, secured: bool = False) -> list[NodePlan]:
    """Choose the ports of all nodes: `port`, `port + 1`, ... for clients, or free ones when `port` is 0.

    secured: each gets a free one for the secured listener too.

    Raises:
        ConfigurationError: a port is taken or there is no such port.
    """
    wanted = list(range(port, port + brokers)) if port else []
    for one in wanted:
        check_free(one)
    ports = wanted + free_ports((3 if secured else 2) * brokers - len(wanted), taken=wanted)
    return [
        NodePlan(i + 1, ports[i], ports[brokers + i], ports[2 * brokers + i] if secured else None)
        for i in range(brokers)
    ]


def check_free(port: int) -> None:
    """Raise ConfigurationError when nothing can listen on `port`."""
    if not 0 < port <= PORT_MAX:
        raise ConfigurationError(f"There is no port {port}: give one from 1 to {PORT_MAX}, or 0 for a free one.")
    if not _is_free(port):
        raise ConfigurationError(
            f"Port {port} on {HOST} is in use, perhaps by another broker. "
            "Stop that one, or give another port (--port); --port 0 takes a free one."
        )


def all_free(nodes: Iterable[NodePlan]) -> bool:
    """Whether every port of these nodes, none of which runs, is still free."""
    return all(
        port is None or _is_free(port)
        for node in nodes
        for port in (node.port, node.controller_port, node.secured_port)
    )


def free_ports(count: int, taken: Sequence[int] = ()) -> list[int]:
    """Return `count` different ports that are free now."""
    found: list[int] = []
    for _ in range(_TRIES_MAX):
        if len(found) == count:
            return found
        port = random.choice(_FREE_RANGE)
        if port not in taken and port not in found and _is_free(port):
            found.append(port)
    raise ConfigurationError(
        f"No {count} free ports from {_FREE_RANGE.start} to {_FREE_RANGE.stop} on {HOST}: stop what listens there."
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As Kafka does: connections of a broker that just ended do not count, a listener does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
