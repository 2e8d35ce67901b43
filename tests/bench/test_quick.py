"""Does the bench still work? Runs cases at their quick sizes and looks at which figures came, never at how large."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import pytest

from streamcluster_coordinator.broker import Broker
from tests.long import LONG, only_long

from .__main__ import CASES, main
from .report import ASKED, Report

# One guarantee keeps this near a minute; the comparison of the two needs both.
GUARANTEE = "exactly_once"
OTHER = "at_least_once"
COMPARISON = "exactly once slower, %"
# Beside those that have a test below: count and mapping are measured as grouped is, which has one topic more. The paced
# records and the observer of latency are in kill and holdups, the starts of start in restore.
ELSEWHERE = ("holdups", "count", "mapping", *(() if LONG else ("latency", "start", "awaits")))
# Of the cases with several hosts, those that need no more than one loss: each loss takes 10 s.
HOSTS = ("join", "host_lost", "idle")


@pytest.fixture(scope="module")
def bench_broker() -> Iterator[Broker]:
    """One for both runs, whose topics have names of their own."""
    with Broker() as own:
        yield own


@pytest.mark.timeout(600)
def test_quick_bench_measures_everything_that_is_asked(bench_broker: Broker, tmp_path: Path) -> None:
    """No case fails, and each asked figure is in the JSON file, above zero."""
    path = tmp_path / "bench.json"
    cases = [case for case in CASES if case not in ELSEWHERE]
    report = quick_report(bench_broker, path, cases, "--guarantee", GUARANTEE)
    asked = {
        (case, figure)
        for case, figure in ASKED
        if case.partition(" ")[0] in cases and OTHER not in case and figure != COMPARISON
    }
    measured = {(one.case, one.figure) for one in report.figures if one.value > 0}
    assert asked <= measured
    parts = {one.figure: one.value for one in report.figures if one.case == f"where grouped {GUARANTEE}"}
    assert {f"{part} us/event" for part in ("user", "tables", "decode", "librdkafka")} <= parts.keys()
    assert all(value >= 0 for value in parts.values())
    assert all(one.reached is None for one in report.figures), "quick sizes say nothing about what is reached"


@pytest.mark.timeout(200)
def test_quick_bench_shows_that_no_event_holds_up_others(bench_broker: Broker, tmp_path: Path) -> None:
    """Beside an event that never ends a partition is as old as others, and a bad value doubles nothing."""
    report = quick_report(bench_broker, tmp_path / "bench.json", ("holdups",))
    for case in ("holdups same_task", "holdups endless"):
        own, others = (report.value(case, f"{whose}median age s") for whose in ("", "others' "))
        assert own is not None
        assert others is not None
        assert own <= 2 * others + 0.25, case
    assert report.value("holdups endless", "named in log") == 1
    assert report.value("holdups endless", "named in status") == 1
    assert report.value("holdups unencodable", "doubled") == 0


@only_long
@pytest.mark.timeout(400)
def test_quick_bench_measures_several_hosts(bench_broker: Broker, tmp_path: Path) -> None:
    """A host joins, is lost, comes back, and idles, and each asked figure of that is in the JSON file."""
    report = quick_report(bench_broker, tmp_path / "bench.json", HOSTS)
    asked = {(case, figure) for case, figure in ASKED if case in HOSTS}
    assert asked <= {(one.case, one.figure) for one in report.figures}


def quick_report(broker: Broker, path: Path, cases: Iterable[str], *options: str) -> Report:
    """Run these cases at their quick sizes, and see that none of them fails."""
    only = [word for case in cases for word in ("--only", case)]
    code = main(["--quick", "--broker", broker.bootstrap, "--json", str(path), *only, *options])
    report = msgspec.json.decode(path.read_bytes(), type=Report)
    assert report.failures == {}
    assert code == 0
    return report
