"""OutputRecord: a record on its way to Kafka, as the producer takes it. A tuple, since there is one for each event."""

from __future__ import annotations

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
