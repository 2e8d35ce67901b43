"""The arithmetic behind the figures: stairs of commits become rates, warm-up and tail are left out, ranks are right."""

from __future__ import annotations

import pytest

from .steady import Progress, percentile, steady_part


def stairs(rate: int, until: int, *, stall_at: float | None = None) -> Progress:
    """Two partitions that commit every second, `rate` records a second each, at 1 us of CPU per record.

    stall_at: from then on nothing moves for 3 s, while CPU is used as before.
    """
    progress = Progress()
    for tenth in range(until * 10 + 1):
        at = tenth / 10
        worked = at if stall_at is None or at < stall_at else max(stall_at, at - 3)
        committed = {("in", number): int(worked) * rate for number in range(2)}
        progress.note(at, at * 2 * rate * 1e-6, committed)
    return progress


def test_steady_part_finds_the_rate_and_the_cost_behind_stairs() -> None:
    """Work of a known speed and cost is measured as having them, although commits come once a second."""
    steady = steady_part(stairs(1000, 10), ["in"], warm_up_s=2)

    assert not steady.whole
    assert steady.seconds == pytest.approx(6)
    assert steady.events_per_second == pytest.approx(2000, rel=0.01)
    assert steady.cpu_us_per_event == pytest.approx(1, rel=0.01)


def test_steady_part_counts_a_stall() -> None:
    """Time and CPU spent without progress are not left out: they belong to the speed."""
    stalled = steady_part(stairs(1000, 13, stall_at=6), ["in"], warm_up_s=2)

    assert stalled.events_per_second == pytest.approx(2000 * 6 / 9, rel=0.02)
    assert stalled.cpu_us_per_event == pytest.approx(9 / 6, rel=0.02)


def test_steady_part_ends_when_the_first_partition_runs_dry() -> None:
    """What a lone late partition does at the end is not the speed of the whole."""
    progress = stairs(1000, 8)
    for second in range(9, 20):
        progress.note(second, 16e-3 + second * 1e-6, {("in", 0): 8000, ("in", 1): 8000 + second})

    assert steady_part(progress, ["in"], warm_up_s=2).events_per_second == pytest.approx(2000, rel=0.01)


def test_steady_part_of_a_short_work_is_the_whole_and_says_so() -> None:
    """Too little work for a warm-up still gives a number, marked as one of the whole run."""
    steady = steady_part(stairs(1000, 2), ["in"], warm_up_s=2)

    assert steady.whole
    assert steady.events == pytest.approx(4000)


def test_an_event_that_passes_two_topics_counts_once() -> None:
    """With a repartition topic each event is committed twice and is one event."""
    progress = Progress()
    for second in range(11):
        committed = {("in", 0): second * 1000, ("again", 0): second * 1000}
        progress.note(second, second * 5e-3, committed)

    steady = steady_part(progress, ["in", "again"], warm_up_s=2)

    assert steady.events_per_second == pytest.approx(1000)
    assert steady.cpu_us_per_event == pytest.approx(5)


def test_steady_part_of_nothing_is_an_error() -> None:
    """Without a commit there is no figure, rather than a wrong one."""
    progress = Progress()
    progress.note(0.0, 0.0, {("in", 0): 0})
    with pytest.raises(ValueError, match="no commit"):
        steady_part(progress, ["in"], warm_up_s=2)


def test_percentile_is_the_nearest_rank() -> None:
    """Percentiles are values that occurred, by nearest rank."""
    values = [float(n) for n in range(100, 0, -1)]

    assert [percentile(values, percent) for percent in (50, 99, 100)] == [50.0, 99.0, 100.0]
    assert percentile([7.0], 50) == 7.0
