"""The command line of the bench: which cases, how many records, which broker, where the JSON goes.

It decides the order of the cases and what becomes of one that fails; what is measured, the cases decide.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from confluent_kafka import KafkaException

from streamcluster.errors import StreamclusterError
from streamcluster_coordinator.broker import Broker

from .awaits import measure_awaits
from .bench import GUARANTEES, Bench, Sizes, quick_sizes
from .holdups import measure_holdups
from .hosts import CASES as HOSTS_CASES
from .hosts import measure_hosts
from .joins import measure_joins
from .latency import measure_latency
from .recovery import measure_kill, measure_restore
from .report import HEADER, Report, this_machine
from .startup import measure_start
from .throughput import measure_throughput
from .windows import measure_windows

CASES: dict[str, Callable[[Bench], None]] = {
    "count": partial(measure_throughput, work="count"),
    "mapping": partial(measure_throughput, work="mapping"),
    "grouped": partial(measure_throughput, work="grouped"),
    "latency": measure_latency,
    "restore": measure_restore,
    "kill": measure_kill,
    "start": measure_start,
    "holdups": measure_holdups,
    "awaits": measure_awaits,
    "windows": measure_windows,
    "joins": measure_joins,
}
# All cases with several hosts, which share one cluster.
HOSTS = "hosts"
NAMES = (*CASES, *HOSTS_CASES, HOSTS)
RECORDS = 10_000_000


def options_of(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure streamcluster on a broker.")
    parser.add_argument(
        "--only",
        choices=NAMES,
        action="append",
        help="Only this case; may be given several times. hosts: all of those.",
    )
    parser.add_argument("--guarantee", choices=GUARANTEES, action="append", help="Only this guarantee.")
    parser.add_argument("--records", type=int, help=f"Orders per input topic. Default: {RECORDS:,}.")
    parser.add_argument("--keys", type=int, help="Keys of the cases with several hosts. Default: 5,000,000.")
    parser.add_argument("--quick", action="store_true", help="See that all of it works, in about a minute.")
    parser.add_argument("--json", type=Path, default=Path("bench.json"), help="Where the figures go.")
    parser.add_argument("--broker", metavar="HOST:PORT", help="Use this broker; its other topics are left alone.")
    parser.add_argument("--keep-logs", action="store_true", help="Keep the directory with logs and state, and name it.")
    return parser.parse_args(arguments)


def sizes_of(options: argparse.Namespace) -> Sizes:
    """How much to do."""
    if options.quick:
        return quick_sizes()
    sizes = Sizes(records=options.records or RECORDS)
    return replace(sizes, hosts_rows=options.keys) if options.keys else sizes


@contextmanager
def chosen_broker(address: str | None) -> Iterator[str]:
    """The bootstrap address of a running broker, or of one that lives as long as the bench."""
    if address is not None:
        yield address
        return
    with Broker() as own:
        yield own.bootstrap


def steps_of(names: list[str]) -> dict[str, Callable[[Bench], None]]:
    """What is to be run, in its order: those of several hosts come last, as one."""
    steps = {name: CASES[name] for name in names if name in CASES}
    of_hosts = [name for name in HOSTS_CASES if name in names or HOSTS in names]
    if of_hosts:
        steps[HOSTS] = partial(measure_hosts, names=of_hosts)
    return steps


def run_cases(bench: Bench, names: list[str]) -> None:
    """Run the cases one after the other; one that fails leaves its reason in the report, and the next one runs."""
    for name, measure in steps_of(names).items():
        began = time.monotonic()
        try:
            measure(bench)
        except (RuntimeError, ValueError, OSError, KafkaException, StreamclusterError) as error:
            bench.report.failures[name] = f"{type(error).__name__}: {error}"
            print(f"{name}: FAILED: {error}", flush=True)
        print(f"-- {name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """Run the bench; 0 when every case has its figures (reached or not), 1 otherwise."""
    options = options_of(arguments)
    sizes = sizes_of(options)
    report = Report(machine=this_machine(), records=sizes.records, quick=options.quick)
    directory = Path(tempfile.mkdtemp(prefix="streamcluster-bench-"))
    print(HEADER, flush=True)
    try:
        with chosen_broker(options.broker) as bootstrap:
            guarantees = tuple(options.guarantee or GUARANTEES)
            bench = Bench(bootstrap, directory, sizes, options.quick, report, guarantees)
            try:
                run_cases(bench, options.only or list(NAMES))
            finally:
                bench.close()
    finally:
        report.write(options.json)
        if options.keep_logs:
            print(f"logs and state: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    print(f"\n{report.table()}\n\nwritten: {options.json}")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
