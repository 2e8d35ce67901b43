"""The ledger from the command line: exactly once under random faults, judged by fifteen checks, with recovery times.

    python -m tests.ledger --seed 7 --seconds 300 --hosts 1 --brokers 3 --workers 2 --rate 2000 --report ledger.json

Ends with 1 when a check is red or a run could not be finished. What each recovery time means: recovery.py.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import traceback
import uuid
from pathlib import Path

from confluent_kafka import KafkaException

from streamcluster.errors import StreamclusterError
from streamcluster_coordinator.broker import pinned_versions
from tests.ledger.broker_faults import SKIPPED, ends_skipped
from tests.ledger.faults import BROKER_FAULTS, EVENT_AND_STORE_FAULTS, WORKER_AND_HOST_FAULTS
from tests.ledger.options import Options, Result
from tests.ledger.report import replay_command, text_of, times_of, write_json
from tests.ledger.trial import run_trial


def options_of(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.ledger", description="Exactly once under random faults.")
    parser.add_argument("--seed", type=int, help="Of load and faults. Default: the time.")
    parser.add_argument("--seeds", type=int, default=1, help="So many runs, with this seed and those after it.")
    parser.add_argument("--seconds", type=float, default=300.0, help="Of faults. Default: 300.")
    parser.add_argument("--hosts", type=int, default=1, help="Coordinators. Default: 1.")
    parser.add_argument("--brokers", type=int, default=3, help="Nodes of the run's own cluster. Default: 3.")
    parser.add_argument(
        "--kafka", choices=pinned_versions(), help="The release. Default: one that keeps what it acknowledges."
    )
    parser.add_argument("--broker", metavar="HOST:PORT", help="Use this one, which gets no faults.")
    parser.add_argument("--workers", type=int, default=2, help="Of each host. Default: 2.")
    parser.add_argument("--rate", type=int, default=2_000, help="Movements a second. Default: 2,000.")
    parser.add_argument("--accounts", type=int, default=1_000, help="Keys. Default: 1,000.")
    parser.add_argument("--profiles", type=int, default=10_000, help="Rows of 100 B to begin with. Default: 10,000.")
    parser.add_argument("--mean-gap", type=float, default=6.0, help="Seconds between two faults. Default: 6.")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=[*WORKER_AND_HOST_FAULTS, *EVENT_AND_STORE_FAULTS, *BROKER_FAULTS],
        help="Only this fault.",
    )
    parser.add_argument(
        "--scale", action="store_true", help="Without faults: one host, then all of them, then one again."
    )
    parser.add_argument(
        "--guarantee",
        choices=("exactly_once", "at_least_once"),
        default="exactly_once",
        help="With at_least_once the checks must turn red.",
    )
    parser.add_argument("--report", type=Path, default=Path("ledger.json"), help="Where the JSON goes.")
    parser.add_argument("--keep", action="store_true", help="Keep logs and state of green runs too.")
    return parser.parse_args(arguments)


def run_one(options: Options, directory: Path) -> Result:
    """One run; one that cannot be finished is red, and says why."""
    print(f"{replay_command(options)}\nlogs and state: {directory}", flush=True)

    begin = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - begin:6.1f}]  {text}", flush=True)

    prefix = f"ledger-{options.seed}-{uuid.uuid4().hex[:6]}-"
    try:
        return run_trial(options, prefix, directory, say)
    except (AssertionError, RuntimeError, ValueError, OSError, KafkaException, StreamclusterError) as error:
        traceback.print_exc()
        skipped = f"{SKIPPED}: {ends_skipped(directory / 'kafka')}"
        said = f"it could not be finished: {type(error).__name__}: {str(error)[:4000]}"
        violations = {"the run itself": [said, skipped]}
        return Result(options, violations, seconds=time.monotonic() - begin)


def main(arguments: list[str]) -> int:
    """Run all seeds and report."""
    chosen = options_of(arguments)
    first = chosen.seed if chosen.seed is not None else int(time.time()) % 1_000_000
    results: list[Result] = []
    for seed in range(first, first + chosen.seeds):
        options = Options(
            seed=seed,
            seconds=chosen.seconds,
            hosts=chosen.hosts,
            brokers=chosen.brokers,
            workers=chosen.workers,
            rate=chosen.rate,
            accounts=chosen.accounts,
            profiles=chosen.profiles,
            mean_gap=chosen.mean_gap,
            kinds=tuple(chosen.only),
            bootstrap=chosen.broker,
            kafka=chosen.kafka,
            guarantee=chosen.guarantee,
            is_scaled=chosen.scale,
        )
        directory = Path(tempfile.mkdtemp(prefix=f"ledger-{seed}-"))
        result = run_one(options, directory)
        results.append(result)
        print("\n".join(text_of(result)), flush=True)
        write_json(chosen.report, results)
        if result.is_green and not chosen.keep:
            shutil.rmtree(directory)
    print("\n".join(times_of([one for result in results for one in result.recoveries])))
    print(f"{sum(result.is_green for result in results)} of {len(results)} runs are green; {chosen.report}")
    return 0 if all(result.is_green for result in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
