"""InHand: what a worker has handed out, in memory that outlives its process, and what follows when that died.

    header       shape of the app | mark: the one event that is tried alone | why the last process died
    a partition  handed out, and being decoded, up to | committed | deaths in a row | suspects up to | the event
                 that it last died of alone, whose that is, how often

One for each slot. It is written by plain stores into a mapped file, so a process that is killed leaves it as it was:
once for each run that is handed out, never for an event, unless it is tried alone. `killers.py` says what to do about
suspects. It knows no file and no Kafka.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from mmap import mmap

from ..ids import TP

# Deaths in a row with some of the same events in hand, which make everything that any of them had in hand a suspect.
# Not at the same position: some life may commit a little before it comes to the killer, each time.
DEATHS_SUSPICIOUS = 2
# Deaths with one event alone, which make it a killer. A process that something else kills has some event in hand too,
# and hardly the same one again.
DEATHS_ALONE = 2
# Stands for a unit's number: an event that killed a codec, or two units.
ANYBODY = 0
_HEADER = struct.Struct("<32s3q168s")
_MARK = struct.Struct("<3q")
_MARK_AT = 32
_WHY_BYTES = 168
_NOTE = struct.Struct("<9q")
# Files of another layout are of another shape.
_LAYOUT = b"2"
_NEXT = struct.Struct("<q")


@dataclass(frozen=True, slots=True)
class Note:
    """What is known of one partition. Positions are "next" offsets; 0 means that there is none.

    handed_next, decoding_next: how far records were handed out, and given to a codec that has not come back;
    deaths: in a row, the first while `deaths_at` was the committed position, and before everything was committed that
    they had in hand; suspects_next: how far any of them had handed out;
    killer_next: behind the event that it last died of alone; killer_unit: whose, as `unit_number` says, or `ANYBODY`;
    killer_deaths: how often.
    """

    handed_next: int = 0
    decoding_next: int = 0
    committed: int = 0
    deaths: int = 0
    deaths_at: int = 0
    suspects_next: int = 0
    killer_next: int = 0
    killer_unit: int = 0
    killer_deaths: int = 0


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What to be careful about in a partition that is opened.

    suspects_next: events before this are tried alone; None: there are none. killer: the offset of an event that is not
    to be handed out again to `killer_unit`, and why.
    """

    suspects_next: int | None = None
    killer: int | None = None
    killer_unit: int = 0
    why: str = ""


def after_death(note: Note) -> Note:
    """The process died with no event marked: what it had handed out here and not committed may be why."""
    behind = max(note.handed_next, note.decoding_next)
    calm = replace(note, handed_next=0, decoding_next=0)
    if behind <= note.committed:
        return calm
    if note.deaths and note.deaths_at <= note.committed < note.suspects_next:
        return replace(calm, deaths=note.deaths + 1, suspects_next=max(behind, note.suspects_next))
    return replace(calm, deaths=1, deaths_at=note.committed, suspects_next=behind)


def after_marked_death(note: Note, offset: int, unit: int) -> Note:
    """The process died while this event was tried alone. The other suspects stay what they are.

    One that kills a second unit before it is committed, without the first, nobody is to have.
    """
    is_again = note.killer_next == offset + 1
    return replace(
        note,
        handed_next=0,
        decoding_next=0,
        suspects_next=max(note.suspects_next, offset + 1),
        killer_next=offset + 1,
        killer_unit=ANYBODY if is_again and unit != note.killer_unit else unit,
        killer_deaths=note.killer_deaths + 1 if is_again else 1,
    )


def suspicion_of(note: Note, committed: int, why: str) -> Suspicion:
    """What to be careful about when the partition is opened at this committed position."""
    if note.deaths < DEATHS_SUSPICIOUS or note.suspects_next <= committed or committed < note.deaths_at:
        return Suspicion()
    is_known = note.killer_deaths >= DEATHS_ALONE and note.killer_next > committed
    return Suspicion(note.suspects_next, note.killer_next - 1 if is_known else None, note.killer_unit, why)


def unit_number(name: str) -> int:
    """A unit's name as a number, never 0."""
    return zlib.crc32(name.encode()) + 1


class InHand:
    """The notes of one slot, over a buffer of `size_of(len(tps))` bytes."""

    __slots__ = ("_buffer", "_handed", "_offsets", "_shape", "_tps")

    def __init__(self, buffer: bytearray | mmap, tps: Sequence[TP], shape: str) -> None:
        """tps: all source partitions of the app, in an order that `shape` stands for. What is of another is dropped."""
        self._buffer = buffer
        self._tps = tuple(tps)
        self._shape = (_LAYOUT + shape.encode())[:32]
        # Where each note begins, and how far was handed out, so that only a change is stored.
        self._offsets = {tp: _HEADER.size + number * _NOTE.size for number, tp in enumerate(self._tps)}
        self._handed: dict[TP, int] = {}
        if bytes(buffer[:32]).rstrip(b"\0") != self._shape:
            self.end()

    @classmethod
    def in_memory(cls, tps: Sequence[TP]) -> InHand:
        """Notes that end with the process."""
        return cls(bytearray(size_of(len(tps))), tps, "memory")

    def end(self) -> None:
        """Nothing is in hand, and nothing is suspected any more: an orderly end."""
        self._buffer[0 : len(self._buffer)] = bytes(len(self._buffer))
        self._buffer[0:32] = self._shape.ljust(32, b"\0")

    def learn(self, death: str | None) -> None:
        """A process begins. death: why the one before it died, when that may be an event's doing."""
        number, offset, unit = self._mark()
        self.unmark()
        for at, tp in enumerate(self._tps):
            note = self.note(tp)
            if death is None:
                note = replace(note, handed_next=0, decoding_next=0)
            elif not number:
                note = after_death(note)
            elif at == number - 1:
                note = after_marked_death(note, offset, unit)
            else:
                note = replace(note, handed_next=0, decoding_next=0)
            self._store(tp, note)
        if death is not None:
            data = death.encode()[:_WHY_BYTES].ljust(_WHY_BYTES, b"\0")
            self._buffer[_HEADER.size - _WHY_BYTES : _HEADER.size] = data

    # Notes

    def note(self, tp: TP) -> Note:
        """What is known of the partition."""
        return Note(*_NOTE.unpack_from(self._buffer, self._offsets[tp]))

    def _store(self, tp: TP, note: Note) -> None:
        _NOTE.pack_into(self._buffer, self._offsets[tp], *astuple(note))

    def opened(self, tp: TP, committed: int) -> Suspicion:
        """The partition is read from its committed position. Returns what to be careful about."""
        note = self.note(tp)
        suspicion = suspicion_of(note, committed, self._why())
        if suspicion.suspects_next is None and (note.suspects_next <= committed or committed < note.deaths_at):
            note = Note()
        self._store(tp, replace(note, handed_next=0, decoding_next=0, committed=committed))
        self._handed[tp] = committed
        return suspicion

    def closed(self, tp: TP) -> None:
        """Nothing of the partition is in hand."""
        self._store(tp, replace(self.note(tp), handed_next=0, decoding_next=0))

    def cleared(self, tp: TP) -> None:
        """Every suspect of the partition is committed."""
        note = self.note(tp)
        self._store(tp, Note(note.handed_next, note.decoding_next, note.committed))

    def handed(self, tp: TP, next_offset: int) -> None:
        """A run that ends there is handed out."""
        if next_offset > self._handed.get(tp, next_offset):
            self._handed[tp] = next_offset
            _NEXT.pack_into(self._buffer, self._offsets[tp], next_offset)

    def decoding(self, tp: TP, next_offset: int) -> None:
        """Records up to there are given to a codec; 0: it has come back."""
        if tp in self._offsets:
            _NEXT.pack_into(self._buffer, self._offsets[tp] + 8, next_offset)

    def committed(self, tp: TP, next_offset: int) -> None:
        """The position is committed."""
        _NEXT.pack_into(self._buffer, self._offsets[tp] + 16, next_offset)

    # The mark

    def mark(self, tp: TP, offset: int, unit: int) -> None:
        """This one event is with user code, and no other."""
        _MARK.pack_into(self._buffer, _MARK_AT, (self._offsets[tp] - _HEADER.size) // _NOTE.size + 1, offset, unit)

    def unmark(self) -> None:
        """No event is marked."""
        _MARK.pack_into(self._buffer, _MARK_AT, 0, 0, 0)

    def _mark(self) -> tuple[int, int, int]:
        number, offset, unit = _MARK.unpack_from(self._buffer, _MARK_AT)
        return number, offset, unit

    def _why(self) -> str:
        data = bytes(self._buffer[_HEADER.size - _WHY_BYTES : _HEADER.size])
        return data.rstrip(b"\0").decode(errors="replace")


def size_of(partition_count: int) -> int:
    """Bytes that the notes of so many partitions take."""
    return _HEADER.size + partition_count * _NOTE.size
