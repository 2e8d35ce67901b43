"""The first contact with the brokers: an admin client that has an answer, or an error that says who must act.

Whoever is refused (a wrong password, an unknown CA) must not read "no broker answered". It knows no topic and no app.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import cast

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata  # type: ignore[attr-defined]  # its stub forgets it

from streamcluster.errors import BrokerUnreachable, ConfigurationError

# One question to a broker; a call in C cannot be interrupted by Ctrl-C, so it is asked in short turns.
TURN_SECONDS = 1.0
# A broker that is just starting may refuse for a moment; who is refused for so long, and has no answer, is refused.
REFUSED_SECONDS = 2.0
# Its token endpoint does not answer, which may pass: the brokers have refused nothing yet.
_NO_TOKEN = "Failed to acquire"
_HINTS = {
    KafkaError._AUTHENTICATION: "Check sasl_mechanism, the user and the password (sasl_username, sasl_password_file)",
    KafkaError._SSL: (
        "Check ssl_ca_location (who signed the brokers' certificates), the client's certificate if they ask for one, "
        "and that this port speaks TLS (broker_security_protocol)"
    ),
}


class News:
    """What librdkafka's threads say while nobody has an answer."""

    __slots__ = ("_last", "_refusal", "_refused_at")

    def __init__(self) -> None:
        self._last = ""
        self._refusal: KafkaError | None = None
        self._refused_at = 0.0

    def error_cb(self, error: KafkaError) -> None:
        """To be called for each error of the client."""
        if error.code() in _HINTS and _NO_TOKEN not in error.str() and self._refusal is None:
            self._refusal, self._refused_at = error, time.monotonic()
        # That all brokers are down is said after each reason, and is none.
        if error.code() != KafkaError._ALL_BROKERS_DOWN or not self._last:
            self._last = error.str()

    def unreachable(self, error: KafkaException, where: str, seconds: float) -> BrokerUnreachable:
        """Nobody answered within so many seconds; `error` is how the last question ended."""
        return BrokerUnreachable(
            f"no Kafka broker answered at {where} within {seconds:g} s ({self._last or error.args[0].str()}). Start "
            "one (`streamcluster broker`), or say where it is (--broker kafka://HOST:PORT)."
        )

    def refusal(self, where: str, patience: float = REFUSED_SECONDS) -> ConfigurationError | None:
        """Why we are not let in, once that has been so for `patience` seconds."""
        if self._refusal is None or time.monotonic() < self._refused_at + patience:
            return None
        return ConfigurationError(
            f"the brokers at {where} were found, but do not let us in: {self._refusal.str()}. "
            f"{_HINTS[self._refusal.code()]}."
        )


def make_admin(config: Mapping[str, object], news: News | None = None) -> AdminClient:
    """An admin client that writes nothing to stderr. (The library's stub does not know of callbacks.)

    Raises:
        ConfigurationError: librdkafka does not take the configuration.
    """
    try:
        whole = {**config, "log_level": 0, "error_cb": (news or News()).error_cb}
        return cast(Callable[[Mapping[str, object]], AdminClient], AdminClient)(whole)
    except KafkaException as error:
        raise ConfigurationError(
            f"the Kafka client does not take its configuration: {error.args[0].str()}. Check broker_options, sasl_* "
            "and ssl_*."
        ) from error


def first_answer(admin: AdminClient, news: News, where: str, seconds: float) -> ClusterMetadata:
    """Wait until a broker answers; return what it says of the cluster.

    Raises:
        BrokerUnreachable: none did within `seconds` (the operator).
        ConfigurationError: they do not let us in.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return admin.list_topics(timeout=max(0.05, min(TURN_SECONDS, deadline - time.monotonic())))
        except KafkaException as error:
            # Its callbacks run here.
            admin.poll(0)
            over = time.monotonic() >= deadline
            refusal = news.refusal(where, 0.0 if over else REFUSED_SECONDS)
            if refusal is not None:
                raise refusal from error
            if over:
                raise news.unreachable(error, where, seconds) from error
