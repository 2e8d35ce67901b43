"""Whether the brokers let us do what the app needs, asked before anything runs: all that is missing, in one message.

Later each right would be missed somewhere else: at a restore, at a commit, or by waiting for what never comes. Brokers
that do not answer such questions are believed; rights.py decides what is needed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stub forgets them
    AclOperation,
    AdminClient,
    TopicDescription,
)

from streamcluster.errors import ConfigurationError
from streamcluster.kafka.config import asker_config
from streamcluster.kafka.hearing import SILENT, Connection
from streamcluster.kafka.opening import error_of, open_client
from streamcluster.settings import Settings

from ..rights import Right

# To create a topic is asked for when it is missing, and without Delete used-up records stay, which is said then.
_ASKED = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
}
_EVERYTHING = {*_ASKED.values(), AclOperation.CREATE, AclOperation.DELETE, AclOperation.ALTER}
# A refusal comes at once, an answer only when a cluster that has just started has made its topic of offsets.
_GROUP_SECONDS = 5.0
_TURN_SECONDS = 0.5


def refuse_missing_rights(admin: AdminClient, settings: Settings, needed: Sequence[Right]) -> None:
    """See that this user may read and write what it must. Blocks. admin: has had an answer from the brokers.

    Raises:
        ConfigurationError: what is missing, by operation and name (the operator).
    """
    topics = [right for right in needed if right.resource == "topic"]
    allowed = _allowed(admin, [right.name for right in topics], settings.connect_timeout)
    missing = [
        f"{name} on topic {right.name!r}"
        for right in topics
        for name in right.operations
        if name in _ASKED and right.name in allowed and _ASKED[name] not in allowed[right.name]
    ]
    # Who may do everything with all topics is not checked, or is an administrator: the question takes a second.
    if not all(one.issuperset(_EVERYTHING) for one in allowed.values()):
        groups = [right.name for right in needed if right.resource == "group"]
        missing += [f"Read on group {name!r}" for name in groups if not _may_read_group(settings, name)]
    if missing:
        raise ConfigurationError(
            f"{settings.sasl_username or 'this client'} has no right at {settings.broker} to: {'; '.join(missing)}. "
            "`streamcluster rights` prints what the app needs."
        )


def _allowed(admin: AdminClient, names: Sequence[str], seconds: float) -> dict[str, set[object]]:
    """What we may do with topics, by name; those of which the brokers do not say it are left out."""
    found: dict[str, set[object]] = {}
    answers: Mapping[str, Future[TopicDescription]] = admin.describe_topics(
        TopicCollection(list(names)), include_authorized_operations=True, request_timeout=seconds
    )
    for name, answer in answers.items():
        try:
            operations = answer.result().authorized_operations
        except KafkaException as error:
            if error_of(error).code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                found[name] = set()
        else:
            if operations:
                found[name] = set(operations)
    return found


def _may_read_group(settings: Settings, group: str) -> bool:
    """Ask for an offset. The refusal comes by another way than the answer, which then does not come."""
    consumer = open_client(Consumer, {**asker_config(settings), "group.id": group}, Connection(SILENT))
    deadline = time.monotonic() + min(_GROUP_SECONDS, settings.connect_timeout)
    try:
        while time.monotonic() < deadline:
            try:
                consumer.committed([TopicPartition(f"{group}-ctl", 0)], timeout=_TURN_SECONDS)
            except KafkaException:
                message = consumer.poll(0)
                error = message.error() if message is not None else None
                if error is not None and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                    return False
            else:
                return True
        # Not known: who needs it will say what is wrong.
        return True
    finally:
        consumer.close()
