"""Records on their way to Kafka: one by itself, and many as columns, which is how they wait and are produced."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

Pairs = list[tuple[str, bytes | None]]
# key, value, partition (`BY_KEY`), timestamp in ms (`AT_COMMIT`), headers (None: there are none).
OutputRecord = tuple[bytes | None, bytes | None, int, int, Pairs | None]
# As partition: the key decides, and where there is none the producer.
BY_KEY = -1
# As timestamp: the producer's clock, when it gets the record.
AT_COMMIT = 0
# So a record of 1970-01-01 00:00 has to be sent as of a millisecond later.
NOT_AT_COMMIT = 1
# What a record has whose sender knew no time. It is kept as it is.
NO_TIMESTAMP = -1


def output_of(
    key: bytes | None,
    value: bytes | None,
    *,
    partition: int = BY_KEY,
    timestamp: int = AT_COMMIT,
    headers: Pairs | None = None,
) -> OutputRecord:
    """A record with what it has, by name; where it is made for every event, write the tuple."""
    return key, value, partition, timestamp, headers


@dataclass(slots=True)
class OutputColumns:
    """Records for one topic, in order: as many keys, values and timestamps as there are records.

    Most records name no partition and have no headers, so these two begin as None, and may be shorter than the others:
    records beyond their ends are `BY_KEY`, and without headers (see `fill`).
    """

    keys: list[bytes | None] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)
    partitions: list[int] | None = None
    headers: list[Pairs | None] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def append(self, record: OutputRecord) -> None:
        """Add a record."""
        key, value, partition, timestamp, headers = record
        if partition != BY_KEY:
            self._with_partitions().append(partition)
        if headers:
            self._with_headers().append(headers)
        self.keys.append(key)
        self.values.append(value)
        self.timestamps.append(timestamp)

    def extend(self, columns: OutputColumns) -> None:
        """Add the records of others, which keep their lists."""
        if columns.partitions is not None:
            self._with_partitions().extend(columns.partitions)
        if columns.headers is not None:
            self._with_headers().extend(columns.headers)
        self.keys += columns.keys
        self.values += columns.values
        self.timestamps += columns.timestamps

    def fill(self) -> None:
        """Make columns that are there as long as the others."""
        if self.partitions is not None:
            self._with_partitions()
        if self.headers is not None:
            self._with_headers()

    def part(self, start: int, end: int) -> OutputColumns:
        """A copy of some of them."""
        return OutputColumns(
            self.keys[start:end],
            self.values[start:end],
            self.timestamps[start:end],
            None if self.partitions is None else self.partitions[start:end],
            None if self.headers is None else self.headers[start:end],
        )

    def records(self) -> Iterator[OutputRecord]:
        """Each by itself."""
        self.fill()
        count = len(self)
        partitions = [BY_KEY] * count if self.partitions is None else self.partitions
        headers = [None] * count if self.headers is None else self.headers
        return zip(self.keys, self.values, partitions, self.timestamps, headers, strict=True)

    def _with_partitions(self) -> list[int]:
        """One for each record that is there."""
        if self.partitions is None:
            self.partitions = []
        self.partitions += [BY_KEY] * (len(self.values) - len(self.partitions))
        return self.partitions

    def _with_headers(self) -> list[Pairs | None]:
        if self.headers is None:
            self.headers = []
        self.headers += [None] * (len(self.values) - len(self.headers))
        return self.headers
