"""What clients hear of the brokers, and what to do when they hear nothing: another client.

When a client is told of no broker at all, as by a lone one that was paused and is fenced still, it may drop every
address that it has, and be deaf for good without a word (librdkafka issue 5301, open in 2.16). Who hears nothing for
QUIET_SECONDS where there may be something sees to it that it is not that.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from ..errors import BrokerUnreachable, ConfigurationError
from .verdicts import classify

_Client = TypeVar("_Client", Producer, Consumer)

QUIET_SECONDS = 10.0
_log = logging.getLogger("streamcluster.kafka")
# A broker that is gone is tried many times a second; the log hears of it this often.
_REPEAT_SECONDS = 10.0
_MISSING_SECONDS = 25.0
# A broker that is just starting may refuse for a moment; who is refused for so long, and has no answer, is refused.
REFUSED_SECONDS = 2.0
# Its token endpoint does not answer, which may pass: the brokers have refused nothing yet.
_NO_TOKEN = "Failed to acquire"
_HINTS = {
    "_AUTHENTICATION": "Check sasl_mechanism, the user and the password (sasl_username, sasl_password_file)",
    "_SSL": (
        "Check ssl_ca_location (who signed the brokers' certificates), the client's certificate if they ask for one, "
        "and that this port speaks TLS (broker_security_protocol)"
    ),
}


def _silent_logger() -> logging.Logger:
    """For a client's own lines: it calls it fatal that a leader is fenced, and says so on stderr at any log_level."""
    logger = logging.getLogger("streamcluster.kafka.silent")
    logger.disabled = True
    return logger


SILENT = _silent_logger()


class Connection:
    """What librdkafka's threads say about the brokers; given to every client, read for `status`.

    logger: where that is said, now and then; SILENT: the errors of questions say enough.
    """

    __slots__ = ("_missing", "_missing_at", "_refusal", "_refused_at", "_said_at", "down_since", "last_error", "logger")

    def __init__(self, logger: logging.Logger = _log) -> None:
        self.logger = logger
        # time.monotonic() when all brokers went away; None while at least one is there.
        self.down_since: float | None = None
        self.last_error: str | None = None
        # What librdkafka last said of a topic that is gone, and when: it says so at each look, every 10 s.
        self._missing: str | None = None
        self._missing_at = float("-inf")
        self._said_at = float("-inf")
        # The first refusal to let us in since an answer, and when, time.monotonic().
        self._refusal: KafkaError | None = None
        self._refused_at = 0.0

    def error_cb(self, error: KafkaError) -> None:
        """librdkafka's error callback: it heals these itself, so this keeps the news and says it now and then."""
        now, name, text = time.monotonic(), error.name(), error.str()
        all_down = name == "_ALL_BROKERS_DOWN"
        # That all are down is said after each reason, and is none.
        if not all_down or self.last_error is None:
            self.last_error = text
        if all_down and self.down_since is None:
            self.down_since = now
        if name in _HINTS and _NO_TOKEN not in text and self._refusal is None:
            self._refusal, self._refused_at = error, now
        if classify(error) == "missing":
            self._missing = text = f"{text}. Was the topic deleted? It must be made again, with the same partitions"
            self._missing_at = now
        if now - self._said_at >= _REPEAT_SECONDS:
            self._said_at = now
            self.logger.warning("Kafka: %s; trying again", text)

    def missing(self) -> str | None:
        """That a topic is gone, as long as librdkafka keeps saying so."""
        return self._missing if time.monotonic() - self._missing_at < _MISSING_SECONDS else None

    def answered(self) -> None:
        """A broker answered: to be called after a fetch with records or a commit."""
        self.down_since = self._refusal = None

    def refusal(self, where: str, patience: float = REFUSED_SECONDS) -> ConfigurationError | None:
        """Why the brokers at `where` do not let us in, once that has been so for `patience` seconds."""
        if self._refusal is None or time.monotonic() < self._refused_at + patience:
            return None
        return ConfigurationError(
            f"the brokers at {where} were found, but do not let us in: {self._refusal.str()}. "
            f"{_HINTS[self._refusal.name()]}."
        )

    def unreachable(self, where: str, seconds: float, last: KafkaError) -> BrokerUnreachable:
        """Nobody answered at `where` within so many seconds; `last` is how the last question ended."""
        return BrokerUnreachable(
            f"no Kafka broker answered at {where} within {seconds:g} s ({self.last_error or last.str()}). Start "
            "one (`streamcluster broker`), or say where it is (--broker kafka://HOST:PORT)."
        )


class Silence:
    """For how long nothing was heard."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        # time.monotonic() when something was heard last, or when listening began.
        self._since = time.monotonic()

    def broken(self) -> None:
        """Something was heard, or there was nothing to hear."""
        self._since = time.monotonic()

    @property
    def is_long(self) -> bool:
        """It is time to look whether anything can be heard."""
        return time.monotonic() - self._since >= QUIET_SECONDS


class Replaceable(Generic[_Client]):
    """A client that is opened when it is needed, and dropped for another one when it may be deaf. For one thread."""

    __slots__ = ("_open", "client", "silence")

    def __init__(self, open_one: Callable[[], _Client]) -> None:
        """Nothing is opened yet."""
        self._open: Callable[[], _Client] = open_one
        self.client: _Client | None = None
        self.silence = Silence()

    def get(self) -> _Client:
        """The one that is open; or a new one, whose silence begins now."""
        if self.client is None:
            self.client = self._open()
            self.silence.broken()
        return self.client

    def heard(self) -> None:
        """It has brought something, or there was nothing to bring."""
        self.silence.broken()

    @property
    def is_quiet(self) -> bool:
        """There is one, and nothing was heard of it for so long that it may be deaf."""
        return self.client is not None and self.silence.is_long

    def drop(self) -> None:
        """Let go of it; a consumer is closed, which takes a moment. The next `get` opens another one."""
        client, self.client = self.client, None
        if isinstance(client, Consumer):
            client.close()


def is_answered(client: Producer | Consumer, topic: str, timeout: float) -> bool:
    """Whether a broker answers this client within `timeout` seconds; of one topic, since of all it may be much."""
    try:
        client.list_topics(topic, timeout=timeout)
    except KafkaException:
        return False
    return True
