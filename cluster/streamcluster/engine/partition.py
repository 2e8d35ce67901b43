"""SourcePartition: one partition of a task: decoding, handing to readers, holding back while a failure is tried.

A record that cannot be handed out (undecodable, given up) is put aside at its place in the order.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any

import msgspec

from ..batch import Batch, KafkaRecord
from ..current import Run
from ..ids import TP, TaskId
from ..outside import Unreadable, parse
from ..topics import Topic
from .backlog import PartitionBacklog
from .decoding import Decoded, Shared, decode, decode_each
from .done_count import DoneCount
from .intake import RunIntake
from .killers import Caution
from .values import Committed
from .waiting import Waiting
from .weigh import RecordWeight

SIZE_SAMPLE = 8
# Brokers take at most so much with an offset, by default (offset.metadata.max.bytes).
METADATA_BYTES_MAX = 4096
_decode_ahead = msgspec.json.Decoder(dict[str, Annotated[int, msgspec.Meta(gt=0, lt=2**62)]]).decode
Reject = Callable[[TP, KafkaRecord, str, BaseException], bool]
# What is done with a record that is not handed out: its dead letter, for example. False: it must not be passed.
Aside = Callable[[KafkaRecord], bool]
Asides = list[tuple[KafkaRecord, Aside]]


class Reader:
    """One coroutine that reads a partition. share: (its number, how many there are) under `concurrency=`."""

    __slots__ = ("intake", "kept", "lags", "name", "next_offset", "share", "topic", "unit")

    def __init__(self, name: str, unit: str, topic: Topic, intake: RunIntake, share: tuple[int, int] | None) -> None:
        self.name = name
        self.unit = unit
        self.topic = topic
        self.intake = intake
        self.share = share
        # What it is given next: what is before that it has, or is past.
        self.next_offset = 0
        # It is left behind (lagging.py), and is given nothing for now; how much it had waiting when that began.
        self.lags = False
        self.kept = 0

    def waiting_count(self, tp: TP) -> int:
        """Events of the partition that wait for it."""
        return sum([len(run.values) for run in self.intake.queue if run.tp == tp])


class SourcePartition:
    """One partition of one task. Positions are "next" offsets: the record to read next."""

    __slots__ = (
        "_caution",
        "_reject",
        "_weight",
        "backlog",
        "committed",
        "done",
        "end_behind_gate",
        "gate",
        "gated",
        "next_offset",
        "readers",
        "skips",
        "stopped",
        "task",
        "tp",
        "undecodable",
    )

    def __init__(
        self,
        task: TaskId,
        tp: TP,
        readers: list[Reader],
        committed: Committed,
        reject: Reject,
        caution: Caution,
        weight: RecordWeight | None = None,
    ) -> None:
        """weight: of the topic's records; one of its own when None."""
        self.task = task
        self.tp = tp
        self.readers = readers
        self.committed = committed
        self._reject = reject
        self._caution = caution
        self._weight = weight or RecordWeight()
        self.next_offset = committed.next_offset
        # While a failing event is tried, records from `gate` on wait in `gated`.
        self.gate: int | None = None
        self.gated = Waiting()
        # The log's end, if it was reached meanwhile: what is before it and not here is not there any more.
        self.end_behind_gate = 0
        # Its task is being rolled back: what comes now comes again.
        self.stopped = False
        # Offset -> units that have given up on it, and what is done with it instead.
        self.skips: dict[int, dict[str, Aside]] = {}
        # Everything from the committed position on, as far as it was consumed.
        self.backlog = PartitionBacklog()
        self.done = DoneCount()
        # Of those, the ones that no codec may see again: it killed the process.
        self.undecodable: set[int] = set()
        self.rewind()

    def rewind(self) -> None:
        """Go back to the committed position; the consumer is rewound too, so what waits here is dropped."""
        self.stopped = False
        self.next_offset = self.committed.next_offset
        self.backlog.clear()
        self.done.rewind(self.next_offset)
        self.gated = Waiting()
        self.end_behind_gate = 0
        ahead = ahead_of(self.committed)
        for reader in self.readers:
            reader.intake.done[self.tp] = self.committed.next_offset + ahead.get(short_name(reader.name), 0)
            reader.next_offset = reader.intake.done[self.tp]
            reader.lags = False

    @property
    def front(self) -> int:
        """Behind everything that any reader was given; the consumer goes back from there for one that was not."""
        return max([self.next_offset, *(reader.next_offset for reader in self.readers)])

    def feed(self, batch: Batch) -> None:
        """Take records and hand them to the readers.

        Records below `next_offset` are leftovers of an earlier assignment and are dropped.
        """
        if self.stopped:
            return
        if batch.offsets[0] < self.next_offset:
            batch = batch.part(batch.index_of(self.next_offset))
            if not len(batch):
                return
        first, count = batch.offsets[0], len(batch)
        self.next_offset = batch.next_offset
        assert first < self.next_offset, f"records of {self.tp} out of order: {first} before {self.next_offset - 1}"
        known = self.done.end
        # Some may come again, for a reader that was left behind.
        new = count if first >= known else count - batch.index_of(known)
        if new:
            self.done.fed(max(first, known), self.next_offset, new)
        size = self._weight.of(_size_of(batch), count)
        self.backlog.add(first, self.next_offset, count, size)
        if self.gate is not None:
            passing = batch.index_of(self.gate)
            self.gated.add(batch.part(passing))
            batch = batch.part(0, passing)
        if len(batch):
            self.dispatch(batch)

    def open_gate(self) -> None:
        """Let everything pass again."""
        self.gate = None
        for batch in self.gated.take_all():
            self.dispatch(batch)
        self.advance(self.end_behind_gate)

    def advance(self, offset: int) -> None:
        """Move to `offset` without a record, in order behind what was handed out."""
        if self.stopped:
            return
        if self.gate is not None:
            self.end_behind_gate = offset
            return
        if offset <= self.next_offset:
            return
        self.next_offset = offset
        for reader in self.readers:
            if not reader.lags and offset > reader.next_offset:
                reader.next_offset = offset
                decode_key = reader.topic.coders.decode_key
                reader.intake.push(Run(self.task, Batch.nothing(self.tp), [], offset, decode_key))

    def dispatch(self, batch: Batch) -> None:
        """Decode for each topic declaration and push a run to each reader, but those that have it or are left behind.

        Readers of one declaration share values that cannot be changed; of others each agent has its own. What does not
        decode is put aside once per declaration, where its first reader comes to it.
        """
        behind = batch.next_offset
        decoded: dict[int, Shared] = {}
        declarations: set[int] = set()
        self._caution.decoding(self.tp, behind)
        for reader in self.readers:
            key = id(reader.topic)
            is_first = key not in declarations
            declarations.add(key)
            begin = reader.next_offset
            if reader.lags or behind <= begin:
                continue
            reader.next_offset = behind
            shared = decoded.get(key)
            if shared is None:
                shared = decoded[key] = Shared(reader.unit, self._decode(reader.topic, batch))
                undecodable = shared.decoded[2] if is_first else []
            else:
                undecodable = self._decode_again(shared, reader, batch)
            taken, values, _ = shared.decoded
            asides: Asides = []
            if undecodable:
                rejected = [(record, error) for record, error in undecodable if record.offset >= begin]
                asides += [(record, partial(self._reject_for, reader.unit, error)) for record, error in rejected]
            if self.skips:
                asides += self._given_up(reader, batch, begin)
            if len(self.readers) > 1 or self.skips or batch.offsets[0] < begin:
                taken, values = self._select(reader, taken, values, begin)
            if asides:
                self._push_around(reader, taken, values, asides, behind)
            else:
                reader.intake.push(Run(self.task, taken, values, behind, reader.topic.coders.decode_key))
        self._caution.decoding(self.tp, 0)
        if self._weight.is_due:
            is_shared = len(self.readers) == 1 or all(shared.is_immutable() for shared in decoded.values())
            copies = len(decoded) if is_shared else len({reader.unit for reader in self.readers})
            self._weight.look([shared.decoded for shared in decoded.values()], copies)

    def _decode_again(self, shared: Shared, reader: Reader, batch: Batch) -> list[tuple[KafkaRecord, BaseException]]:
        """Give the reader's agent values of its own, if it could see what others do to theirs.

        Returns what did not decode this time, and did before: a codec may do that.
        """
        # The readers of one agent have the keys divided among them.
        if shared.unit == reader.unit or shared.is_immutable():
            return []
        known = {record.offset for record, _ in shared.decoded[2]}
        shared.unit = reader.unit
        shared.decoded = self._decode(reader.topic, batch)
        return [(record, error) for record, error in shared.decoded[2] if record.offset not in known]

    def _push_around(self, reader: Reader, batch: Batch, values: list[Any], asides: Asides, behind: int) -> None:
        """Push records in runs that end before each record to be put aside, which is a run without events.

        So it is put aside at its place in the order, and committed with the position behind it.
        """
        decode_key = reader.topic.coders.decode_key
        start = 0
        for record, aside in sorted(asides, key=lambda pair: pair[0].offset):
            end = batch.index_of(record.offset)
            reader.intake.push(Run(self.task, batch, values[start:end], record.offset, decode_key, start=start))
            before = partial(aside, record)
            reader.intake.push(Run(self.task, Batch.nothing(self.tp), [], record.offset + 1, decode_key, before))
            start = end
        reader.intake.push(Run(self.task, batch, values[start:], behind, decode_key, start=start))

    def _decode(self, topic: Topic, batch: Batch) -> Decoded:
        """Decode them, one by one with a mark at each while the process is feared for."""
        if self.undecodable:
            batch = batch.pick([at for at, offset in enumerate(batch.offsets) if offset not in self.undecodable])
        if batch.why is not None:
            return Batch.nothing(self.tp), [], [(batch.record(at), batch.why) for at in range(len(batch))]
        if self._caution.suspects:
            decoded = decode_each(topic, batch, partial(self._caution.decode, self.tp))
            self._caution.decoded()
            return decoded
        return decode(topic, batch)

    def _reject_for(self, unit: str, error: BaseException, record: KafkaRecord) -> bool:
        return self._reject(self.tp, record, unit, error)

    def _given_up(self, reader: Reader, batch: Batch, begin: int) -> Asides:
        """The records from `begin` on that this reader's unit has given up on."""
        return [
            (batch.record(at), self.skips[offset][reader.unit])
            for at, offset in enumerate(batch.offsets)
            if offset >= begin
            and reader.unit in self.skips.get(offset, ())
            and (reader.share is None or _has_share(reader.share, batch.keys[at]))
        ]

    def _select(self, reader: Reader, batch: Batch, values: list[Any], begin: int) -> tuple[Batch, list[Any]]:
        """What of a decoded batch is for this reader: from `begin` on, not given up on, of its share of the keys.

        The values are its own: they are cut with its runs.
        """
        if not self.skips and reader.share is None:
            start = batch.index_of(begin)
            return (batch.part(start) if start else batch), values[start:]
        indices: Sequence[int] = range(batch.index_of(begin), len(batch))
        if self.skips:
            given_up = {at for at in indices if reader.unit in self.skips.get(batch.offsets[at], ())}
            indices = [at for at in indices if at not in given_up]
        if reader.share is not None:
            keys, share = batch.keys, reader.share
            indices = [at for at in indices if _has_share(share, keys[at])]
        return batch.pick(indices), [values[at] for at in indices]

    def forget_skips(self) -> None:
        """Events that were given up on and are committed need not be remembered."""
        if self.skips:
            self.skips = {o: units for o, units in self.skips.items() if o >= self.committed.next_offset}
            self.undecodable &= self.skips.keys()

    def settle(self) -> None:
        """Bring `backlog` up to date. A record waits until the slowest reader is done with its run.

        Of readers that are not where the consumer is, what they have waiting is counted apart.
        """
        committed = self.committed.next_offset
        there = self._there()
        if len(there) < len(self.readers):
            ahead = ahead_of(self.committed)
            committed += min([ahead.get(short_name(reader.name), 0) for reader in there], default=0)
        done = min([reader.intake.done.get(self.tp, committed) for reader in there], default=self.next_offset)
        self.backlog.settle(done, committed)
        if len(there) < len(self.readers):
            self.backlog.count_apart(
                sum(reader.waiting_count(self.tp) for reader in self.readers if reader not in there)
            )

    def _there(self) -> list[Reader]:
        """The readers that take what the consumer reads next."""
        return [reader for reader in self.readers if not reader.lags and reader.next_offset <= self.next_offset]

    def go_on(self) -> bool:
        """Read on where the first of those readers is that are not left behind; False when the consumer is there."""
        position = min(reader.next_offset for reader in self.readers if not reader.lags)
        # What waits behind a gate has been read, and so has all before it.
        if self.gated or position == self.next_offset:
            return False
        self.next_offset = position
        self.backlog.clear()
        slowest = min(self._there(), key=lambda reader: reader.intake.done[self.tp])
        if count := slowest.waiting_count(self.tp):
            self.backlog.add(slowest.intake.done[self.tp], position, count, count * self.backlog.record_bytes)
        return True

    def position(self) -> Committed:
        """The oldest unfinished offset over all readers; readers that are ahead of it are noted in the metadata (I5).

        So readers of one partition need not wait for each other at a commit, and none repeats anything after a crash.
        """
        fallback = self.committed.next_offset
        positions = {reader.name: reader.intake.position(self.tp, fallback) for reader in self.readers}
        oldest = min(positions.values(), default=self.next_offset)
        ahead = {short_name(name): offset - oldest for name, offset in positions.items() if offset > oldest}
        return Committed(oldest, json.dumps(ahead, sort_keys=True) if ahead else "")


def _size_of(batch: Batch) -> int:
    """Bytes of keys and values: an estimate from a sample. To look at each would cost 20 ns an event."""
    step = len(batch) // SIZE_SAMPLE + 1
    sample = [*batch.values[::step], *batch.keys[::step]]
    size = sum([len(data) for data in sample if data])
    return size * len(batch) // (len(sample) // 2)


def short_name(reader: str) -> str:
    """A reader's name in the metadata of an offset, which brokers bound (4096 bytes): 12 hex digits."""
    return hashlib.blake2b(reader.encode(), digest_size=6).hexdigest()


def ahead_of(committed: Committed) -> dict[str, int]:
    """Short name of a reader -> records ahead of the committed offset; what we did not write counts as none."""
    if not committed.metadata:
        return {}
    try:
        return parse(_decode_ahead, committed.metadata.encode(errors="replace"), METADATA_BYTES_MAX)
    except Unreadable:
        return {}


def _has_share(share: tuple[int, int], key: bytes | None) -> bool:
    number, count = share
    return zlib.crc32(key or b"") % count == number
