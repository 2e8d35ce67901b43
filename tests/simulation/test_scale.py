"""What the control plane costs in a large cluster; the whole measure is `python -m tests.simulation.scale`."""

from __future__ import annotations

from .scale import measure

HOSTS, SLOTS, TASKS, SECONDS = 40, 8, 4_000, 10


def test_the_control_plane_of_4000_tasks_takes_a_few_percent_of_a_core() -> None:
    """CPU seconds, so that a busy machine makes no difference; ten times as many before reports were lean."""
    scale = measure(HOSTS, SLOTS, TASKS, SECONDS)
    leader, follower = scale.all[0], scale.all[1]

    assert leader.cpu / SECONDS < 0.10
    assert follower.cpu / SECONDS < 0.03


def test_nothing_is_decided_where_nothing_happens() -> None:
    """Counts and positions move all the time, and lead to no snapshot."""
    scale = measure(HOSTS, SLOTS, TASKS, SECONDS)

    assert len(scale.control) == 1
