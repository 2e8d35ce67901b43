"""What the brokers take of a record, checked where the record is sent: in the event that sends it.

A record that is refused at the commit fails everything in that commit, and nobody can tell whose it was. Pure but for
the clock, which is read for records that bring a timestamp of their own.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from ..output import AT_COMMIT, NO_TIMESTAMP, NOT_AT_COMMIT
from ..settings import Settings
from . import ResolvedTopic

logger = logging.getLogger("streamcluster")
_EVER_MS = 2**63 - 1
# A timestamp is older by so much when the broker looks at it.
_UNTIL_COMMIT_MS = 60_000
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
        wanted = round(timestamp * 1000)
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
        return wanted or NOT_AT_COMMIT


class CarriedTime:
    """The timestamps that records bring along to one topic: kept wherever the topic takes them.

    A record is not refused for a time that its sender did not choose: one that the topic does not take is replaced by
    that of the commit, and the log says so once.
    """

    __slots__ = ("_limits", "_said", "_topic", "sure")

    def __init__(self, topic: str, limits: TopicLimits) -> None:
        self._topic = topic
        self._limits = limits
        self._said = False
        is_bound = limits.ahead_ms_max is not None or limits.behind_ms_max is not None
        # Up to there no clock need be asked. What is ahead enough once stays so; what is behind does not.
        self.sure = -_EVER_MS if is_bound else _EVER_MS

    def of(self, milliseconds: int) -> int:
        """The timestamp to send instead of this one, which is often the same. Up to `sure` there is no need to ask."""
        if milliseconds <= self.sure:
            return milliseconds
        limits, now = self._limits, int(time.time() * 1000)
        ahead = _EVER_MS if limits.ahead_ms_max is None else limits.ahead_ms_max
        behind = _EVER_MS if limits.behind_ms_max is None else limits.behind_ms_max - _UNTIL_COMMIT_MS
        if limits.behind_ms_max is None:
            self.sure = now + ahead
        if milliseconds in (AT_COMMIT, NO_TIMESTAMP) or -behind <= milliseconds - now <= ahead:
            return milliseconds
        if not self._said:
            self._said = True
            name = "after" if milliseconds > now else "before"
            logger.warning(
                "topic %s does not take the timestamp %d ms of an event, %.0f s from now: what is sent there of such "
                "events has the time of the commit instead. Raise message.timestamp.%s.max.ms of the topic to keep it",
                *(self._topic, milliseconds, abs(milliseconds - now) / 1000, name),
            )
        return AT_COMMIT

    def of_run(self, milliseconds: list[int]) -> list[int]:
        """The same for those of a run as its records have them; most need not be looked at."""
        if (self.sure >= _EVER_MS or max(milliseconds) <= self.sure) and 0 not in milliseconds:
            return milliseconds
        return [self.of(one or NOT_AT_COMMIT) for one in milliseconds]


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
