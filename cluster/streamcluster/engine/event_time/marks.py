"""Marks: how far a task is, in the repartition topics that it sends to.

A mark is a record without key and value and with one header, one to each partition, behind the records that it is
about and in their transaction. No agent gets it: it is taken out of what is read before anything else looks at that.
"""

from __future__ import annotations

from contextlib import suppress

import msgspec

from ...batch import Batch, RecordHeaders
from ...output import AT_COMMIT, OutputColumns, Pairs

MARK_HEADER = "streamcluster-watermark"


class ProducerMark(msgspec.Struct, frozen=True, array_like=True):
    """What a task says.

    producer: its name; time: its T in ms; idle_ms: for how long all of its inputs have been idle; None: one is not.
    """

    producer: str
    time: int
    idle_ms: int | None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(ProducerMark)


def records_of(mark: ProducerMark, partitions: int) -> OutputColumns:
    """A mark for each partition."""
    headers: Pairs = [(MARK_HEADER, _encoder.encode(mark))]
    nothing = [None] * partitions
    return OutputColumns(
        [*nothing], [*nothing], [AT_COMMIT] * partitions, list(range(partitions)), [headers] * partitions
    )


def take_marks(batch: Batch) -> tuple[Batch, list[tuple[int, ProducerMark]]]:
    """The records without the marks, and the marks with their indices in the batch."""
    if batch.headers is None or batch.why is not None:
        return batch, []
    marks: list[tuple[int, ProducerMark]] = []
    for index, headers in enumerate(batch.headers):
        if headers and (mark := _mark_in(headers)) is not None and batch.values[index] is None:
            marks.append((index, mark))
    return (batch.without({index for index, _ in marks}) if marks else batch), marks


def without_marks(batch: Batch) -> Batch:
    """What is there for agents."""
    return take_marks(batch)[0]


def _mark_in(headers: RecordHeaders) -> ProducerMark | None:
    if isinstance(headers, str) or not headers or headers[0][0] != MARK_HEADER:
        return None
    # Somebody else's record with our header is a record.
    with suppress(msgspec.DecodeError):
        return _decoder.decode(headers[0][1] or b"")
    return None
