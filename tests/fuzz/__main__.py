"""The rows of the fuzz table for as long as you like, each for the same time, from seeds that are printed.

    python -m tests.fuzz --minutes 60              all rows
    python -m tests.fuzz --row 'wire*' --seed 12   some of them, again

A failure prints the input and the seed, and ends the run with 1.
"""

from __future__ import annotations

import argparse
import fnmatch
import random
import resource
import sys
import time
import traceback

from .rows import Row, all_rows
from .test_rows import change

MEMORY_BYTES_MAX = 4 * 1024**3


def run(row: Row, seed: int, seconds: float) -> tuple[int, bool]:
    """How many inputs were tried, and whether all came to what is documented."""
    source = random.Random(f"{row.name}{seed}")
    tried, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        data = change(source, row)
        tried += 1
        try:
            row.check(data)
        except Exception:  # noqa: BLE001 (whatever it is, it is the finding)
            sys.stderr.write(f"{row.name}, seed {seed}, input {tried}: {data[:4000]!r}\n{traceback.format_exc()}")
            return tried, False
    return tried, True


def main() -> int:
    """Run, and say how many inputs there were."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="for all rows together")
    parser.add_argument("--row", default="*", help="a pattern of names")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    rows = [row for row in all_rows() if fnmatch.fnmatch(row.name, options.row)]
    # What takes memory without a bound ends this run, not the machine.
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    failed = 0
    for row in rows:
        tried, holds = run(row, options.seed, options.minutes * 60 / len(rows))
        failed += not holds
        sys.stdout.write(f"{row.name}: {tried} inputs, {'ok' if holds else 'FAILED'} (seed {options.seed})\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
