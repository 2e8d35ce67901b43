"""TimeRow: what a commit says of an operator's time, in one row of its internal table."""

from __future__ import annotations

import msgspec

from ...ids import TP
from ..values import Committed
from .watermarks import Mark

ROW_KEY = b'"time"'
_VERSION = 1


class TimeRow(msgspec.Struct, frozen=True, kw_only=True):
    """time: T; inputs: topic -> (watermark, last timestamp, read at) at the committed position, all in ms.

    producers: of those inputs that are repartition topics, producing task -> its T. due: source of due rows -> (offset
    to go on at, metadata, the entry of the index behind which it goes on).
    definition: the table's, by which rows were judged; a row of before there were definitions has none. late: events;
    lapsed: rows that came due before they were written.
    """

    version: int = _VERSION
    time: int
    inputs: dict[str, tuple[int, int, int]]
    due: dict[str, tuple[int, str, bytes]] = {}
    definition: dict[str, int | str] = {}
    late: int = 0
    lapsed: int = 0
    producers: dict[str, dict[str, int]] = {}

    def mark(self, topic: str) -> Mark:
        """What was known of an input."""
        return Mark(*self.inputs[topic]) if topic in self.inputs else Mark()

    def position(self, source: str) -> tuple[Committed, bytes | None]:
        """Where a source of due rows goes on."""
        if source not in self.due:
            return Committed(0), None
        offset, metadata, entry = self.due[source]
        return Committed(offset, metadata), entry or None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(TimeRow)


def row_of(
    time: int,
    marks: dict[TP, Mark],
    due: dict[TP, tuple[Committed, bytes | None]],
    definition: dict[str, int | str],
    late: int,
    lapsed: int,
    producers: dict[str, dict[str, int]],
) -> TimeRow:
    """The row of one task."""
    return TimeRow(
        time=time,
        inputs={tp.topic: (mark.watermark, mark.last, mark.read_at) for tp, mark in marks.items()},
        due={tp.topic: (at.next_offset, at.metadata, entry or b"") for tp, (at, entry) in due.items()},
        definition=definition,
        late=late,
        lapsed=lapsed,
        producers=producers,
    )


def positions_in(row: TimeRow) -> tuple[object, ...]:
    """What of it says how far the task is, and who was late by then: it is written again when that has moved."""
    return row.inputs, row.producers, row.due, row.late, row.lapsed


def encode_row(row: TimeRow) -> bytes:
    """As it is in the changelog."""
    return _encoder.encode(row)


def decode_row(data: bytes | None) -> TimeRow | None:
    """None: there is none yet."""
    return None if data is None else _decoder.decode(data)
