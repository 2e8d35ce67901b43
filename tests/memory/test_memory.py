"""The short form of `python -m tests.memory`, with bounds so small that what is not bounded shows."""

from __future__ import annotations

from pathlib import Path

from tests.memory.trial import Load, measure

MIB = 1024 * 1024


def test_memory_is_bounded_under_200_partitions_and_flat_without_a_broker(topic_prefix: str, tmp_path: Path) -> None:
    """A slow agent over 200 partitions and 60 MB to read: a worker holds what its settings say, and no more later."""
    memory = measure(
        topic_prefix,
        tmp_path,
        Load(records=60_000, record_bytes=1000, loaded_seconds=8.0, stopped_seconds=5.0),
        stream_buffer_records_max=2000,
        stream_buffer_bytes_max=4 * MIB,
        consumer_prefetch_bytes=4 * MIB,
    )
    first, most = memory.stopped

    assert memory.loaded - memory.idle < 100 * MIB, memory
    assert most - first < 10 * MIB, memory
