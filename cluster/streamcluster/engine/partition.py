"""SourcePartition: one partition that a task reads: decoding, handing to its readers, holding back while a failure is tried."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from typing import Any

from ..current import KafkaRecord, Run
from ..ids import TP, TaskId
from ..topics import Coders, Topic
from .intake import RunIntake
from .values import Committed

Reject = Callable[[TP, KafkaRecord, str, Exception], None]


class Reader:
    """One coroutine that reads a partition. share: (its number, how many there are) under `concurrency=`."""

    __slots__ = ("intake", "name", "share", "topic", "unit")

    def __init__(self, name: str, unit: str, topic: Topic, intake: RunIntake, share: tuple[int, int] | None) -> None:
        self.name = name
        self.unit = unit
        self.topic = topic
        self.intake = intake
        self.share = share


class SourcePartition:
    """One partition of one task. Positions are "next" offsets: the record to read next."""

    __slots__ = ("_reject", "committed", "gate", "gated", "next_offset", "readers", "skips", "task", "tp")

    def __init__(self, task: TaskId, tp: TP, readers: list[Reader], committed: Committed, reject: Reject) -> None:
        self.task = task
        self.tp = tp
        self.readers = readers
        self.committed = committed
        self._reject = reject
        self.next_offset = committed.next_offset
        # While a failing event is tried, records from `gate` on wait in `gated`.
        self.gate: int | None = None
        self.gated: list[KafkaRecord] = []
        # Offset -> units that have given up on it.
        self.skips: dict[int, set[str]] = {}
        self.rewind()

    def rewind(self) -> None:
        """Go back to the committed position; the consumer is rewound too, so what waits here is dropped."""
        self.next_offset = self.committed.next_offset
        self.gated = []
        ahead = _ahead_of(self.committed)
        for reader in self.readers:
            reader.intake.done[self.tp] = self.committed.next_offset + ahead.get(reader.name, 0)

    def feed(self, records: list[KafkaRecord]) -> int:
        """Take records in offset order and hand them to the readers; returns how many were new.

        Records below `next_offset` are leftovers of an earlier assignment and are dropped.
        """
        if records[0].offset() < self.next_offset:
            records = [record for record in records if record.offset() >= self.next_offset]
            if not records:
                return 0
        self.next_offset = records[-1].offset() + 1
        if self.gate is not None:
            gate = self.gate
            self.gated += [record for record in records if record.offset() >= gate]
            records = [record for record in records if record.offset() < gate]
        if records:
            self.dispatch(records)
        return len(records)

    def advance(self, offset: int) -> None:
        """Move to `offset` without a record, in order behind what was handed out."""
        if self.gate is not None or offset <= self.next_offset:
            return
        self.next_offset = offset
        for reader in self.readers:
            decode_key = reader.topic.coders.decode_key
            reader.intake.push(Run(self.task, self.tp, [], [], offset, decode_key))

    def dispatch(self, records: list[KafkaRecord]) -> None:
        """Decode once per topic declaration and push a run to each reader."""
        behind = records[-1].offset() + 1
        decoded: dict[int, tuple[list[KafkaRecord], list[Any]]] = {}
        for reader in self.readers:
            key = id(reader.topic)
            if key not in decoded:
                decoded[key] = self._decode(reader, records)
            taken, values = decoded[key]
            if len(self.readers) > 1 or self.skips:
                taken, values = self._select(reader, taken, values)
            run = Run(self.task, self.tp, taken, values, behind, reader.topic.coders.decode_key)
            reader.intake.push(run)

    def _decode(self, reader: Reader, records: list[KafkaRecord]) -> tuple[list[KafkaRecord], list[Any]]:
        coders = reader.topic.coders
        decode = coders.decode_value
        try:
            return records, [decode(record.value()) for record in records]
        except Exception:  # noqa: BLE001 (codecs are user code; the offender is found one by one)
            return self._decode_each(reader, coders, records)

    def _decode_each(
        self, reader: Reader, coders: Coders, records: list[KafkaRecord]
    ) -> tuple[list[KafkaRecord], list[Any]]:
        """The slow way, after a batch did not decode: tombstones pass as None, what is undecodable is rejected."""
        taken: list[KafkaRecord] = []
        values: list[Any] = []
        for record in records:
            data = record.value()
            try:
                value = None if data is None else coders.decode_value(data)
                if (key := record.key()) is not None:
                    coders.decode_key(key)
            except Exception as error:  # noqa: BLE001 (codecs are user code)
                if record.offset() >= reader.intake.done.get(self.tp, 0):
                    self._reject(self.tp, record, reader.unit, error)
                continue
            taken.append(record)
            values.append(value)
        return taken, values

    def _select(
        self, reader: Reader, records: list[KafkaRecord], values: list[Any]
    ) -> tuple[list[KafkaRecord], list[Any]]:
        """What of a decoded batch is for this reader: not done yet, not given up on, and of its share of the keys."""
        begin = reader.intake.done.get(self.tp, 0)
        pairs = [
            (record, value)
            for record, value in zip(records, values, strict=True)
            if record.offset() >= begin
            and reader.unit not in self.skips.get(record.offset(), ())
            and (reader.share is None or _has_share(reader.share, record.key()))
        ]
        return [record for record, _ in pairs], [value for _, value in pairs]

    def forget_skips(self) -> None:
        """Events that were given up on and are committed need not be remembered."""
        if self.skips:
            self.skips = {o: units for o, units in self.skips.items() if o >= self.committed.next_offset}

    def backlog(self) -> int:
        """Records that wait here or in the slowest reader's queue."""
        return len(self.gated) + max((reader.intake.queued_count() for reader in self.readers), default=0)

    def position(self) -> Committed:
        """The oldest unfinished offset over all readers; readers that are ahead of it are noted in the metadata (I5).

        So readers of one partition need not wait for each other at a commit, and none repeats anything after a crash.
        """
        fallback = self.committed.next_offset
        positions = {reader.name: reader.intake.position(self.tp, fallback) for reader in self.readers}
        oldest = min(positions.values(), default=self.next_offset)
        ahead = {name: offset - oldest for name, offset in positions.items() if offset > oldest}
        return Committed(oldest, json.dumps(ahead, sort_keys=True) if ahead else "")


def _ahead_of(committed: Committed) -> dict[str, int]:
    """Reader -> records ahead of the committed offset; another tool's metadata counts as none."""
    try:
        ahead = json.loads(committed.metadata) if committed.metadata else {}
    except ValueError:
        return {}
    if not isinstance(ahead, dict):
        return {}
    return {name: count for name, count in ahead.items() if isinstance(count, int)}


def _has_share(share: tuple[int, int], key: bytes | None) -> bool:
    number, count = share
    return zlib.crc32(key or b"") % count == number
