"""take: records from a consumer as batches, and in their order what came in place of records.

In C where the consumer is known to the module in C (native.py), else from the client's messages. Nobody else sees a
message; both ways give the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import length_hint, methodcaller
from typing import Any, Generic, TypeVar, overload

import msgspec

from streamcluster.batch import Batch, RecordHeaders
from streamcluster.ids import TP
from streamcluster.kafka.opening import Consumer, KafkaError, Message

from .native import Columns, Refused, is_taken_natively, take_natively

_T = TypeVar("_T")
# Runs are mostly long: so many messages are compared at a time.
RUN_BLOCK = 64
# Not `message.headers()`: the interpreter's own call does not always look at what the client says, and the error shows
# up in the next call, whatever that is.
_ask_headers = methodcaller("headers")
_NOT_UTF8 = "a header's name is not UTF-8"


class Instead(msgspec.Struct, frozen=True):
    """What came in place of a record: an error; or the end of the partition, whose `offset` is the one to read next."""

    tp: TP
    offset: int
    error: KafkaError

    @property
    def is_end(self) -> bool:
        """The consumer has reached the end of the partition, behind whatever markers and holes are there."""
        return self.error.code() == KafkaError._PARTITION_EOF


Taken = Batch | Instead
# Answers of a partition that has no record at the offset that was asked for.
NOTHING_THERE = (KafkaError._PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET)


class Asked(Generic[_T]):
    """What messages say, asked when somebody wants to know: of most records nobody does, and each costs 12 to 50 ns."""

    __slots__ = ("_ask", "_messages")

    def __init__(self, messages: Sequence[Message], ask: Callable[[Any], _T]) -> None:
        self._messages = messages
        self._ask = ask

    def __len__(self) -> int:
        return len(self._messages)

    @overload
    def __getitem__(self, index: int) -> _T: ...
    @overload
    def __getitem__(self, index: slice) -> Asked[_T]: ...
    def __getitem__(self, index: int | slice) -> _T | Asked[_T]:
        if isinstance(index, slice):
            return Asked(self._messages[index], self._ask)
        return self._ask(self._messages[index])

    def __iter__(self) -> Iterator[_T]:
        return map(self._ask, self._messages)


def take(consumer: Consumer, count: int, seconds: float) -> list[Taken]:
    """At most `count` records and errors, in order, each batch of one partition. Waits for so many, but not for longer.

    It serves the client's callbacks, as its own `consume` does.
    """
    if not is_taken_natively(consumer):
        return batches_of(consumer.consume(count, seconds))
    return [_taken_of(one) for one in take_natively(consumer, count, seconds)]


def _taken_of(one: Columns | Refused) -> Taken:
    """From the module in C: columns, or what came in place of a record."""
    if len(one) == 7:
        topic, partition, offsets, timestamps, keys, values, headers = one
        tp, numbers = TP(topic, partition), (memoryview(offsets).cast("q"), memoryview(timestamps).cast("q"))
        return Batch(tp, *numbers, keys, values, headers)
    topic, partition, offset, code, text = one
    return Instead(TP(topic, partition), offset, KafkaError(code, text))


def batches_of(messages: Sequence[Message]) -> list[Taken]:
    """Consecutive messages of a partition as one batch; an error stands alone."""
    if not messages:
        return []
    # Functions of the class: half the time of asking each message.
    kind = type(messages[0])
    topics: list[str | None] = list(map(kind.topic, messages))
    partitions: list[int | None] = list(map(kind.partition, messages))
    # Not a comparison: KafkaError == None leaves an exception behind (confluent-kafka 2.16).
    has_errors = any(map(kind.error, messages))
    taken: list[Taken] = []
    start, count = 0, len(messages)
    while start < count:
        end = end_of_run(topics, start, end_of_run(partitions, start, count))
        partition = partitions[start]
        tp = TP(topics[start] or "", -1 if partition is None else partition)
        run = messages if end - start == count else messages[start:end]
        taken += _around_errors(tp, run) if has_errors else (_batch_of(tp, run),)
        start = end
    return taken


def end_of_run(values: Sequence[Any], start: int, end: int) -> int:
    """How far values[start:end] begins with the same value: by blocks, of which all but the last are looked at in C."""
    value, at = values[start], start + 1
    while at + RUN_BLOCK <= end and values[at : at + RUN_BLOCK].count(value) == RUN_BLOCK:
        at += RUN_BLOCK
    while at < end and values[at] == value:
        at += 1
    return at


def _around_errors(tp: TP, messages: Sequence[Message]) -> Iterator[Taken]:
    start = 0
    for at, message in enumerate(messages):
        error = message.error()
        if error is not None:
            if start < at:
                yield _batch_of(tp, messages[start:at])
            offset = message.offset()
            yield Instead(tp, -1 if offset is None else offset, error)
            start = at + 1
    if start < len(messages):
        yield _batch_of(tp, messages[start:])


def _batch_of(tp: TP, messages: Sequence[Message]) -> Batch:
    kind = type(messages[0])
    # The client's stub lets every method return None.
    offsets: Asked[Any] = Asked(messages, kind.offset)
    keys: Asked[Any] = Asked(messages, kind.key)
    values: list[Any] = list(map(kind.value, messages))
    return Batch(tp, offsets, Asked(messages, _time_of), keys, values, _headers_of(messages))


def _time_of(message: Message) -> int:
    milliseconds: int = message.timestamp()[1]
    return milliseconds


def _headers_of(messages: Sequence[Message]) -> list[RecordHeaders] | None:
    """The headers of each; None when none has any.

    Of a header whose name is not UTF-8 the client (confluent-kafka 2.16) raises SystemError at the first call, and
    gives a list with a null pointer in it at the second: using that ends the process. So each is asked once more only
    when it has answered.
    """
    left = iter(messages)
    broken: dict[int, str] = {}
    try:
        if not any(map(type(messages[0]).headers, left)):
            return None
    except SystemError:
        broken[len(messages) - length_hint(left) - 1] = _NOT_UTF8
    return [_headers_at(message, broken.get(at)) for at, message in enumerate(messages)]


def _headers_at(message: Message, why: str | None) -> RecordHeaders:
    if why is not None:
        return why
    try:
        found: RecordHeaders = _ask_headers(message)
    except SystemError:
        return _NOT_UTF8
    return found or None
