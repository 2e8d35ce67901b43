"""The report of one or more runs: JSON for machines, text for people. It measures and judges nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from tests.bench.report import this_machine
from tests.ledger.options import Options, Result
from tests.ledger.recovery import TIMES, Recovery, distribution

HEADINGS = {
    "detect": "T_detect",
    "fence": "T_fence",
    "restore": "T_restore",
    "first_output": "T_first_output",
    "to_95": "T_95",
    "lag": "T_lag",
}
VIOLATIONS_SHOWN_MAX = 5


def replay_command(options: Options) -> str:
    """What plays this run again."""
    words = [
        f"--seed {options.seed} --seconds {options.seconds:g} --hosts {options.hosts} --brokers {options.brokers}",
        f"--workers {options.workers} --rate {options.rate} --accounts {options.accounts}",
        f"--profiles {options.profiles} --mean-gap {options.mean_gap:g}",
        *(f"--only '{kind}'" for kind in options.kinds),
        *(["--scale"] if options.is_scaled else []),
        *([] if options.guarantee == "exactly_once" else [f"--guarantee {options.guarantee}"]),
    ]
    if options.kafka is not None:
        words.append(f"--kafka {options.kafka}")
    if options.bootstrap is not None:
        words.append(f"--broker {options.bootstrap}")
    return f"python -m tests.ledger {' '.join(words)}"


def text_of(result: Result) -> Iterator[str]:
    """One run in lines."""
    yield f"seed {result.options.seed}: {result.movements:,} movements in {result.seconds:.0f} s"
    if result.refused:
        yield f"  {result.refused} records were given up on by their producer, which is allowed"
    yield "  seen: " + ", ".join(f"{count:,} {what}" for what, count in result.evidence.items())
    for check, violations in result.violations.items():
        yield f"  {'FAIL' if violations else 'ok  '}  {check}"
        for violation in violations[:VIOLATIONS_SHOWN_MAX]:
            yield f"          {violation}"
        if len(violations) > VIOLATIONS_SHOWN_MAX:
            yield f"          and {len(violations) - VIOLATIONS_SHOWN_MAX} more"
    yield f"  replay: {replay_command(result.options)}"


def times_of(found: Sequence[Recovery]) -> Iterator[str]:
    """Recovery times in lines: each kind of fault, of the times within which no other one was felt, as p50 / max."""
    yield f"{'seconds, p50 / max':20}{'faults':>7}" + "".join(f"{HEADINGS[name]:>17}" for name in TIMES)
    for kind, times in distribution(found).items():
        alone = sum(1 for one in found if one.kind == kind and not one.overlapped)
        cells = (f"{times[name]['p50']:.2f} / {times[name]['max']:.2f}" if name in times else "-" for name in TIMES)
        yield f"{kind:20}{alone:>7}" + "".join(f"{cell:>17}" for cell in cells)


def write_json(path: Path, results: Sequence[Result]) -> None:
    """Everything, also each fault's own times."""
    every = [one for result in results for one in result.recoveries]
    content = {
        "machine": this_machine(),
        "green": all(result.is_green for result in results),
        "times": distribution(every),
        "runs": [
            {
                "options": result.options,
                "replay": replay_command(result.options),
                "movements": result.movements,
                "refused": result.refused,
                "evidence": result.evidence,
                "seconds": round(result.seconds, 1),
                "violations": result.violations,
                "faults": result.recoveries,
            }
            for result in results
        ],
    }
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
