"""Batch: consecutive records of one partition as columns, from the client to the agents without an object for each.

Whoever reads Kafka makes them (a worker's source, the test driver's logs); nothing else of a client gets into the
engine. One record alone is a value, `KafkaRecord`, made where somebody needs all of it: for a dead letter.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, overload

from .ids import TP
from .output import Pairs

_T_co = TypeVar("_T_co", covariant=True)
# Of one record: in order; None: it has none; text: why the client cannot read them.
RecordHeaders = Pairs | str | None


class Column(Protocol[_T_co]):
    """What a list, a tuple, a buffer and what asks each message only when somebody wants to know have in common."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[_T_co]: ...
    @overload
    def __getitem__(self, index: int, /) -> _T_co: ...
    @overload
    def __getitem__(self, index: slice, /) -> Column[_T_co]: ...


@dataclass(frozen=True, slots=True)
class KafkaRecord:
    """A consumed record. timestamp: in ms. why: the client cannot unpack it, and nothing but its offset is known."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: RecordHeaders
    why: BaseException | None = None


class Batch:
    """Columns of equal length, in offset order. Nobody changes them, so that parts can share them.

    offsets, timestamps (in ms): perhaps buffers, which make an int when it is asked for; headers: None when no record
    has any; why: the client cannot unpack what is here; then it is one record, the last of its partition in a poll.
    watermarks: the partition's at each record, where something goes by event time (engine/event_time); else None.
    """

    __slots__ = ("headers", "keys", "offsets", "timestamps", "tp", "values", "watermarks", "why")

    def __init__(
        self,
        tp: TP,
        offsets: Column[int],
        timestamps: Column[int],
        keys: Column[bytes | None],
        values: Column[bytes | None],
        headers: Column[RecordHeaders] | None = None,
        why: BaseException | None = None,
    ) -> None:
        self.tp = tp
        self.offsets = offsets
        self.timestamps = timestamps
        self.keys = keys
        self.values = values
        self.headers = headers
        self.why = why
        self.watermarks: list[int] | None = None

    @classmethod
    def nothing(cls, tp: TP) -> Batch:
        """No record."""
        return cls(tp, (), (), (), ())

    @classmethod
    def of(cls, tp: TP, record: KafkaRecord) -> Batch:
        """One record."""
        headers = None if record.headers is None else (record.headers,)
        return cls(tp, (record.offset,), (record.timestamp,), (record.key,), (record.value,), headers, record.why)

    @classmethod
    def unreadable(cls, tp: TP, offset: int, why: BaseException) -> Batch:
        """In the place of records that the client cannot unpack. offset: of the last of them."""
        return cls(tp, (offset,), (0,), (None,), (None,), None, why)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def next_offset(self) -> int:
        """Behind its last record."""
        return self.offsets[-1] + 1

    def index_of(self, offset: int) -> int:
        """How many records are before this offset."""
        return bisect_left(self.offsets, offset)

    def part(self, start: int, end: int | None = None) -> Batch:
        """The records at these indices."""
        part = Batch(
            self.tp,
            self.offsets[start:end],
            self.timestamps[start:end],
            self.keys[start:end],
            self.values[start:end],
            None if self.headers is None else self.headers[start:end],
            self.why,
        )
        if self.watermarks is not None:
            part.watermarks = self.watermarks[start:end]
        return part

    def pick(self, indices: Sequence[int]) -> Batch:
        """The records at these indices. They rise, at least in each slice that a run is made of."""
        headers = None if self.headers is None else [self.headers[index] for index in indices]
        picked = Batch(
            self.tp,
            [self.offsets[index] for index in indices],
            [self.timestamps[index] for index in indices],
            [self.keys[index] for index in indices],
            [self.values[index] for index in indices],
            headers,
            self.why,
        )
        if self.watermarks is not None:
            picked.watermarks = [self.watermarks[index] for index in indices]
        return picked

    def without(self, indices: Container[int]) -> Batch:
        """All other records."""
        left = self.pick([index for index in range(len(self)) if index not in indices])
        if left.headers is not None and not any(left.headers):
            left.headers = None
        return left

    def record(self, index: int) -> KafkaRecord:
        """One of them, as a value."""
        return KafkaRecord(
            self.offsets[index],
            self.timestamps[index],
            self.keys[index],
            self.values[index],
            None if self.headers is None else self.headers[index],
            self.why,
        )
