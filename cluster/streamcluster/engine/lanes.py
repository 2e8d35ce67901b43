"""Lanes: the coroutines of one agent that read one partition, each with the keys whose hash is its own.

    records --- one pass: crc32(key) % N ---> a run for each lane that has events; others get nothing, and do not wake

`concurrency=N` makes N of them, so that N events may await something at once while those of a key stay in order. Each
has its own cursor and hand (what it sends and writes), so an event that hangs holds up the keys of its lane and no
other: those go on and are committed.

The committed position is the oldest unfinished event of all lanes. What lanes have finished beyond it is committed with
it, and noted in its metadata (ahead.py), by lane: a lane takes its events in order, so one offset says which of them
are finished, however many.

Another concurrency= divides the keys otherwise. Until the position is behind all that the lanes before had finished, an
event is also finished when they say so (`older`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from zlib import crc32

from ..ahead import SPLITS_MAX, Split, short_name
from ..batch import Batch
from ..ids import TP
from ..topics import Topic
from .intake import RunIntake


class Reader:
    """One coroutine that reads a partition. share: (its number, how many there are) under `concurrency=`."""

    __slots__ = ("intake", "kept", "lags", "last", "name", "next_offset", "share", "topic", "unit")

    def __init__(self, name: str, unit: str, topic: Topic, intake: RunIntake, share: tuple[int, int] | None) -> None:
        self.name = name
        self.unit = unit
        self.topic = topic
        self.intake = intake
        self.share = share
        # What it is given next: what is before that it has, or is past.
        self.next_offset = 0
        # Behind the last run that it was given: once that is done, it is past all before `next_offset`.
        self.last = 0
        # It is left behind (lagging.py), and is given nothing for now; how much it had waiting when that began.
        self.lags = False
        self.kept = 0

    def begin_at(self, tp: TP, offset: int) -> None:
        """Give it what is from there on; it is past all before."""
        self.intake.done[tp] = self.next_offset = self.last = offset
        self.lags = False

    def given(self, tp: TP, behind: int) -> None:
        """It is given a run that ends there, and was past all before that which was not its own."""
        self.intake.done[tp] = self.done(tp)
        self.last = behind

    def done(self, tp: TP) -> int:
        """Behind the last of its finished runs, or where it will be given more when all of them are finished."""
        done = self.intake.done[tp]
        return self.next_offset if done >= self.last else done

    def position(self, tp: TP) -> int:
        """The oldest offset that it has not finished."""
        return self.intake.position(tp, self.done(tp))

    def has_waiting(self, tp: TP) -> bool:
        """Events of the partition wait for it."""
        return any(run.values and run.tp == tp for run in self.intake.queue)

    def waiting_count(self, tp: TP) -> int:
        """Events of the partition that wait for it."""
        return sum([len(run.values) for run in self.intake.queue if run.tp == tp])


class Lanes:
    """The readers of one agent in one partition, by lane."""

    __slots__ = ("older", "readers", "topic", "unit")

    def __init__(self, readers: Sequence[Reader]) -> None:
        self.readers = tuple(readers)
        self.unit = readers[0].unit
        self.topic = readers[0].topic
        # Offsets before which earlier lanes had finished, by lane.
        self.older: list[Split] = []

    def begin_at(self, tp: TP, offset: int, ahead: dict[str, list[Split]]) -> None:
        """Go on at a committed position with this in its metadata."""
        own, earlier = self._noted(ahead)
        self.older = [tuple([offset + count for count in split]) for split in earlier]
        for reader, count in zip(self.readers, own, strict=True):
            reader.begin_at(tp, offset + count)

    def _noted(self, ahead: dict[str, list[Split]]) -> tuple[Split, list[Split]]:
        """How far these lanes are ahead, and earlier ones."""
        splits = ahead.get(short_name(self.unit), [])
        if splits and len(splits[0]) == len(self.readers):
            return splits[0], splits[1:]
        return (0,) * len(self.readers), splits

    def ahead(self, ahead: dict[str, list[Split]], readers: Set[Reader]) -> list[int]:
        """How far those of these readers that are its lanes are ahead by this metadata."""
        return [count for count, reader in zip(self._noted(ahead)[0], self.readers, strict=True) if reader in readers]

    def splits(self, tp: TP, oldest: int, positions: Split) -> list[Split]:
        """How far these positions, and those of earlier lanes, are ahead of the oldest one of the partition."""
        if self.older:
            least = min(positions)
            self.older = [split for split in self.older if max(split) > least]
        return [tuple([max(0, at - oldest) for at in split]) for split in (positions, *self.older)]

    @property
    def begin(self) -> int | None:
        """What the first of them is given next; None: all are left behind."""
        return min([reader.next_offset for reader in self.readers if not reader.lags], default=None)

    def are_even(self, batch: Batch, behind: int) -> bool:
        """Each gets what is its own of this batch."""
        first = batch.offsets[0] if len(batch) else behind
        return all([not reader.lags and reader.next_offset <= first for reader in self.readers])  # noqa: C419 (faster)

    def numbers(self, keys: Iterable[bytes | None]) -> list[int]:
        """Whose the events with these keys are."""
        count = len(self.readers)
        return [crc32(key or b"") % count for key in keys]

    def number_of(self, key: bytes | None) -> int:
        """Whose the event with this key is."""
        return crc32(key or b"") % len(self.readers)

    def was_done(self, key: bytes | None, offset: int) -> bool:
        """Earlier lanes had finished the event."""
        return any(offset < split[crc32(key or b"") % len(split)] for split in self.older)


def lanes_of(readers: Iterable[Reader]) -> list[Lanes]:
    """The readers by agent, in their order."""
    units: dict[str, list[Reader]] = {}
    for reader in readers:
        units.setdefault(reader.unit, []).append(reader)
    return [Lanes(those) for those in units.values()]


def concurrency_of(unit: str, wanted: int, noted: Iterable[dict[str, list[Split]]]) -> int:
    """How many lanes an agent has over partitions with this in the metadata of their positions: as many as wanted.

    But where it was changed twice, before the events were behind that had been finished ahead by then: there is room
    for no third division of the keys, so that waits until the task is opened the next time.
    """
    for ahead in noted:
        splits = ahead.get(short_name(unit), [])
        if len(splits) >= SPLITS_MAX and len(splits[0]) != wanted:
            return len(splits[0])
    return wanted
