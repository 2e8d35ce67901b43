"""The ledger, short: a fixed seed of faults of every sort within seconds, and all checks.

It shows that the ledger works and that nothing is badly wrong. What only shows now and then is for the schedules of the
engine and of the coordinator (tests/engine/test_any_schedule.py, tests/simulation). Longer ones are commands.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.ledger.checks import CHECKS
from tests.ledger.options import Options
from tests.ledger.report import text_of, times_of
from tests.ledger.trial import run_trial

SECONDS = float(os.environ.get("STREAMCLUSTER_LEDGER_SECONDS", "15"))
# One that damages a store while all runs, and then has bad and hanging events, workers, the broker, the host and its
# coordinator within them, with time for it to come back in between.
SEED = 23656
# Start, drain, reading back and judging on a busy machine.
AROUND_SECONDS = 400


@pytest.mark.timeout(SECONDS + AROUND_SECONDS)
def test_everything_counts_once_under_all_faults(topic_prefix: str, tmp_path: Path) -> None:
    """Every check is green, and faults of several kinds were done."""
    options = Options(seed=SEED, seconds=SECONDS, brokers=1, rate=500, accounts=300, profiles=2_000, mean_gap=2.0)

    result = run_trial(options, topic_prefix, tmp_path, print)

    told = "\n".join([*text_of(result), *times_of(result.recoveries)])
    print(told)
    assert {*result.violations} == {*CHECKS}
    assert result.is_green, told
    assert len({one.kind for one in result.recoveries}) >= 5, told
