"""When the next commit is due: soon at low load, seldom at high load, on the beat when a number is set."""

from __future__ import annotations

import pytest

from streamcluster.engine.pacing import Pacing
from streamcluster.settings import Settings, make_settings


def settings_with(**values: float) -> Settings:
    """Settings with these commit settings."""
    return make_settings({"id": "a", **values})


def test_commit_follows_soon_at_low_load() -> None:
    """An unsaturated loop commits commit_interval_min after the last commit ended."""
    pacing = Pacing(settings_with(commit_interval_min=0.01, commit_interval_max=0.2), now=100.0)
    pacing.loaded(saturated=False)
    assert pacing.due() == pytest.approx(100.01)
    pacing.committed(105.0)
    assert pacing.due() == pytest.approx(105.01)


def test_interval_grows_under_load_and_shrinks_after_it() -> None:
    """Each saturated turn doubles the interval up to the maximum; each idle one halves it down to the minimum."""
    pacing = Pacing(settings_with(commit_interval_min=0.01, commit_interval_max=0.1), now=0.0)
    grown = []
    for _ in range(6):
        pacing.loaded(saturated=True)
        grown.append(pacing.due())
    assert grown == pytest.approx([0.02, 0.04, 0.08, 0.1, 0.1, 0.1])
    for _ in range(6):
        pacing.loaded(saturated=False)
    assert pacing.due() == pytest.approx(0.01)


def test_interval_grows_from_nothing_too() -> None:
    """By default a commit follows the last one at once, and not under load."""
    pacing = Pacing(settings_with(), now=0.0)
    assert pacing.due() == 0.0
    grown = []
    for saturated in (True, True, False, False, False):
        pacing.loaded(saturated=saturated)
        grown.append(pacing.due())
    assert grown == pytest.approx([0.002, 0.004, 0.002, 0.001, 0.0])


@pytest.mark.parametrize("saturated", [True, False])
def test_number_fixes_the_interval(saturated: bool) -> None:
    """commit_interval=1 is kept whatever the load; 0 commits as fast as it goes."""
    pacing = Pacing(settings_with(commit_interval=1.0), now=0.0)
    for _ in range(5):
        pacing.loaded(saturated=saturated)
    assert pacing.due() == 1.0
    assert Pacing(settings_with(commit_interval=0.0), now=3.0).due() == 3.0


def test_maximum_below_the_minimum_is_the_minimum() -> None:
    """Contradicting settings give the longer interval, never one that shrinks under load."""
    pacing = Pacing(settings_with(commit_interval_min=0.5, commit_interval_max=0.1), now=0.0)
    pacing.loaded(saturated=True)
    assert pacing.due() == 0.5
