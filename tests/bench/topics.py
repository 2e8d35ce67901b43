"""The topics of a bench run and how far a group has come in them.

It decides nothing about measuring; it asks the broker.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from .clock import pause
from .orders import PARTITIONS

REQUEST_TIMEOUT_S = 30.0
# What a broker says of a group while it starts, or is busy.
_PASSING = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)
# Positions: (topic, partition) -> next offset.
Positions = dict[tuple[str, int], int]


class Topics:
    """Makes and deletes topics, and answers what they hold."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self._admin = AdminClient({"bootstrap.servers": bootstrap})

    def create(self, *names: str, partitions: int = PARTITIONS) -> None:
        """Make `names`, never cut by the broker; a topic that is there is an error."""
        new = [NewTopic(name, partitions, 1, config={"retention.ms": "-1"}) for name in names]
        for future in self._admin.create_topics(new).values():
            future.result(REQUEST_TIMEOUT_S)

    def names(self) -> list[str]:
        """All topics of the broker."""
        return sorted(self._admin.list_topics(timeout=REQUEST_TIMEOUT_S).topics)

    def delete(self, names: Sequence[str]) -> None:
        """Delete `names`, to give the disk back."""
        if names:
            for future in self._admin.delete_topics(list(names)).values():
                future.result(REQUEST_TIMEOUT_S)

    def delete_of(self, run: str) -> None:
        """Delete every topic that carries the run's name (source topics do not)."""
        self.delete([name for name in self.names() if run in name])


class Group:
    """Looks at one group's committed offsets, without being a member of it."""

    def __init__(self, bootstrap: str, group: str) -> None:
        # With read_committed the broker would answer only when no transaction is open on the offsets.
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": group,
                "enable.auto.commit": False,
                "isolation.level": "read_uncommitted",
            }
        )

    def committed(self, topics: Sequence[str]) -> Positions:
        """Next offsets as committed; 0 where nothing is."""
        asked = [TopicPartition(topic, number) for topic in topics for number in range(PARTITIONS)]
        deadline = time.monotonic() + REQUEST_TIMEOUT_S
        while (found := self._answer(asked, deadline)) is None:
            pause(0.05)
        return {(tp.topic, tp.partition): max(tp.offset, 0) for tp in found}

    def _answer(self, asked: list[TopicPartition], deadline: float) -> list[TopicPartition] | None:
        """The committed offsets; None when it may be asked again."""
        try:
            return list(self._consumer.committed(asked, timeout=REQUEST_TIMEOUT_S))
        except KafkaException as error:
            if error.args[0].code() not in _PASSING or time.monotonic() >= deadline:
                raise
            return None

    def ends(self, topics: Sequence[str]) -> Positions:
        """The end offsets of `topics`; a topic that is not there yet counts as empty."""
        return {(topic, number): self.end(topic, number) for topic in topics for number in range(PARTITIONS)}

    def end(self, topic: str, partition: int) -> int:
        """The end offset of one partition; 0 of one that is not there yet."""
        try:
            found = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=REQUEST_TIMEOUT_S)
        except KafkaException:
            return 0
        return found[1]

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close()


def wait_for_commit(group: Group, topics: Sequence[str], before: Positions, timeout_s: float) -> float:
    """Wait until the group has committed more than `before` anywhere; return the monotonic time of that."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        now = group.committed(topics)
        if any(offset > before.get(place, 0) for place, offset in now.items()):
            return time.monotonic()
        pause(0.01)
    raise RuntimeError(f"nothing was committed in {', '.join(topics)} within {timeout_s:.0f} s.")
