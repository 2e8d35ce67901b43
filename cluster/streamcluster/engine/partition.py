"""SourcePartition: one partition of a task: decoding, handing to readers, holding back while a failure is tried.

A record that cannot be handed out (undecodable, given up) is put aside at its place in the order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any

from ..ahead import OFFSETS_AHEAD_MAX, ahead_of, metadata_of
from ..batch import Batch, KafkaRecord
from ..current import Run
from ..ids import TP, TaskId
from ..topics import Topic
from .backlog import PartitionBacklog
from .decoding import Decoded, Shared, decode, decode_each
from .done_count import DoneCount
from .event_time.watermarks import PartitionTime
from .intake import wake
from .killers import Caution
from .lanes import Lanes, Reader, lanes_of
from .values import Committed
from .waiting import Waiting
from .weigh import RecordWeight, size_of

Reject = Callable[[TP, KafkaRecord, str, BaseException], bool]
# What is done with a record that is not handed out: its dead letter, for example. False: it must not be passed.
Aside = Callable[[KafkaRecord], bool]
# A gate that nothing passes.
HELD_BACK = -1
Asides = list[tuple[KafkaRecord, Aside]]


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
        "first_end",
        "gate",
        "gated",
        "is_at_end",
        "lanes",
        "next_offset",
        "readers",
        "receive",
        "skips",
        "stopped",
        "task",
        "time",
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
        # The same, by agent.
        self.lanes = lanes_of(readers)
        self.committed = committed
        self._reject = reject
        self._caution = caution
        self._weight = weight or RecordWeight()
        # Watermarks, where something in the task goes by event time.
        self.time: PartitionTime | None = None
        # What is done with a batch first; returns what of it is for readers.
        self.receive: Callable[[Batch], Batch] | None = None
        self.next_offset = committed.next_offset
        # While a failing event is tried, records from `gate` on wait in `gated`.
        self.gate: int | None = None
        self.gated = Waiting()
        # The log's end, if it was reached meanwhile: what is before it and not here is not there any more.
        self.end_behind_gate = 0
        # All that can be read was read; and where that was so first.
        self.is_at_end = False
        self.first_end: int | None = None
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
        self.is_at_end = False
        ahead = ahead_of(self.committed.metadata)
        for lanes in self.lanes:
            lanes.begin_at(self.tp, self.committed.next_offset, ahead)

    @property
    def front(self) -> int:
        """Behind everything that any reader was given; the consumer goes back from there for one that was not."""
        return max([self.next_offset, *(reader.next_offset for reader in self.readers)])

    def feed(self, batch: Batch) -> None:
        """Take records and hand them to the readers. Those below `next_offset` are of an earlier assignment."""
        if self.stopped:
            return
        if batch.offsets[0] < self.next_offset:
            batch = batch.part(batch.index_of(self.next_offset))
            if not len(batch):
                return
        behind = batch.next_offset
        self.is_at_end = False
        if self.receive is not None:
            batch = self.receive(batch)
        if len(batch):
            self._take(batch)
        if behind > self.next_offset:
            self.advance(behind)

    def _take(self, batch: Batch) -> None:
        first, count = batch.offsets[0], len(batch)
        self.next_offset = batch.next_offset
        assert first < self.next_offset, f"records of {self.tp} out of order: {first} before {self.next_offset - 1}"
        known = self.done.end
        # Some may come again, for a reader that was left behind.
        new = count if first >= known else count - batch.index_of(known)
        if new:
            self.done.fed(max(first, known), self.next_offset, new)
        self.backlog.add(first, self.next_offset, count, self._weight.of(size_of(batch), count))
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

    def ended(self, offset: int) -> None:
        """All that can be read was read: up to `offset`."""
        self.advance(offset)
        self.is_at_end = True
        self.first_end = offset if self.first_end is None else self.first_end
        for reader in self.readers:
            if reader.intake.order is not None:
                reader.intake.wake()
                wake(reader.intake.others)

    def advance(self, offset: int) -> None:
        """Move to `offset` without a record: readers are past it when they have finished what they were given."""
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

    def dispatch(self, batch: Batch) -> None:
        """Decode for each topic declaration and push a run to each reader, but those that have it or are left behind.

        Readers of one declaration share values that cannot be changed; of others each agent has its own. What does not
        decode is put aside once per declaration, where its first reader comes to it.
        """
        behind = batch.next_offset
        decoded: dict[int, Shared] = {}
        declarations: set[int] = set()
        self._caution.decoding(self.tp, behind)
        for lanes in self.lanes:
            key = id(lanes.topic)
            is_first = key not in declarations
            declarations.add(key)
            begin = lanes.begin
            if begin is None or behind <= begin:
                continue
            shared = decoded.get(key)
            if shared is None:
                shared = decoded[key] = Shared(lanes.unit, self._decode(lanes.topic, batch))
                undecodable = shared.decoded[2] if is_first else []
            else:
                undecodable = self._decode_again(shared, lanes, batch)
            taken, values, _ = shared.decoded
            asides: Asides = [(record, partial(self._reject_for, lanes.unit, error)) for record, error in undecodable]
            if self.skips:
                asides += self._given_up(lanes, batch)
            if len(lanes.readers) > 1:
                self._push_to_lanes(lanes, taken, values, asides, behind)
                continue
            asides = self._own(lanes, begin, asides)
            taken, values = self._select(lanes, taken, values, begin)
            self._push(lanes.readers[0], taken, values, asides, behind)
            lanes.readers[0].next_offset = behind
        self._caution.decoding(self.tp, 0)
        if self._weight.is_due:
            is_shared = len(self.lanes) == 1 or all(shared.is_immutable() for shared in decoded.values())
            copies = len(decoded) if is_shared else len(self.lanes)
            self._weight.look([shared.decoded for shared in decoded.values()], copies)

    def _push_to_lanes(self, lanes: Lanes, batch: Batch, values: list[Any], asides: Asides, behind: int) -> None:
        """Give each lane its events, which are brought together first: a lane's run is a slice, as any run is."""
        parts: defaultdict[int, list[int]] = defaultdict(list)
        for index, number in enumerate(lanes.numbers(batch.keys)):
            parts[number].append(index)
        if self.skips or asides or lanes.older or not lanes.are_even(batch, behind):
            self._push_selected(lanes, batch, values, parts, asides, behind)
            return
        if len(parts) > 1:
            order = [*chain.from_iterable(parts.values())]
            batch, values = batch.pick(order), [values[index] for index in order]
        start = 0
        for number, indices in parts.items():
            end = start + len(indices)
            self._push(lanes.readers[number], batch, values[start:end], (), behind, start)
            start = end
        for reader in lanes.readers:
            reader.next_offset = behind

    def _push_selected(
        self,
        lanes: Lanes,
        batch: Batch,
        values: list[Any],
        parts: dict[int, list[int]],
        asides: Asides,
        behind: int,
    ) -> None:
        """As `_push_to_lanes`, for lanes that have come unevenly far, and events that are not handed out."""
        put_aside: defaultdict[int, Asides] = defaultdict(list)
        for record, aside in asides:
            put_aside[lanes.number_of(record.key)].append((record, aside))
        for number, reader in enumerate(lanes.readers):
            if reader.lags or reader.next_offset >= behind:
                continue
            indices = parts.get(number, [])
            own = self._own(lanes, reader.next_offset, put_aside[number])
            taken, own_values = batch.pick(indices), [values[index] for index in indices]
            taken, own_values = self._select(lanes, taken, own_values, reader.next_offset)
            self._push(reader, taken, own_values, own, behind)
            reader.next_offset = behind

    def _push(
        self,
        reader: Reader,
        batch: Batch,
        values: list[Any],
        asides: Sequence[tuple[KafkaRecord, Aside]],
        behind: int,
        start: int = 0,
    ) -> None:
        """Give a reader these events. One without any is past all this as it is, and is not woken."""
        if not values and not asides:
            return
        reader.given(self.tp, behind)
        if asides:
            self._push_around(reader, batch, values, asides, behind)
        else:
            reader.intake.push(Run(self.task, batch, values, behind, reader.topic.coders.decode_key, start=start))

    def _decode_again(self, shared: Shared, lanes: Lanes, batch: Batch) -> list[tuple[KafkaRecord, BaseException]]:
        """Give the agent values of its own, if it could see what others do to theirs.

        Returns what did not decode this time, and did before: a codec may do that.
        """
        if shared.is_immutable():
            return []
        known = {record.offset for record, _ in shared.decoded[2]}
        shared.unit = lanes.unit
        shared.decoded = self._decode(lanes.topic, batch)
        return [(record, error) for record, error in shared.decoded[2] if record.offset not in known]

    def _push_around(
        self, reader: Reader, batch: Batch, values: list[Any], asides: Sequence[tuple[KafkaRecord, Aside]], behind: int
    ) -> None:
        """Push records in runs that end before each record to be put aside, which is a run without events.

        So it is put aside at its place in the order, and committed with the position behind it.
        """
        decode_key = reader.topic.coders.decode_key
        start = 0
        for record, aside in sorted(asides, key=lambda pair: pair[0].offset):
            end = batch.index_of(record.offset)
            reader.intake.push(Run(self.task, batch, values[start:end], record.offset, decode_key, start=start))
            before = partial(aside, record)
            reader.intake.push(Run(self.task, Batch.of(self.tp, record), [], record.offset + 1, decode_key, before))
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

    def _given_up(self, lanes: Lanes, batch: Batch) -> Asides:
        """The records that this agent has given up on."""
        return [
            (batch.record(at), self.skips[offset][lanes.unit])
            for at, offset in enumerate(batch.offsets)
            if lanes.unit in self.skips.get(offset, ())
        ]

    def _own(self, lanes: Lanes, begin: int, asides: Asides) -> Asides:
        """Those of them that were not done, from `begin` on."""
        return [
            (one, aside) for one, aside in asides if one.offset >= begin and not lanes.was_done(one.key, one.offset)
        ]

    def _select(self, lanes: Lanes, batch: Batch, values: list[Any], begin: int) -> tuple[Batch, list[Any]]:
        """What of a decoded batch is for this agent: from `begin` on, not done and not given up on.

        The values are its own: they are cut with its runs.
        """
        start = batch.index_of(begin)
        if not self.skips and not lanes.older:
            return (batch.part(start) if start else batch), values[start:]
        offsets, keys, skips, unit = batch.offsets, batch.keys, self.skips, lanes.unit
        indices = [at for at in range(start, len(batch)) if unit not in skips.get(offsets[at], ())]
        if lanes.older:
            indices = [at for at in indices if not lanes.was_done(keys[at], offsets[at])]
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
        there = set(self._there())
        if len(there) < len(self.readers):
            ahead = ahead_of(self.committed.metadata)
            committed += min([count for lanes in self.lanes for count in lanes.ahead(ahead, there)], default=0)
        done = min([reader.done(self.tp) for reader in there], default=self.next_offset)
        self.backlog.settle(done, committed)
        if len(there) < len(self.readers):
            self.backlog.count_apart(
                sum(reader.waiting_count(self.tp) for reader in self.readers if reader not in there)
            )

    def is_far_ahead(self) -> bool:
        """It was read as far beyond its oldest unfinished event as the metadata of an offset can say."""
        return self.next_offset - self.committed.next_offset > OFFSETS_AHEAD_MAX

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
        slowest = min(self._there(), key=lambda reader: reader.done(self.tp))
        if count := slowest.waiting_count(self.tp):
            self.backlog.add(slowest.done(self.tp), position, count, count * self.backlog.record_bytes)
        return True

    def position(self) -> Committed:
        """The oldest unfinished offset over all readers; readers that are ahead of it are noted in the metadata (I5).

        So readers of one partition need not wait for each other at a commit, and none repeats anything after a crash.
        """
        positions = [tuple([reader.position(self.tp) for reader in lanes.readers]) for lanes in self.lanes]
        oldest = min(map(min, positions), default=self.next_offset)
        if all(max(those) == oldest for those in positions) and not any(lanes.older for lanes in self.lanes):
            return Committed(oldest)
        ahead = {
            lanes.unit: lanes.splits(self.tp, oldest, those) for lanes, those in zip(self.lanes, positions, strict=True)
        }
        return Committed(oldest, metadata_of(ahead))
