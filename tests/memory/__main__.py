"""`python -m tests.memory`: whether a worker's memory is bounded under 200 partitions, and flat without its broker."""

from __future__ import annotations

import argparse
import sys
import tempfile
import uuid
from pathlib import Path

from .trial import Load, measure

# What waits (50,000 records) as Python objects, what the client has fetched (32 MiB), what it has to send (64 MiB), and
# the allocator's share: 429 MB. With a bound for each partition it was 858 MB, and rising.
LOADED_BYTES_MAX = 550_000_000
FLAT_BYTES_MAX = 10_000_000


def main(arguments: list[str]) -> int:
    """Run with the default settings; 1 when a bound does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.memory", description=__doc__)
    parser.add_argument("--records", type=int, default=400_000)
    parser.add_argument("--record-bytes", type=int, default=1000)
    parser.add_argument("--loaded-seconds", type=float, default=90.0)
    parser.add_argument("--stopped-seconds", type=float, default=120.0)
    options = parser.parse_args(arguments)
    load = Load(options.records, options.record_bytes, options.loaded_seconds, options.stopped_seconds)
    with tempfile.TemporaryDirectory() as directory:
        memory = measure(f"memory-{uuid.uuid4().hex[:8]}-", Path(directory), load)
    print(memory)
    grown, (first, most) = memory.loaded - memory.idle, memory.stopped
    print(f"grown by {grown / 1e6:.0f} MB, at most {LOADED_BYTES_MAX / 1e6:.0f}")
    print(f"without a broker it grows by {(most - first) / 1e6:.1f} MB, at most {FLAT_BYTES_MAX / 1e6:.0f}")
    return 0 if grown <= LOADED_BYTES_MAX and most - first <= FLAT_BYTES_MAX else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
