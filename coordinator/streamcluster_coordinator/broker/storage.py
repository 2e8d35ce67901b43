"""The storage of new nodes: what Kafka writes into one is kept, and the next gets it without a Java (1 s of CPU time).

It is the same for all nodes and clusters of a release, but for the names in meta.properties.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ..own_directory import NotOurs, check_own
from .config import DATA
from .datadir import META, new_uuid
from .installation import Installation
from .process import NodeProcess


class Formatted(msgspec.Struct, frozen=True):
    """A formatted storage: what its meta.properties says, and its other files: path -> content."""

    names: dict[str, str]
    files: dict[str, bytes]


class _Kept(msgspec.Struct, frozen=True):
    """digest: of `formatted`, a `Formatted` as JSON."""

    formatted: bytes
    digest: str


def format_storages(processes: Sequence[NodeProcess], cluster_id: str, extra: Sequence[str]) -> None:
    """Prepare the empty storages of these nodes for the cluster. extra: more arguments for Kafka's tool."""
    todo = list(processes)
    if not todo:
        return
    kept = kept_file(todo[0].installation)
    # What is told besides may be secret, and is this cluster's.
    formatted = None if extra else read_kept(kept)
    if formatted is None:
        first = todo.pop(0)
        first.format_storage(cluster_id, extra)
        formatted = _read(first.directory / DATA)
        if not extra:
            _keep(kept, formatted)
    for process in todo:
        _write(formatted, process.directory / DATA, cluster_id, process.id)


def kept_file(installation: Installation) -> Path:
    """Where it is kept: beside the jars."""
    jars = installation.jars[0].parent
    return jars.with_name(f"{jars.name}-formatted.json")


def read_kept(path: Path) -> Formatted | None:
    """What is kept there; None for nothing, and for what others could have written or what is damaged."""
    try:
        check_own(path.parent)
        kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
        if kept.digest != hashlib.sha256(kept.formatted).hexdigest():
            return None
        return msgspec.json.decode(kept.formatted, type=Formatted)
    except (OSError, NotOurs, msgspec.DecodeError):
        return None


def _keep(path: Path, formatted: Formatted) -> None:
    data = msgspec.json.encode(formatted)
    try:
        check_own(path.parent)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f"{path.stem}-") as scratch:
            fresh = Path(scratch) / path.name
            fresh.write_bytes(msgspec.json.encode(_Kept(data, hashlib.sha256(data).hexdigest())))
            os.replace(fresh, path)
    except (OSError, NotOurs):
        # The next node asks the tool as this one did.
        return


def _read(data: Path) -> Formatted:
    files = {str(path.relative_to(data)): path.read_bytes() for path in data.rglob("*") if path.is_file()}
    lines = files.pop(META).decode().splitlines()
    return Formatted(dict(line.split("=", 1) for line in lines if "=" in line), files)


def _write(formatted: Formatted, data: Path, cluster_id: str, node: int) -> None:
    names = {**formatted.names, "cluster.id": cluster_id, "node.id": str(node)}
    if "directory.id" in names:
        names["directory.id"] = new_uuid()
    for name, content in formatted.files.items():
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(content)
    # Last: where it is, a storage counts as formatted.
    fresh = data / f"{META}.new"
    fresh.write_text("".join(f"{name}={value}\n" for name, value in names.items()))
    os.replace(fresh, data / META)
