"""A storage that is made without Kafka's tool: that of the first node, with the names of the one that it is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamcluster_coordinator.broker.config import DATA
from streamcluster_coordinator.broker.datadir import META, ClusterFile, is_formatted
from streamcluster_coordinator.broker.installation import Installation
from streamcluster_coordinator.broker.process import NodeProcess
from streamcluster_coordinator.broker.storage import format_storages, kept_file, read_kept

# Stands for Java: writes what Kafka's tool does, and one line for each time that it is asked.
TOOL = """#!/bin/sh
echo asked >> "{asked}"
mkdir -p data/__cluster_metadata-0
printf 'features' > data/__cluster_metadata-0/0.checkpoint
printf '#\\ncluster.id=first\\ndirectory.id=one\\nnode.id=1\\nversion=1\\n' > data/meta.properties
"""


def nodes(tmp_path: Path, cluster: str, count: int) -> list[NodeProcess]:
    """The nodes of a new cluster, whose Kafka is below `tmp_path`."""
    jars, java = tmp_path / "cache" / "kafka-4.4.0", tmp_path / "java"
    jars.mkdir(parents=True, exist_ok=True, mode=0o700)
    jars.parent.chmod(0o700)
    java.write_text(TOOL.format(asked=tmp_path / "asked"))
    java.chmod(0o700)
    made = [
        NodeProcess(id, tmp_path / cluster / str(id), Installation(java, (jars / "a.jar",)))
        for id in range(1, 1 + count)
    ]
    for node in made:
        node.directory.mkdir(parents=True)
    return made


def names_in(node: NodeProcess) -> dict[str, str]:
    """What the node's storage says about itself."""
    lines = (node.directory / DATA / META).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def asked(tmp_path: Path) -> int:
    """How often the tool ran."""
    return len((tmp_path / "asked").read_text().splitlines())


def test_the_tool_is_asked_once_for_all_nodes_and_clusters(tmp_path: Path) -> None:
    """Each storage is whole, and its own."""
    first, second = nodes(tmp_path, "first", 3), nodes(tmp_path, "second", 2)
    format_storages(first, "first", [])
    format_storages(second, "second", [])
    assert asked(tmp_path) == 1
    for cluster, made in (("first", first), ("second", second)):
        for node in made:
            assert is_formatted(node.directory, ClusterFile(kafka="4.4.0", cluster_id=cluster, brokers=len(made)))
            assert names_in(node)["node.id"] == str(node.id)
            assert (node.directory / DATA / "__cluster_metadata-0" / "0.checkpoint").read_text() == "features"
    assert len({names_in(node)["directory.id"] for node in first + second}) == 5


def test_what_is_told_besides_is_of_one_cluster_and_not_kept(tmp_path: Path) -> None:
    """Passwords, for one."""
    for cluster in ("first", "second"):
        format_storages(nodes(tmp_path, cluster, 2), cluster, ["--add-scram", "SCRAM-SHA-256=[name=a,password=b]"])
    assert asked(tmp_path) == 2
    assert not kept_file(nodes(tmp_path, "third", 1)[0].installation).exists()


@pytest.mark.parametrize("damage", ["bytes", "nothing", "writable"])
def test_what_is_damaged_or_not_ours_is_made_anew(tmp_path: Path, damage: str) -> None:
    """The tool is asked as for the first node."""
    format_storages(nodes(tmp_path, "first", 1), "first", [])
    one = nodes(tmp_path, "second", 1)
    path = kept_file(one[0].installation)
    assert read_kept(path) is not None
    if damage == "writable":
        path.parent.chmod(0o777)
    else:
        path.write_bytes(path.read_bytes().replace(b"Z", b"Y") if damage == "bytes" else b"")
    assert read_kept(path) is None
    format_storages(one, "first", [])
    assert asked(tmp_path) == 2
