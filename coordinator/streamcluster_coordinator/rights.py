"""Which rights (ACLs) an app needs at brokers that check them: exactly these, and none that reaches another app.

Names are literal where Kafka lets them be. The one prefix, of the slots' transactional ids, ends with a word that no
name of an app `orders-eu` begins with. Pure.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

import msgspec
from msgspec.structs import replace

from streamcluster.topology import Declared, Topology

from .records.snapshot import control_topic, slot_prefix, status_topic

# What an app does with a topic of each role.
_OWN = ("Read", "Write", "Create", "DescribeConfigs")
_OPERATIONS = {
    "source": ("Read", "DescribeConfigs"),
    "output": ("Write", "DescribeConfigs"),
    "changelog": _OWN,
    "repartition": (*_OWN, "Delete"),
    "dead_letter": ("Write", "Create", "DescribeConfigs"),
    "control": _OWN,
    "status": _OWN,
}
_RESET = ("changelog", "repartition")


class Right(msgspec.Struct, frozen=True, kw_only=True):
    """What may be done with one resource, or with all whose names begin so.

    resource: topic, group or transactional-id. operations: as Kafka's tools write them. reason: for people.
    """

    resource: str
    name: str
    operations: tuple[str, ...]
    reason: str
    prefixed: bool = False


def rights_of(declared: Declared, *, reset: bool = False) -> list[Right]:
    """All rights of an app's user. reset: also what `reset --offsets --topics` needs."""
    app_id = declared.app_id
    roles: list[tuple[str, str, bool]] = [(topic.name, topic.role, topic.create) for topic in declared.topics]
    roles += [(control_topic(app_id), "control", True), (status_topic(app_id), "status", True)]
    return [
        *(_topic(name, role, create=create, reset=reset) for name, role, create in roles),
        Right(
            resource="group",
            name=app_id,
            operations=("Read", "Delete") if reset else ("Read",),
            reason="committed offsets",
        ),
        Right(
            resource="transactional-id",
            name=control_topic(app_id),
            operations=("Write",),
            reason="leadership",
        ),
        Right(
            resource="transactional-id",
            name=slot_prefix(app_id),
            operations=("Write",),
            reason="commits, and fences of lost hosts",
            prefixed=True,
        ),
    ]


def needed_of(declared: Declared, topology: Topology) -> Declared:
    """Without the changelogs of tables that have none beside the topic that they are made of."""
    there = {topic.name for topic in topology.topics}
    return replace(declared, topics=tuple(t for t in declared.topics if t.role != "changelog" or t.name in there))


def _topic(name: str, role: str, *, create: bool, reset: bool) -> Right:
    operations = list(_OPERATIONS[role])
    if create and "Create" not in operations:
        operations.append("Create")
    if reset and role in _RESET and "Delete" not in operations:
        operations.append("Delete")
    return Right(resource="topic", name=name, operations=tuple(operations), reason=role.replace("_", " "))


def kafka_acls(rights: Sequence[Right], principal: str, bootstrap: str) -> list[str]:
    """A command of Kafka's own tool for each right."""
    lines = []
    for right in rights:
        words = ["kafka-acls", "--bootstrap-server", bootstrap, "--add", "--allow-principal", principal]
        for operation in right.operations:
            words += ["--operation", operation]
        words += [f"--{right.resource}", right.name]
        words += ["--resource-pattern-type", "prefixed"] if right.prefixed else []
        lines.append(shlex.join(words))
    return lines


def neighbours(app_id: str, topics: Iterable[str]) -> list[str]:
    """Other apps among the topics of a cluster whose id begins with ours and a dash, or ours with theirs."""
    there = set(topics)
    ids = {
        name.removesuffix("-ctl")
        for name in there
        if name.endswith("-ctl") and status_topic(name.removesuffix("-ctl")) in there
    }
    return sorted(one for one in ids if one.startswith(f"{app_id}-") or app_id.startswith(f"{one}-"))


def neighbour_warning(app_id: str, other: str) -> str:
    """What that means, for the operator."""
    shorter, longer = sorted((app_id, other), key=len)
    text = (
        f"app {other!r} is on the same brokers, and {longer!r} begins with {shorter!r}: an ACL for the prefix "
        f"{shorter}- reaches both. Give rights by name: `streamcluster rights` prints them."
    )
    if longer.startswith(slot_prefix(shorter)):
        text += f" Even those do not keep {longer!r} apart, whose id begins as the slots of {shorter!r}: rename it."
    return text
