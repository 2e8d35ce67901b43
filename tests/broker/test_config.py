"""server.properties and ports: what a node is told, for one node and for many."""

from __future__ import annotations

import socket

import pytest

from streamcluster.errors import ConfigurationError
from streamcluster_coordinator.broker.config import HOST, NodePlan, bootstrap, server_properties
from streamcluster_coordinator.broker.ports import free_ports, plan_nodes


def plans(count: int) -> list[NodePlan]:
    """`count` nodes with ports that tell them apart."""
    return [NodePlan(id, 9000 + id, 9100 + id) for id in range(1, count + 1)]


def properties(node: int, count: int) -> dict[str, str]:
    """The settings of one node of a cluster, parsed back."""
    nodes = plans(count)
    text = server_properties(nodes[node - 1], nodes)
    return dict(line.split("=", 1) for line in text.splitlines())


@pytest.mark.parametrize(("brokers", "copies", "in_sync"), [(1, "1", "1"), (2, "2", "2"), (3, "3", "2"), (5, "3", "2")])
def test_internal_topics_are_replicated_as_far_as_there_are_nodes(brokers: int, copies: str, in_sync: str) -> None:
    """Three copies of which two must be written, or as many as there are nodes."""
    found = properties(1, brokers)

    assert found["offsets.topic.replication.factor"] == copies
    assert found["transaction.state.log.replication.factor"] == copies
    assert found["transaction.state.log.min.isr"] == in_sync
    assert found["default.replication.factor"] == copies


def test_every_node_listens_on_loopback_only() -> None:
    """No listener and no address told to clients is reachable from another machine."""
    found = properties(2, 3)

    assert found["listeners"] == f"PLAINTEXT://{HOST}:9002,CONTROLLER://{HOST}:9102"
    assert found["advertised.listeners"] == f"PLAINTEXT://{HOST}:9002"


def test_a_node_may_listen_elsewhere() -> None:
    """Every listener of a node, what it tells clients, and what others know of it are at its own address."""
    nodes = [NodePlan(1, 9001, 9101), NodePlan(2, 9002, 9102, host="10.0.0.2")]
    first, second = (dict(line.split("=", 1) for line in server_properties(node, nodes).splitlines()) for node in nodes)

    assert second["listeners"] == "PLAINTEXT://10.0.0.2:9002,CONTROLLER://10.0.0.2:9102"
    assert second["advertised.listeners"] == "PLAINTEXT://10.0.0.2:9002"
    assert first["controller.quorum.voters"] == f"1@{HOST}:9101,2@10.0.0.2:9102"
    assert bootstrap(nodes) == f"{HOST}:9001,10.0.0.2:9002"


def test_nodes_of_a_cluster_agree_on_all_but_themselves() -> None:
    """Only the id and the addresses differ, so the quorum and the topics do not depend on which node one asks."""
    first, second = properties(1, 3), properties(2, 3)

    different = {name for name in first if first[name] != second[name]}

    assert different == {"node.id", "listeners", "advertised.listeners"}
    assert first["controller.quorum.voters"] == f"1@{HOST}:9101,2@{HOST}:9102,3@{HOST}:9103"


def test_topics_are_not_created_by_mistake_and_old_records_stay() -> None:
    """A misspelt topic is an error, and records with old timestamps are not deleted."""
    found = properties(1, 1)

    assert found["auto.create.topics.enable"] == "false"
    assert found["log.retention.ms"] == "-1"


def test_bootstrap_names_every_node() -> None:
    """Clients get in as long as one node lives."""
    assert bootstrap(plans(2)) == f"{HOST}:9001,{HOST}:9002"


def test_a_given_port_is_the_first_of_consecutive_ones() -> None:
    """Node n listens on port + n - 1, and controllers stay out of the way."""
    port = free_ports(1)[0]
    try:
        nodes = plan_nodes(port, 2)
    except ConfigurationError:
        pytest.skip(f"port {port + 1} is in use on this machine")

    assert [node.port for node in nodes] == [port, port + 1]
    assert not {node.controller_port for node in nodes} & {port, port + 1}


def test_free_ports_are_all_different() -> None:
    """Port 0 gives every node two ports of its own."""
    nodes = plan_nodes(0, 3)

    assert len({node.port for node in nodes} | {node.controller_port for node in nodes}) == 6


def test_a_port_in_use_is_named_with_what_to_do() -> None:
    """The message has the port and the way out."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(ConfigurationError, match=rf"Port {port} .* is in use.*--port 0"):
            plan_nodes(port, 1)


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_that_cannot_exist_is_refused(port: int) -> None:
    """Nothing is tried on it."""
    with pytest.raises(ConfigurationError, match=f"no port {port}"):
        plan_nodes(port, 1)
