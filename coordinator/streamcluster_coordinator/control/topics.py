"""The two topics that coordinators share: how they are made, and what a topic that is there already must be like.

Pure: the facts come from whoever asked the brokers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from streamcluster.settings import Settings
from streamcluster.topology import BrokerTopic, Problem, ResolvedTopic

from ..records.snapshot import control_topic, status_topic

# A coordinator that starts reads two segments at most, and the one snapshot that compaction leaves of the rest.
_CONTROL_SEGMENT_BYTES = 16 * 1024 * 1024
_STATUS_RETENTION_MS = 60 * 60 * 1000
_STATUS_SEGMENT_MS = 10 * 60 * 1000
_STATUS_SEGMENT_BYTES = 32 * 1024 * 1024
# Reports of a host with thousands of tasks; they are compressed.
STATUS_BYTES_MAX = 4 * 1024 * 1024


def control_topic_spec(app_id: str) -> ResolvedTopic:
    """The control topic as it is created."""
    return ResolvedTopic(
        name=control_topic(app_id),
        role="control",
        partitions=1,
        create=True,
        config={
            "cleanup.policy": "compact",
            "min.cleanable.dirty.ratio": "0.01",
            "segment.bytes": str(_CONTROL_SEGMENT_BYTES),
            "segment.ms": "86400000",
        },
    )


def status_topic_spec(app_id: str) -> ResolvedTopic:
    """The status topic as it is created."""
    return ResolvedTopic(
        name=status_topic(app_id),
        role="status",
        partitions=1,
        create=True,
        config={
            "cleanup.policy": "delete",
            "max.message.bytes": str(STATUS_BYTES_MAX),
            "retention.ms": str(_STATUS_RETENTION_MS),
            "segment.bytes": str(_STATUS_SEGMENT_BYTES),
            "segment.ms": str(_STATUS_SEGMENT_MS),
        },
    )


def control_topics(settings: Settings) -> list[ResolvedTopic]:
    """Both, to be created when they are missing."""
    return [control_topic_spec(settings.app_id), status_topic_spec(settings.app_id)]


def control_topic_problems(settings: Settings, facts: Mapping[str, BrokerTopic]) -> list[Problem]:
    """What is wrong with those of the two that the brokers have. facts: topics by name, with their configuration."""
    control, status = (facts.get(topic.name) for topic in control_topics(settings))
    problems: list[Problem] = []
    if control is not None:
        problems += map(_problem, _control_texts(control))
    if status is not None:
        problems += map(_problem, _status_texts(status))
    return problems


def _problem(text: str) -> Problem:
    return Problem(text=text)


def _control_texts(topic: BrokerTopic) -> Iterable[str]:
    if topic.partitions != 1:
        yield (
            f"control topic {topic.name!r} has {topic.partitions} partitions and must have 1, for all hosts agree on "
            "its order. Stop every coordinator, delete the topic, and start again: it is made anew."
        )
    policy = topic.config.get("cleanup.policy", "compact")
    if policy != "compact":
        yield (
            f"control topic {topic.name!r} has cleanup.policy={policy}, so the broker deletes who owns what with time. "
            "Set cleanup.policy=compact on it."
        )


def _status_texts(topic: BrokerTopic) -> Iterable[str]:
    if topic.partitions != 1:
        yield (
            f"status topic {topic.name!r} has {topic.partitions} partitions and must have 1. Stop every coordinator, "
            "delete the topic, and start again: it is made anew, nothing in it is needed."
        )
    policy, retention = topic.config.get("cleanup.policy", "delete"), topic.config.get("retention.ms", "")
    if "delete" not in policy or retention == "-1":
        yield (
            f"status topic {topic.name!r} has cleanup.policy={policy} and retention.ms={retention or 'unknown'}, so it "
            f"grows for ever. Set cleanup.policy=delete and retention.ms={_STATUS_RETENTION_MS} on it."
        )
