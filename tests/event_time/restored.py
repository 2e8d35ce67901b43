"""Windows restored into a store: time, CPU and memory beside a plain table with the same bytes.

    python -m tests.event_time.restored --megabytes 1000

Records come as a changelog has them, without Kafka: what differs between the two is the dates of the rows and the index
by end.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from streamcluster.dates import rows_of
from streamcluster.windows.keys import END_INDEX
from streamcluster_worker.state.memory import Memory
from streamcluster_worker.state.rocks import RocksStore

BATCH = 10_000
VALUE = b"x" * 100
BUFFERS_BYTES = 64_000_000


def records(megabytes: int) -> Iterator[list[tuple[bytes, bytes | None]]]:
    """Batches of a changelog: windows of a minute of 10,000 keys, one minute after the other."""
    size = number = 0
    batch: list[tuple[bytes, bytes | None]] = []
    while size < megabytes * 1_000_000:
        minute, key = divmod(number, BATCH)
        row = b'["key%d",[%d.0,%d.0]]' % (key, minute * 60, minute * 60 + 60)
        batch.append((row, VALUE))
        size += len(row) + len(VALUE)
        number += 1
        if len(batch) == BATCH:
            yield batch
            batch = []
    yield batch


def restore(megabytes: int, *, is_windowed: bool) -> str:
    """What it took."""
    directory = Path(tempfile.mkdtemp(prefix="restored-"))
    process = psutil.Process()
    before, most, count = process.memory_info().rss, 0, 0
    begin, cpu = time.monotonic(), time.process_time()
    indexes = {"table": (END_INDEX,)} if is_windowed else {}
    store = RocksStore.open(directory / "store", ["table"], Memory(BUFFERS_BYTES, BUFFERS_BYTES), indexes=indexes)
    try:
        for batch in records(megabytes):
            count += len(batch)
            rows = rows_of(batch, [count] * len(batch)) if is_windowed else batch
            store.restore("table", rows, count)
            most = max(most, process.memory_info().rss)
    finally:
        store.close()
    seconds, cpu = time.monotonic() - begin, time.process_time() - cpu
    disk = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    shutil.rmtree(directory)
    return (
        f"{'windows' if is_windowed else 'plain':8} {count:,} rows of {megabytes} MB: {seconds:.1f} s, {cpu:.1f} s of "
        f"CPU, {count / cpu:,.0f} rows/s of CPU, {(most - before) / 1e6:.0f} MB of memory, {disk / 1e6:.0f} MB on disk"
    )


def main(arguments: list[str]) -> int:
    """Both, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m tests.event_time.restored", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000)
    chosen = parser.parse_args(arguments)
    for is_windowed in (False, True):
        print(restore(chosen.megabytes, is_windowed=is_windowed), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
