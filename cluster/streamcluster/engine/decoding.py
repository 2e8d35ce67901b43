"""From the records of a batch to values, and who may have the same ones. It knows no reader and no position."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from ..batch import Batch, KafkaRecord
from ..codecs.immutable import are_immutable
from ..topics import Topic

# Records and their values, and those that cannot be decoded.
Decoded = tuple[Batch, list[Any], list[tuple[KafkaRecord, BaseException]]]


class Shared:
    """What was decoded by one topic declaration, last for the readers of `unit`."""

    __slots__ = ("_immutable", "decoded", "unit")

    def __init__(self, unit: str, decoded: Decoded) -> None:
        self.unit = unit
        self.decoded = decoded
        self._immutable: bool | None = None

    def is_immutable(self) -> bool:
        """No agent can change what another one gets of it."""
        if self._immutable is None:
            self._immutable = are_immutable(self.decoded[1])
        return self._immutable


def decode(topic: Topic, batch: Batch) -> Decoded:
    """Decode them in one go: most decoders are functions in C, which are called without a step of Python in between."""
    try:
        values = list(map(topic.coders.decode_value, cast(Sequence[bytes], batch.values)))
    except BaseException:  # noqa: BLE001 (codecs are user code; the offender is found one by one)
        values = []
    # A decoder that raises StopIteration ends the map.
    return (batch, values, []) if len(values) == len(batch) else decode_each(topic, batch, lambda _: None)


def decode_each(topic: Topic, batch: Batch, begin: Callable[[int], None]) -> Decoded:
    """The slow way, after a batch did not decode: tombstones pass as None. begin: told the offset of each before."""
    decode_value = topic.coders.decode_value
    taken: list[int] = []
    values: list[Any] = []
    undecodable: list[tuple[KafkaRecord, BaseException]] = []
    for index, (offset, data) in enumerate(zip(batch.offsets, batch.values, strict=True)):
        begin(offset)
        try:
            value = None if data is None else decode_value(data)
        except BaseException as error:  # noqa: BLE001 (codecs are user code)
            topic.tell_hint(data or b"")
            undecodable.append((batch.record(index), error))
            continue
        taken.append(index)
        values.append(value)
    return (batch.pick(taken) if undecodable else batch), values, undecodable
