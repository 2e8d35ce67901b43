"""What the control topic holds: who leads an app, since which epoch, and which slots it may fill.

JSON, so that any Kafka tool shows it. It knows no client.
"""

from __future__ import annotations

import msgspec

from streamcluster.errors import StateIncompatible

FORMAT_VERSION = 1
LEADER_KEY = b"leader"


class LeaderRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One coordinator's claim. slots: it fills 0 to slots - 1; 0: it has ended, and nothing of it is left to fence."""

    epoch: int
    host: str
    pid: int
    instance: str
    cluster_id: str
    slots: int
    topology_hash: str = ""
    format_version: int = FORMAT_VERSION


class _Version(msgspec.Struct):
    format_version: int = 0


def control_topic(app_id: str) -> str:
    """The topic's name."""
    return f"{app_id}-ctl"


def slot_id(app_id: str, slot: int) -> str:
    """The transactional id of a slot."""
    return f"{app_id}-slot-{slot}"


def decode_leader(value: bytes, *, topic: str) -> LeaderRecord:
    """Read a record. Raises StateIncompatible when another version of streamcluster wrote it (the operator)."""
    try:
        version = msgspec.json.decode(value, type=_Version).format_version
        if version == FORMAT_VERSION:
            return msgspec.json.decode(value, type=LeaderRecord)
    except msgspec.MsgspecError as error:
        raise StateIncompatible(
            f"topic {topic!r} holds what no coordinator writes ({error}). Is it another app's topic? Choose another id."
        ) from error
    raise StateIncompatible(
        f"topic {topic!r} was written by another version of streamcluster (format {version}, this one knows "
        f"{FORMAT_VERSION}). Run that version, or upgrade this one."
    )


def check_cluster(last: LeaderRecord | None, cluster_id: str, *, topic: str) -> None:
    """Raise StateIncompatible when the control topic was copied from another cluster."""
    if last is not None and last.cluster_id != cluster_id:
        raise StateIncompatible(
            f"topic {topic!r} is about Kafka cluster {last.cluster_id}, but this is {cluster_id}: it was copied from "
            "there. Delete it here, and make sure that the app does not run on both."
        )
