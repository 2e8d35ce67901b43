"""Does the bench still work? Runs every case at its quick sizes and looks at which figures came, never at how large."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from streamcluster_coordinator.broker import Broker

from .__main__ import main
from .report import ASKED, Report

# One guarantee keeps this near a minute; the comparison of the two needs both.
GUARANTEE = "exactly_once"
OTHER = "at_least_once"
COMPARISON = "exactly once slower, %"


@pytest.mark.timeout(300)
def test_quick_bench_measures_everything_that_is_asked(own_broker: Broker, tmp_path: Path) -> None:
    """No case fails, and each asked figure is in the JSON file, above zero."""
    path = tmp_path / "bench.json"
    arguments = ["--quick", "--guarantee", GUARANTEE, "--broker", own_broker.bootstrap, "--json", str(path)]
    code = main(arguments)
    report = msgspec.json.decode(path.read_bytes(), type=Report)
    assert report.failures == {}
    assert code == 0
    asked = {(case, figure) for case, figure in ASKED if OTHER not in case and figure != COMPARISON}
    measured = {(one.case, one.figure) for one in report.figures if one.value > 0}
    assert asked <= measured
    assert all(one.reached is None for one in report.figures), "quick sizes say nothing about what is reached"
