"""The data directory of the development broker: who may use it, and whose data it has.

One process at a time, one cluster for ever. Knows files, and nothing of ports and processes.
"""

from __future__ import annotations

import base64
import fcntl
import os
import time
import uuid
from pathlib import Path
from typing import IO

import msgspec

from streamcluster.causes import why
from streamcluster.errors import ConfigurationError

from ..own_directory import NotOurs, make_own, open_own
from .config import DATA
from .jars import as_numbers

_CLUSTER_FILE = "cluster.json"
_LOCK_FILE = "lock"
# In a node's data: whose they are.
META = "meta.properties"
# Nodes that outlive a killed owner for a moment still hold the lock; the kernel is ending them.
LOCK_PATIENCE_SECONDS = 5.0


class ClusterFile(msgspec.Struct, frozen=True, kw_only=True):
    """What the directory remembers about its cluster."""

    kafka: str
    cluster_id: str
    brokers: int


def claim(directory: Path) -> IO[str]:
    """Make the directory ours until the returned file, and every process that inherited it, is closed.

    Raises:
        ConfigurationError: it cannot be written, others can write it, it has something else in it, or is in use.
    """
    try:
        # Looked at before it is closed to others: it may be a folder of the user's, given by mistake.
        foreign = [path for path in directory.iterdir() if path.name != _LOCK_FILE] if directory.exists() else []
        if foreign and not (directory / _CLUSTER_FILE).exists():
            raise ConfigurationError(
                f"The data directory {directory} has something else in it ({foreign[0].name}): "
                "give an empty or a new one."
            )
        make_own(directory)
        lock = os.fdopen(open_own(directory / _LOCK_FILE, os.O_RDWR | os.O_APPEND), "a+")
    except NotOurs as error:
        raise ConfigurationError(
            f"The data directory {directory} is not safe: {error}. Or give another one."
        ) from error
    except OSError as error:
        text = f"The data directory {directory} cannot be used: {why(error)}. Or give another one."
        raise ConfigurationError(text) from error
    _lock_or_refuse(lock, directory)
    return lock


def _lock_or_refuse(lock: IO[str], directory: Path) -> None:
    deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            lock.close()
            raise ConfigurationError(
                f"The data directory {directory} is in use by another broker (started by process {owner}). "
                "Stop that one, or give another directory."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        return


def open_cluster(directory: Path, brokers: int, kafka: str) -> ClusterFile:
    """Read which cluster lives in the claimed directory, or found a new one of so many brokers of this version.

    Raises:
        ConfigurationError: the cluster there is another one than asked for.
    """
    path = directory / _CLUSTER_FILE
    if not path.exists():
        cluster = ClusterFile(kafka=kafka, cluster_id=new_uuid(), brokers=brokers)
        # Whole or not at all: half a file would make the directory unusable.
        fresh = path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(cluster))
        fresh.rename(path)
        return cluster
    try:
        cluster = msgspec.json.decode(path.read_bytes(), type=ClusterFile)
        newer = as_numbers(cluster.kafka) > as_numbers(kafka)
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read ({error}): give another data directory.") from error
    if newer:
        raise ConfigurationError(
            f"The data directory {directory} was written by Kafka {cluster.kafka}, which {kafka} cannot read: "
            f"give another directory, or run {cluster.kafka} or newer with --kafka."
        )
    if cluster.brokers != brokers:
        raise ConfigurationError(
            f"The data directory {directory} belongs to a cluster of {cluster.brokers} brokers, not {brokers}: "
            f"start it with --brokers {cluster.brokers}, or give another directory."
        )
    return cluster


def is_formatted(node_directory: Path, cluster: ClusterFile) -> bool:
    """Whether the node's storage is ready for this cluster.

    Raises:
        ConfigurationError: it was formatted for another cluster.
    """
    meta = node_directory / DATA / META
    if not meta.exists():
        return False
    lines = dict(line.split("=", 1) for line in meta.read_text().splitlines() if "=" in line)
    if lines.get("cluster.id") != cluster.cluster_id:
        raise ConfigurationError(
            f"{meta} belongs to cluster {lines.get('cluster.id')}, but the directory to {cluster.cluster_id}: "
            "somebody mixed two data directories. Give another one."
        )
    return True


def new_uuid() -> str:
    """A fresh id of a cluster or a directory, as Kafka writes them."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # Kafka's tools would take a leading dash for an option.
        if not text.startswith("-"):
            return text
