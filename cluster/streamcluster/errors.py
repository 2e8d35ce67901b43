"""Errors, one class per "who must act", with what they are about in attributes.

Operator: ConfigurationError, BrokerUnreachable, StateIncompatible. User code: AppError, NotOffered, Skip. Peer: Fenced.
Nobody: TryAgain. Each names the exit code that a process ends with when nobody handles it (docs/running.md).
"""

from __future__ import annotations

from enum import IntEnum

from .printable import repr_of, text_of

# How much of a key is shown in a message.
KEY_CHARS_MAX = 100


class ExitCode(IntEnum):
    """What a `streamcluster` process tells its parent when it ends."""

    DRAINED = 0
    USAGE = 2
    STATE_INCOMPATIBLE = 65
    BROKER_UNREACHABLE = 69
    CRASH_LOOP = 70
    TEMPORARY_FAILURE = 75
    FENCED = 76
    CONFIGURATION = 78


class StreamclusterError(Exception):
    """The root of every error raised on purpose."""

    exit_code = ExitCode.CRASH_LOOP


class ConfigurationError(StreamclusterError):
    """A setting, topic or state directory is wrong; a restart does not help, the operator must act."""

    exit_code = ExitCode.CONFIGURATION


class AppError(ConfigurationError):
    """The app's own code is wrong: it does not import, declares a thing twice, uses a table where it cannot be used."""


class NotOffered(AppError):
    """A name that Faust has and streamcluster does not have yet; the text says why and what to do instead."""


class BrokerUnreachable(StreamclusterError):
    """No broker answered within the connect time-out."""

    exit_code = ExitCode.BROKER_UNREACHABLE


class StateIncompatible(StreamclusterError):
    """Local or remote state belongs to another app, cluster, partition count or kind of windows."""

    exit_code = ExitCode.STATE_INCOMPATIBLE


class TryAgain(StreamclusterError):
    """What was asked for is on its way from one worker to another, or whoever has it did not answer in time."""

    exit_code = ExitCode.TEMPORARY_FAILURE


class Fenced(StreamclusterError):
    """Another coordinator of the same app took over; nothing this process does can be committed any more."""

    exit_code = ExitCode.FENCED


class DecodeError(StreamclusterError):
    """A key or value is not what its type and codec say (the peer that wrote it must act)."""


class UnreadableBatch(DecodeError):
    """Records that the Kafka client cannot unpack: more than 100 MB in a batch, or no records at all."""


class UnreadableHeaders(DecodeError):
    """A header's name is not UTF-8, so the Kafka client cannot read any header of the record."""


class ValidationError(DecodeError):
    """A value decodes but does not fit its model: a missing field, a wrong type."""


class UnencodableEntry(StreamclusterError):
    """What an event put into a table cannot be committed: its codec refuses it, or the changelog does not take it."""

    def __init__(self, table: str, key: object, error: BaseException, *value: object) -> None:
        """value: nothing when it is the key that is refused."""
        which = f", value of type {type(value[0]).__name__}" if value else ""
        super().__init__(f"table {table!r}, key {_shown(key)} of type {type(key).__name__}{which}: {_why(error)}")
        self.table = table
        self.key = key


class UnsendableRecord(StreamclusterError):
    """What an event sends is not what the readers of its topic would get: it is refused where it is sent."""

    def __init__(self, topic: str, part: str, key: object, value: object, error: BaseException) -> None:
        """part: "key" or "value"."""
        what = value if part == "value" else key
        super().__init__(f"topic {topic!r}, key {_shown(key)}: its {part} of type {type(what).__name__}: {_why(error)}")
        self.topic = topic
        self.key = key


class UndecodableRow(StreamclusterError):
    """A row of a table is not what the table holds now: of an older version of the app, or written by somebody else."""

    def __init__(self, table: str, key: str, reason: str) -> None:
        """reason: why, with the row's bytes."""
        super().__init__(
            f"table {table!r}, key {key}: its row cannot be read: {reason}. An app that has changed the table's types "
            "gives the table migrate=, a function from old rows to new values"
        )
        self.table = table


def _why(error: BaseException) -> str:
    """What refuses a value says in words why; of anything else that a codec raises the class says more."""
    return text_of(error) if isinstance(error, (TypeError, ValueError, StreamclusterError)) else repr_of(error)


def _shown(key: object) -> str:
    shown = repr_of(key)
    return shown if len(shown) <= KEY_CHARS_MAX else f"{shown[:KEY_CHARS_MAX]}... ({len(shown)} characters)"


class CommitRefused(StreamclusterError):
    """Kafka does not take a record that an event sent, however often it is tried: it is too large, for example."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Kafka refused a record: {reason}")


class KilledWorker(StreamclusterError):
    """An event that the worker's process did not survive, also when it was tried alone. why: how the process ended."""

    def __init__(self, why: str) -> None:
        super().__init__(f"killed the worker twice: {why}")


class TooLate(StreamclusterError):
    """Something that an agent started beside its events sends a record when the agent's task is closed."""

    def __init__(self, topic: str) -> None:
        super().__init__(
            f"a record for topic {topic!r} is refused: a background task or thread sends it after the agent that "
            "started it has ended here (its task went to another worker, or the worker ends), so no commit would carry "
            "it. Await the work inside of the agent's loop, or do it in an @app.task."
        )
        self.topic = topic


class NoEventInHand(StreamclusterError):
    """Something that an agent started beside its events wrote a table when the agent was at no event."""

    def __init__(self, table: str, key: object, owner: str) -> None:
        super().__init__(
            f"table {table!r}, key {_shown(key)}: a background task or thread of {owner} writes it "
            f"while {owner} is at no event, so no commit would carry that: it is refused. Await the work inside of the "
            "loop, before the next event, or send an event to an agent that writes the table."
        )
        self.table = table
        self.key = key


class ReadOnlyTable(StreamclusterError):
    """An agent writes a table that has no changelog beside the topic that it is made of."""

    def __init__(self, table: str, key: object) -> None:
        super().__init__(
            f"table {table!r}, key {_shown(key)}: it is what its topic says, and that is its changelog too, so agents "
            "cannot write it, nor change its values in place: send to the topic instead. With changelog_topic= it has "
            "a changelog of its own, and anybody may write it."
        )
        self.table = table
        self.key = key


class CallbackFailed(Exception):
    """A function that the app has for one of its signals, or for `on_recover`, raised: its text says which."""


class WillNotEnd(Exception):
    """User code goes on though it was cancelled: only the end of its process ends it, and another takes over."""


class ImproperlyConfigured(ConfigurationError):
    """Faust's name for a wrong declaration."""


class Skip(Exception):
    """Raised by a processor to drop the current event."""
