"""`python -m tests.simulation`: many seeds on all cores, or one with its trace."""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from .run import run


def main(arguments: list[str]) -> int:
    """Run the seeds; 1 when one of them fails, with the command that shows it."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Simulate clusters.")
    parser.add_argument("--seeds", type=int, default=2_000, help="How many, from --first on.")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, help="Only this one.")
    parser.add_argument("--trace", action="store_true", help="Print everything that happens in it.")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        lines: list[str] = []
        outcome = run(options.seed, lines)
        if options.trace:
            print("\n".join(lines))
        print(outcome)
        return 1 if outcome.failure else 0
    began, failures, commits, terms = time.monotonic(), 0, 0, 0
    with ProcessPoolExecutor() as pool:
        seeds = range(options.first, options.first + options.seeds)
        for number, outcome in enumerate(pool.map(run, seeds, chunksize=20), 1):
            commits, terms = commits + outcome.commits, terms + outcome.terms
            if outcome.failure:
                failures += 1
                print(f"seed {outcome.seed}: {outcome.failure}")
                print(f"    python -m tests.simulation --seed {outcome.seed} --trace", flush=True)
            if number % 1000 == 0:
                print(f"{number} seeds, {failures} failures, {time.monotonic() - began:.0f} s", flush=True)
    seconds = time.monotonic() - began
    print(f"{options.seeds} seeds, {failures} failures, {commits} commits, {terms} leaders, {seconds:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
