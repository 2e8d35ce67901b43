"""What the brokers take of a record, checked where the record is sent: in the event that sends it.

A record that is refused at the commit fails everything in that commit, and nobody can tell whose it was. Pure but for
the clock, which is read for records that bring a timestamp of their own.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from .settings import Settings
from .topology import ResolvedTopic

# Room for what a batch has around one record.
BATCH_OVERHEAD_BYTES = 512
# What a dead letter has on top of a record of any size: why and where.
DEAD_LETTER_BYTES_MAX = 256 * 1024


@dataclass(frozen=True, slots=True)
class TopicLimits:
    """Bounds of one topic. None: not known. record_bytes_max: of key, value and headers together.

    ahead_ms_max, behind_ms_max: how far a timestamp may be from the broker's clock.
    """

    record_bytes_max: int
    partitions: int | None = None
    ahead_ms_max: int | None = None
    behind_ms_max: int | None = None

    def check_size(self, topic: str, size: int) -> None:
        """Raise ValueError when a record of `size` bytes is more than the topic takes."""
        if size > self.record_bytes_max:
            raise ValueError(
                f"a record of {size} bytes is more than topic {topic!r} takes ({self.record_bytes_max}); raise the "
                "topic's max.message.bytes and the setting producer_max_request_size, or send less."
            )

    def check_partition(self, topic: str, partition: object) -> None:
        """Raise ValueError when the topic does not have this partition."""
        most = "" if self.partitions is None else f" to {self.partitions - 1}"
        if (
            type(partition) is not int
            or partition < 0
            or (self.partitions is not None and partition >= self.partitions)
        ):
            raise ValueError(f"topic {topic!r} has the partitions 0{most}, not {partition!r}.")

    def milliseconds(self, topic: str, timestamp: float) -> int:
        """A timestamp in seconds as Kafka takes it. Raises ValueError when the topic does not take it."""
        wanted = int(timestamp * 1000)
        if self.ahead_ms_max is not None or self.behind_ms_max is not None:
            ahead = wanted - int(time.time() * 1000)
            for distance, most, name in (
                (ahead, self.ahead_ms_max, "message.timestamp.after.max.ms"),
                (-ahead, self.behind_ms_max, "message.timestamp.before.max.ms"),
            ):
                if most is not None and distance > most:
                    raise ValueError(
                        f"the timestamp {timestamp!r} is {distance / 1000:.0f} s from now, and topic {topic!r} takes "
                        f"{most / 1000:.0f}: raise {name} of the topic, or send another timestamp."
                    )
        # librdkafka takes 0 for "now".
        return wanted or 1


def limits_of(settings: Settings, topic: ResolvedTopic | None = None) -> TopicLimits:
    """The limits of a topic; without one, those that the settings imply."""
    most = settings.producer_max_request_size
    if topic is None:
        return TopicLimits(max(1, most - BATCH_OVERHEAD_BYTES))
    if topic.message_bytes_max is not None:
        most = min(most, topic.message_bytes_max)
    return TopicLimits(
        record_bytes_max=max(1, most - BATCH_OVERHEAD_BYTES),
        partitions=topic.partitions,
        ahead_ms_max=topic.ahead_ms_max,
        behind_ms_max=topic.behind_ms_max,
    )


def letter_bytes_max(settings: Settings, topic: ResolvedTopic | None) -> int:
    """How large a dead letter may be, with everything in it."""
    most = settings.producer_max_request_size + DEAD_LETTER_BYTES_MAX
    if topic is not None and topic.message_bytes_max is not None:
        most = min(most, topic.message_bytes_max)
    return most - BATCH_OVERHEAD_BYTES
