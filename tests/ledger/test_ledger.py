"""The ledger, short: exactly once under a fixed seed of faults of workers, coordinator, host and brokers, all checks.

Longer ones are commands: python -m tests.ledger --help
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.ledger.checks import CHECKS
from tests.ledger.report import text_of, times_of
from tests.ledger.trial import Options, run_trial

SECONDS = float(os.environ.get("STREAMCLUSTER_LEDGER_SECONDS", "45"))
# Start, drain, reading back and judging on a busy machine.
AROUND_SECONDS = 400


@pytest.mark.timeout(SECONDS + AROUND_SECONDS)
def test_everything_counts_once_under_all_faults(topic_prefix: str, tmp_path: Path) -> None:
    """Ten checks are green, and faults of several kinds were done."""
    options = Options(seed=11, seconds=SECONDS, brokers=1, rate=500, accounts=300, profiles=2_000, mean_gap=4.0)

    result = run_trial(options, topic_prefix, tmp_path, print)

    told = "\n".join([*text_of(result), *times_of(result.recoveries)])
    print(told)
    assert {*result.violations} == {*CHECKS}
    assert result.is_green, told
    assert len({one.kind for one in result.recoveries}) >= 5, told
