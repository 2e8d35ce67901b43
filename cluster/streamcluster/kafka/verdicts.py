"""What an error of Kafka means: one verdict per error, and an exception per thing to do next.

Pure: errors are looked at through the few methods below, so every verdict can be tested without a broker.
"""

from __future__ import annotations

from typing import Literal, Protocol

from ..causes import cause_in
from ..errors import BrokerUnreachable, ConfigurationError, Fenced, StreamclusterError, UnreadableBatch

Verdict = Literal["retriable", "fenced", "reset", "unreachable", "config", "missing", "refused", "unreadable"]
"""
retriable: make the same call again; fenced: another owner took over, end; reset: close every handle, go back to the
committed offsets (I3); unreachable: as reset, once brokers answer; config: no restart helps; missing: a topic,
partition or position is gone; refused: the brokers do not take a record (too large): as reset, and its event is looked
for; unreadable: the client cannot unpack a batch of records: ask for what is behind it.
"""


class ErrorFacts(Protocol):
    """The part of confluent_kafka.KafkaError that verdicts need."""

    def name(self) -> str:
        """The symbolic name, such as _FENCED."""
        ...

    def str(self) -> str:
        """The text."""
        ...

    def fatal(self) -> bool:
        """The handle is of no use any more."""
        ...

    def retriable(self) -> bool:
        """The same call may be made again."""
        ...

    def txn_requires_abort(self) -> bool:
        """The transaction cannot be committed."""
        ...


class ResetNeeded(StreamclusterError):
    """A commit did not happen, or nobody knows whether it did: close all, open anew, start from the committed ones."""

    def __init__(self, what: str, verdict: Verdict, reason: str) -> None:
        then = "Going back to the last committed offsets with new connections"
        if verdict == "missing":
            then = "Was the topic deleted? It must be made again, with the same partitions"
            if any(name in reason for name in _NO_OFFSET):
                then = (
                    "The records there are gone: deleted by retention, or with the topic. What was passed is said next"
                )
        super().__init__(f"{what}: {reason}. {then}.")
        self.verdict = verdict
        self.reason = reason


class RecordRefused(ResetNeeded):
    """A record cannot be written, however often it is tried: too large, or its partition does not exist."""

    def __init__(self, topic: str, key: bytes | None, reason: str) -> None:
        super().__init__(f"A record for topic {topic} with key {key!r} was refused", "refused", reason)
        self.topic = topic
        self.key = key


_TAKEN_OVER = frozenset({"_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH"})
# INVALID_PRODUCER_ID_MAPPING: the id was forgotten after idle days, or forgotten and then taken by another owner; we
# cannot tell, so it counts as fenced (H10 in tests/coordinator/test_holes.py).
_FENCED = _TAKEN_OVER | {"INVALID_PRODUCER_ID_MAPPING"}
# Another broker leads or coordinates now, or is about to.
_MOVED = frozenset(
    {
        "BROKER_NOT_AVAILABLE",
        "COORDINATOR_LOAD_IN_PROGRESS",
        "COORDINATOR_NOT_AVAILABLE",
        "FENCED_LEADER_EPOCH",
        "LEADER_NOT_AVAILABLE",
        "NOT_CONTROLLER",
        "NOT_COORDINATOR",
        "NOT_LEADER_FOR_PARTITION",
        "OFFSET_NOT_AVAILABLE",
        "REQUEST_TIMED_OUT",
        "UNKNOWN_LEADER_EPOCH",
        # The client forgot the broker, which had left the cluster.
        "_DESTROY_BROKER",
    }
)
_REFUSED = frozenset({"MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE", "INVALID_RECORD", "INVALID_TIMESTAMP"})
# A batch that unpacks to more than the client takes, is malformed, or is of a kind that the client does not know.
_UNREADABLE = frozenset({"_BAD_COMPRESSION", "_BAD_MSG", "_NOT_IMPLEMENTED"})
_MISSING = frozenset(
    {
        "UNKNOWN_TOPIC_OR_PART",
        "UNKNOWN_TOPIC_ID",
        "INCONSISTENT_TOPIC_ID",
        "_UNKNOWN_TOPIC",
        "_UNKNOWN_PARTITION",
        "_AUTO_OFFSET_RESET",
        "_NOENT",
        "OFFSET_OUT_OF_RANGE",
        "_LOG_TRUNCATION",
    }
)
# Of those: the topic is there, and not the records.
_NO_OFFSET = ("_AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE", "_LOG_TRUNCATION")
_CONFIG = frozenset(
    {
        "_AUTHENTICATION",
        "_INVALID_ARG",
        "_SSL",
        "_UNSUPPORTED_FEATURE",
        "CLUSTER_AUTHORIZATION_FAILED",
        "GROUP_AUTHORIZATION_FAILED",
        "TOPIC_AUTHORIZATION_FAILED",
        "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
        "SASL_AUTHENTICATION_FAILED",
        "INVALID_TRANSACTION_TIMEOUT",
        "INVALID_CONFIG",
        "OFFSET_METADATA_TOO_LARGE",
        "UNSUPPORTED_VERSION",
        "UNSUPPORTED_COMPRESSION_TYPE",
        "NON_EMPTY_GROUP",
    }
)
_UNREACHABLE = frozenset(
    {"_ALL_BROKERS_DOWN", "_TRANSPORT", "_RESOLVE", "_TIMED_OUT", "_TIMED_OUT_QUEUE", "_MSG_TIMED_OUT"}
)


def classify(error: ErrorFacts) -> Verdict:
    """Say what to do about `error`. What is not known is "reset", which is always safe (I3)."""
    name = error.name()
    for names, verdict in _TABLE:
        if name in names:
            return verdict
    if error.txn_requires_abort() or error.fatal():
        return "reset"
    if error.retriable() or name in _MOVED:
        return "retriable"
    return "unreachable" if name in _UNREACHABLE else "reset"


def is_taken_over(error: ErrorFacts) -> bool:
    """Whether another owner of the transactional id is why: "fenced" may also be an id that brokers forgot."""
    return error.name() in _TAKEN_OVER


def is_silence(error: ErrorFacts) -> bool:
    """Whether it says that no answer came."""
    return error.name() in _UNREACHABLE


_TABLE: tuple[tuple[frozenset[str], Verdict], ...] = (
    (_FENCED, "fenced"),
    (_CONFIG, "config"),
    (_REFUSED, "refused"),
    (_MISSING, "missing"),
    (_UNREADABLE, "unreadable"),
)


def client_error(error: ErrorFacts) -> StreamclusterError:
    """The exception for a client that cannot be made: the machine gives too little, or the settings are wrong."""
    what = "Making a Kafka client"
    if (cause := cause_in(error.str())) is not None:
        return ConfigurationError(f"{what}: {cause} ({error.str()}).")
    if classify(error) == "config":
        return ConfigurationError(
            f"the Kafka client does not take its configuration: {error.str()}. Check broker_options, sasl_* and ssl_*."
        )
    return error_for(what, error)


def error_for(what: str, error: ErrorFacts) -> StreamclusterError:
    """The exception for a failed call.

    Args:
        what: what was tried, as the start of a sentence.
        error: Kafka's error.
    """
    reason = f"{error.str()} ({error.name()})"
    verdict = classify(error)
    match verdict:
        case "fenced":
            return Fenced(f"{what}: another owner took over this transactional id: {reason}. This process must end.")
        case "config":
            return ConfigurationError(f"{what}: the brokers or librdkafka refuse it: {reason}. Check settings, rights.")
        case "unreadable":
            return UnreadableBatch(f"{what}: records that the Kafka client cannot unpack: {reason}.")
        case "retriable" if error.name() not in _UNREACHABLE:
            # Its retries are used up, or nobody would ask for an exception: brokers that have just come back and load
            # their state, for example.
            return BrokerUnreachable(f"{what}: the brokers are not ready: {reason}.")
        case "retriable" | "unreachable":
            return BrokerUnreachable(f"{what}: no broker answers: {reason}.")
        case _:
            return ResetNeeded(what, verdict, reason)
