"""The write-ahead logs of a store's database, looked at before RocksDB replays them.

RocksDB takes a record that ends too early for the end of its log, and zeros for padding, also where more follows: it
goes on behind them, and rows of the commits in between are missing without a word. So it is told to take whole logs
only (`shard`), and here what a crash has torn off the end of the last one is cut, and gaps are found by the numbers
that every batch carries. This knows the frames around batches; checksums are RocksDB's matter.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from .store_errors import CorruptStore

# A log is a row of blocks. Record: checksum (4 bytes), length (2), type (1); a batch is whole in one, or in several.
_BLOCK_BYTES = 32 * 1024
_HEADER = struct.Struct("<4xHB")
_NOTHING, _WHOLE, _FIRST, _MIDDLE, _LAST = range(5)
# Batch: number of its first write (8 bytes), how many there are (4).
_BATCH = struct.Struct("<QI")


def mend_logs(path: Path) -> None:
    """Cut what a crash has torn off the last log of the closed database at `path`, and see that nothing is missing.

    Raises:
        CorruptStore: writes are missing in front of others.
        OSError: a log cannot be read, or cut.
    """
    logs = sorted(path.glob("*.log"), key=lambda file: int(file.stem))
    following: int | None = None
    for file in logs:
        data = file.read_bytes()
        batches, end, stopped = _read(data)
        for first, count in batches:
            if following not in (None, first):
                raise CorruptStore(path, f"its logs lack the writes {following} to {first - 1}")
            following = first + count
        if end == len(data):
            continue
        # Tables are flushed from logs that another one follows: only behind the last one's end nothing can be ahead.
        if file != logs[-1] or _goes_on(data, stopped):
            raise CorruptStore(path, f"its log {file.name} is damaged at byte {end}")
        os.truncate(file, end)


def _read(data: bytes) -> tuple[list[tuple[int, int]], int, int]:
    """Of each whole batch the number of its first write, and its count; where the last ends, and where reading did."""
    batches: list[tuple[int, int]] = []
    header_bytes, size = _HEADER.size, len(data)
    at = whole = 0
    begun: bytes | None = None
    while at + header_bytes <= size:
        block_end = (at | _BLOCK_BYTES - 1) + 1
        if at + header_bytes > block_end:
            # The rest of a block is too short for a record, and is filled up.
            at = block_end
            continue
        length, kind = _HEADER.unpack_from(data, at)
        start, end = at + header_bytes, at + header_bytes + length
        if kind == _NOTHING or end > block_end or end > size:
            break
        if kind == _WHOLE and length >= _BATCH.size:
            batches.append(_BATCH.unpack_from(data, start))
        elif kind == _FIRST:
            begun = data[start:end]
        elif kind in (_MIDDLE, _LAST) and begun is not None:
            begun = (begun + data[start:end])[: _BATCH.size]
            if kind == _LAST:
                batches.append(_BATCH.unpack(begun))
                begun = None
        elif kind <= _LAST:
            break
        at = end
        whole = at if begun is None else whole
    return batches, whole, at


def _goes_on(data: bytes, stopped: int) -> bool:
    """Something was written behind the block in which reading ended: no crash did that."""
    behind = stopped + _BLOCK_BYTES - stopped % _BLOCK_BYTES
    return data.count(0, behind) < len(data) - behind
