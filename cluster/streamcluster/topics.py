"""Topic: a description of Kafka topics with their codecs. It does no I/O: sends go to the current outbox."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, NoReturn

from .changelogs import ChangelogRead
from .codecs.coding import EXPLAIN_BYTES_MAX, make_decoder, make_encoder, text_hint
from .codecs.table_coding import make_table_coder
from .current import current_outbox, cursor_var, outbox_var
from .errors import AppError, NotOffered, UnsendableRecord
from .faust_names import TOPIC, names_what_is_missing
from .headers import Headers, header_pairs, headers_size
from .output import AT_COMMIT, BY_KEY, OutputRecord, Pairs
from .settings import Settings
from .topology.limits import CarriedTime, TopicLimits, limits_of

logger = logging.getLogger("streamcluster")
# Bound once: for each record that is sent they are called twice as fast so.
_outbox_here, _cursor_here = outbox_var.get, cursor_var.get


class Sent:
    """What `await topic.send(...)` returns: the record is in the outbox, and part of the next commit.

    Unlike Faust's it cannot be awaited: the record is delivered by the commit of the event that sent it, and that
    commit waits for the event. Waiting here would wait for ever.
    """

    __slots__ = ()

    def __await__(self) -> NoReturn:
        raise NotOffered(
            "awaiting the delivery of a record is not possible: it is delivered by the commit of the event "
            "that sent it, and the commit waits for the event. The record is safe once send() returned."
        )


SENT = Sent()


@dataclass(slots=True)
class Coders:
    """The compiled codecs of one topic under the settings of one app, and what the topic takes of a record."""

    decode_key: Callable[[bytes], Any]
    decode_value: Callable[[bytes], Any]
    encode_key: Callable[[Any], bytes | None]
    encode_value: Callable[[Any], bytes | None]
    limits: TopicLimits
    carried: CarriedTime
    # What is asked of both for each record that is sent.
    name: str
    record_bytes_max: int
    # What to say, once, when a value does not decode.
    hint: str | None = None


@names_what_is_missing(TOPIC, "topic")
@dataclass(slots=True, eq=False)
class Topic:
    """Made by `app.topic(...)`; the parameters are described there."""

    names: tuple[str, ...]
    pattern: str | None = None
    key_type: Any = None
    value_type: Any = None
    key_serializer: Any = None
    value_serializer: Any = None
    partitions: int | None = None
    retention: float | timedelta | None = None
    compacting: bool | None = None
    deleting: bool | None = None
    replicas: int | None = None
    internal: bool = False
    config: dict[str, str] = field(default_factory=dict)
    on_produce: Callable[..., None] | None = None
    # Of the topics that group_by makes: keys of any type come back, written as those of tables are.
    keeps_keys: bool = False
    # Of those that are before another join, a batch or a task: values of any type come back, as those of tables do.
    keeps_values: bool = False
    # Of its event time, in seconds; None: as the settings say.
    max_out_of_orderness: float | None = None
    max_ahead: float | None = None
    idle_timeout: float | None = None
    # It is the changelog of a table, which has its name when the app is started; None: it is a topic as others.
    changelog: ChangelogRead | None = None
    _coders: Coders | None = None

    @property
    def name(self) -> str:
        """The first name: where sends go."""
        if not self.names:
            raise AppError(f"a topic made with pattern={self.pattern!r} can be read but not sent to: it has no name.")
        return self.names[0]

    def get_topic_name(self) -> str:
        """Faust's spelling of `name`."""
        return self.name

    def is_named(self, name: str) -> None:
        """It has this name, as is known when the app is started."""
        self.names = (name,)

    def keyed_as(self, other: Topic) -> None:
        """Its keys are written as those of the other one: what is called before the app is started."""
        self.key_type, self.key_serializer, self.keeps_keys = other.key_type, other.key_serializer, other.keeps_keys

    def valued_as(self, other: Topic) -> None:
        """Its values are written as those of the other one: what is called before the app is started."""
        self.value_type, self.value_serializer = other.value_type, other.value_serializer

    def keep_values(self) -> None:
        """Values of any type come back from it: what is called before the app is started."""
        self.value_type = self.value_serializer = None
        self.keeps_values = True

    def covers(self, name: str) -> bool:
        """Whether this declares the topic of that name."""
        return name in self.names if self.pattern is None else re.fullmatch(self.pattern, name) is not None

    @property
    def coders(self) -> Coders:
        """The compiled codecs. Raises AppError before the app is finalized."""
        if self._coders is None:
            raise AppError(f"topic {self.names or self.pattern}: used before the app was started or finalized.")
        return self._coders

    def compile(self, settings: Settings, limits: TopicLimits | None = None) -> None:
        """Choose the codecs. Idempotent; limits: what the broker takes, where known."""
        key, value = settings.key_serializer, settings.value_serializer
        bounds = settings.codec_bounds
        limits = limits or limits_of(settings)
        if self.keeps_keys:
            encode, decode_key = make_table_coder(self.key_type, self.key_serializer, is_key=True, **bounds)
            encode_key: Callable[[Any], bytes | None] = partial(_encode_or_none, encode)
        else:
            decode_key = make_decoder(self.key_type, self.key_serializer, default_serializer=key, is_key=True, **bounds)
            encode_key = make_encoder(self.key_type, self.key_serializer, default_serializer=key, is_key=True, **bounds)
        if self.keeps_values:
            encode_row, decode_value = make_table_coder(None, None, **bounds)
            encode_value: Callable[[Any], bytes | None] = partial(_encode_or_none, encode_row)
        else:
            decode_value = make_decoder(self.value_type, self.value_serializer, default_serializer=value, **bounds)
            encode_value = make_encoder(self.value_type, self.value_serializer, default_serializer=value, **bounds)
        self._coders = Coders(
            decode_key=decode_key,
            decode_value=decode_value,
            encode_key=encode_key,
            encode_value=encode_value,
            limits=limits,
            carried=CarriedTime(self.describe(), limits),
            name=self.names[0] if self.names else "",
            record_bytes_max=limits.record_bytes_max,
            hint=text_hint(self.value_type, self.value_serializer, value),
        )
        if self.changelog is not None:
            self._coders = self.changelog.coders(self._coders, settings)

    def tell_hint(self, data: bytes) -> None:
        """Say what may be wrong with the declaration, the first time that a value does not decode."""
        hint, self.coders.hint = self.coders.hint, None
        if hint is not None:
            logger.warning("topic %s: %s: it begins with %r", self.describe(), hint, bytes(data[:EXPLAIN_BYTES_MAX]))

    async def send(
        self,
        *,
        key: Any = None,
        value: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: Headers | None = None,
    ) -> Sent:
        """Send one record with the next commit.

        Args:
            key, value: encoded at once by this topic's codecs; None is sent as null (a tombstone).
            partition: None lets the key decide (murmur2, as in Java).
            timestamp: seconds since the epoch. None: in an agent that of its event (of a batch of take() the latest),
                elsewhere that of the commit.
            headers: name -> bytes or text, or pairs.

        Raises:
            AppError: outside of a running app. ValueError, TypeError: the topic does not take it: it is too large, for
                a partition that is not there, or its timestamp is too far from now.
        """
        outbox = _outbox_here() or current_outbox()
        if partition is not None or timestamp is not None or headers or self.on_produce is not None:
            if outbox.append(self.name, self.prepare(key, value, partition, timestamp, headers)):
                await outbox.room()
            return SENT
        # The rest is `prepare` for what most records are, without a call: as many come here as there are events. Python
        # is quick with a function in a slot only if it is read first and called then.
        coders = self._coders or self.coders
        part, encode = "value", coders.encode_value
        try:
            data = None if value is None else encode(value)
            part, encode = "key", coders.encode_key
            key_data = None if key is None else encode(key)
        except Exception as error:
            raise UnsendableRecord(self.name, part, key, value, error) from error
        cursor = _cursor_here()
        carried = AT_COMMIT if cursor is None else cursor.timestamp()
        if carried > coders.carried.sure:
            carried = coders.carried.of(carried)
        size = len(data or b"") + len(key_data or b"")
        if size > coders.record_bytes_max:
            coders.limits.check_size(self.name, size)
        if outbox.add(coders.name or self.name, key_data, data, carried):
            await outbox.room()
        return SENT

    async def give(self, record: OutputRecord) -> None:
        """Send what `prepare` made."""
        outbox = current_outbox()
        if outbox.append(self.name, record):
            await outbox.room()

    def send_soon(
        self,
        *,
        key: Any = None,
        value: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: Headers | None = None,
    ) -> Sent:
        """`send` for code that cannot await; nothing holds it up when more is sent than Kafka takes."""
        outbox = current_outbox()
        outbox.append(self.name, self.prepare(key, value, partition, timestamp, headers))
        return SENT

    def prepare(
        self,
        key: Any,
        value: Any,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: Headers | None = None,
        carried: int | None = None,
    ) -> OutputRecord:
        """A record for this topic as it is now, encoded and checked. The parameters are those of `send`.

        carried: milliseconds, which the record brings along from the one that it came from; None: the current event's.
        """
        coders = self._coders or self.coders
        limits, part = coders.limits, "value"
        try:
            data = None if value is None else coders.encode_value(value)
            part = "key"
            key_data = None if key is None else coders.encode_key(key)
        except Exception as error:
            raise UnsendableRecord(self.name, part, key, value, error) from error
        size = len(data or b"") + len(key_data or b"")
        if partition is None:
            partition = BY_KEY
        else:
            limits.check_partition(self.name, partition)
        if timestamp is not None:
            carried = limits.milliseconds(self.name, timestamp)
        else:
            if carried is None:
                cursor = cursor_var.get()
                carried = AT_COMMIT if cursor is None else cursor.timestamp()
            # The comparison of CarriedTime.of, in place of a call for each record.
            if carried > coders.carried.sure:
                carried = coders.carried.of(carried)
        pairs: Pairs | None = None
        if headers:
            pairs = header_pairs(headers)
            size += headers_size(pairs)
        if size > limits.record_bytes_max:
            limits.check_size(self.name, size)
        if self.on_produce is not None:
            self.on_produce(
                key=key,
                value=value,
                partition=None if partition == BY_KEY else partition,
                timestamp=timestamp,
                headers=pairs or [],
            )
        return key_data, data, partition, carried, pairs

    def topic_config(self) -> dict[str, str]:
        """The configuration that the topic is created with."""
        config = {name: str(value) for name, value in self.config.items()}
        if self.retention is not None:
            seconds = self.retention.total_seconds() if isinstance(self.retention, timedelta) else self.retention
            config.setdefault("retention.ms", str(int(seconds * 1000)))
        policies = [name for name, wanted in (("compact", self.compacting), ("delete", self.deleting)) if wanted]
        if policies:
            config.setdefault("cleanup.policy", ",".join(policies))
        return config

    def describe(self) -> str:
        """For messages: the names, or the pattern."""
        if self.changelog is not None:
            return self.changelog.describe()
        return ", ".join(self.names) if self.names else f"pattern {self.pattern!r}"


def _encode_or_none(encode: Callable[[Any], bytes], key: Any) -> bytes | None:
    return None if key is None else encode(key)


def topic_of(operator: str, channel: object) -> Topic:
    """The topic that a stream or an event is given: itself, or that of an agent. Raises AppError for anything else."""
    topic = getattr(channel, "topic", channel)
    if not isinstance(topic, Topic):
        raise AppError(f"{operator}({channel!r}): give a topic object, made with app.topic(...), or an agent.")
    return topic
