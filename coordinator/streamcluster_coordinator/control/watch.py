"""Whether the control topic is still the one that was there first: its id, asked for now and then, without waiting.

A topic that was deleted, or deleted and made anew, must stop everybody (H17); a broker that is away must stop nobody.
"""

from __future__ import annotations

import time
from concurrent.futures import Future

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, TopicDescription  # type: ignore[attr-defined]  # its stub forgets it

from streamcluster.kafka.opening import error_of

# One small request. A reader's fetches do not fail when their topic is deleted: librdkafka waits for it to come back.
_EVERY_SECONDS = 5.0
_IN_DOUBT_SECONDS = 0.5
_ANSWER_SECONDS = 5.0
# A broker that has just started may not know yet what it will know in a moment.
_GONE_SECONDS = 3.0


class TopicWatch:
    """Of one topic; for one thread."""

    __slots__ = ("_admin", "_asked", "_doubted", "_due", "_gone_since", "_lost", "_topic", "_topic_id")

    def __init__(self, admin: AdminClient, topic: str) -> None:
        self._admin = admin
        self._topic = topic
        # As first answered; None: not yet.
        self._topic_id: str | None = None
        self._asked: Future[TopicDescription] | None = None
        # When to ask next, time.monotonic(). Others ask first; we compare.
        self._due = 0.0
        self._doubted = False
        # Since when the brokers say that there is no such topic; None: they do not.
        self._gone_since: float | None = None
        # Why the log cannot be read on, if it is still the same topic.
        self._lost: str | None = None

    def doubt(self) -> None:
        """Something was odd: ask soon. May be called from other threads."""
        self._doubted = True

    def lost(self, reason: str) -> None:
        """The position is not in the log any more: ask soon whether that is because it is another topic."""
        self._lost = reason
        self._doubted = True

    def look(self) -> str | None:
        """Ask if it is time, take an answer if there is one. Returns why the topic must not be used any more, or None.

        Does not wait.
        """
        now = time.monotonic()
        if self._asked is not None and self._asked.done():
            answer, self._asked = self._asked, None
            self._due = now + _EVERY_SECONDS
            if (reason := self._judge(answer, now)) is not None:
                return reason
            if self._gone_since is not None or self._lost is not None:
                self._due = now + _IN_DOUBT_SECONDS
        if self._asked is None and (self._doubted or now >= self._due):
            self._doubted = False
            self._asked = describe(self._admin, self._topic, _ANSWER_SECONDS)
        return None

    def _judge(self, answer: Future[TopicDescription], now: float) -> str | None:
        try:
            found = str(answer.result().topic_id)
        except KafkaException as error:
            if error_of(error).code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                # Nobody answers, or nobody may: that says nothing of the topic.
                return None
            self._gone_since = now if self._gone_since is None else self._gone_since
            if now < self._gone_since + _GONE_SECONDS:
                return None
            return (
                f"topic {self._topic!r} is gone: was it deleted? Stop every coordinator of the app, and start again: "
                "it is made anew, and who owns what is decided anew."
            )
        self._gone_since = None
        if self._topic_id is not None and found != self._topic_id:
            return (
                f"topic {self._topic!r} was deleted and made anew while this coordinator ran (its id was "
                f"{self._topic_id} and is {found}). Stop every coordinator of the app, delete the topic, and start "
                "again."
            )
        self._topic_id = found
        if self._lost is not None:
            return (
                f"topic {self._topic!r} lost records that had been read ({self._lost}): an unclean leader election, or "
                "records that were deleted by hand. Stop every coordinator of the app, and start again."
            )
        return None


def describe(admin: AdminClient, topic: str, seconds: float) -> Future[TopicDescription]:
    """Ask what the brokers know of a topic; the client itself ends the future after so many seconds."""
    answer: Future[TopicDescription] = admin.describe_topics(TopicCollection([topic]), request_timeout=seconds)[topic]
    return answer
