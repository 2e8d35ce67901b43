"""Event and Message: one record as user code sees it, made on demand from the run in hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from .codecs.untyped import encode_raw_key
from .current import Run, current_outbox, cursor_var
from .errors import UnsendableRecord
from .faust_names import EVENT, names_what_is_missing
from .headers import header_pairs, headers_size
from .ids import TP
from .output import BY_KEY, Pairs
from .topics import topic_of


class Destination(Protocol):
    """What an event can be sent to: a topic, an agent."""

    @property
    def name(self) -> str: ...

    async def send(self, *, key: Any = None, value: Any = None, headers: Any = None) -> object: ...


@dataclass(frozen=True, slots=True)
class Message:
    """The record as Kafka has it. key, value: bytes or None; timestamp: seconds since the epoch (may be negative)."""

    topic: str
    partition: int
    offset: int
    timestamp: float
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]

    @property
    def tp(self) -> TP:
        """The partition of this record."""
        return TP(self.topic, self.partition)


@names_what_is_missing(EVENT, "event")
class Event:
    """One event of a stream: its decoded key and value, and the record behind them."""

    __slots__ = ("_index", "_run", "key", "value")

    def __init__(self, run: Run, index: int, value: Any) -> None:
        self._run = run
        self._index = index
        self.key = run.key(index)
        self.value = value

    @property
    def id(self) -> tuple[str, int, int]:
        """(topic, partition, offset): unique for ever, for deduplication outside of Kafka."""
        return (*self._run.tp, self._run.offset(self._index))

    @property
    def headers(self) -> dict[str, bytes]:
        """Headers by name; of several with one name, the last.

        Raises:
            UnreadableHeaders: a name is not UTF-8, which the Kafka client cannot read.
        """
        headers: dict[str, Any] = dict(self._run.headers(self._index) or ())
        return headers

    @property
    def message(self) -> Message:
        """The record as Kafka has it."""
        record = self._run.record(self._index)
        return Message(
            topic=self._run.tp.topic,
            partition=self._run.tp.partition,
            offset=record.offset,
            timestamp=record.timestamp / 1000,
            key=record.key,
            value=record.value,
            headers=self.headers,
        )

    async def send(self, channel: Destination | str, *, key: Any = ..., value: Any = ..., headers: Any = None) -> None:
        """Send this event on, with another key or value where given, encoded as `channel` says.

        It keeps its timestamp, and its headers unless others are given.
        """
        key = self.key if key is ... else key
        value = self.value if value is ... else value
        if isinstance(channel, str):
            raise TypeError(f"event.send({channel!r}): give a topic object, it has the codecs; forward() takes a name.")
        topic = topic_of("event.send", channel)
        pairs = self._run.headers(self._index) if headers is None else headers
        await topic.give(topic.prepare(key, value, headers=pairs, carried=self._run.timestamp(self._index)))

    async def forward(self, channel: Destination | str, *, key: Any = ..., headers: Any = None) -> None:
        """Send the record on as it is, without decoding and encoding it again; another key is encoded by the topic.

        It keeps its timestamp, and its headers unless others are given.
        """
        # An agent has a name of its own, which is not its topic's.
        name = channel if isinstance(channel, str) else getattr(channel, "topic", channel).name
        coders = getattr(getattr(channel, "topic", channel), "coders", None)
        record = self._run.record(self._index)
        value_data = record.value
        if key is ...:
            key_data = record.key
        elif key is None or type(key) is bytes:
            key_data = key
        else:
            # A name has no codecs: as a topic without any declaration would.
            encode = encode_raw_key if coders is None else coders.encode_key
            try:
                key_data = encode(key)
            except Exception as error:
                raise UnsendableRecord(name, "key", key, value_data, error) from error
        pairs = (self._run.headers(self._index) if headers is None else header_pairs(headers)) or []
        milliseconds = self._run.timestamp(self._index)
        if coders is not None:
            size = len(key_data or b"") + len(value_data or b"") + headers_size(pairs)
            coders.limits.check_size(name, size)
            milliseconds = coders.carried.of(milliseconds)
        outbox = current_outbox()
        if outbox.append(name, (key_data, value_data, BY_KEY, milliseconds, pairs or None)):
            await outbox.room()

    def __repr__(self) -> str:
        return f"<Event {'/'.join(map(str, self.id))}: key={self.key!r} value={self.value!r}>"


def origin_of(event: Event) -> tuple[TP, bytes | None, Pairs | None]:
    """The partition of its record, and that one's key and headers."""
    run, index = event._run, event._index
    return run.tp, run.batch.keys[run.start + index], run.headers(index)


def current_event() -> Event | None:
    """The event that the running agent is at, or None outside of an event."""
    cursor = cursor_var.get()
    index = cursor.index() if cursor is not None else None
    if cursor is None or index is None or cursor.run is None:
        return None
    return Event(cursor.run, index, cursor.run.values[index])
