"""The scripts in tests/scenarios/cluster, replayed. STREAMCLUSTER_TEST_REWRITE=1 writes what the hosts do now."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .cluster_scenario import replay

SCRIPTS = sorted((Path(__file__).parent.parent / "scenarios" / "cluster").glob("*.txt"))


@pytest.mark.parametrize("path", SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_cluster_scenario_has_the_written_effects(path: Path) -> None:
    """The hosts do what the script says, line by line."""
    script = path.read_text()
    actual = replay(script)
    if os.environ.get("STREAMCLUSTER_TEST_REWRITE"):
        path.write_text(actual)
    assert actual == script


def test_cluster_scenario_notices_a_wrong_effect() -> None:
    """A script with an effect that does not happen is not equal to its replay."""
    script = "settings workers=1 tasks=1\n> start a\n0.00 a1 fence b/0 for e1\n"
    assert replay(script) != script


def test_there_are_cluster_scenarios() -> None:
    """The folder is found: no scripts would be no failures."""
    assert len(SCRIPTS) >= 10
