"""Does a plan of a large cluster stay as cheap as it is?"""

from __future__ import annotations

from streamcluster.ids import TaskId

from .placement import Cluster, figures

# Measured: 0.1 to 0.3 s, and several seconds where each task looks at each slot; best of three, whatever else runs.
PLAN_SECONDS_MAX = 1.0
# What is not the decision where tasks go: 0.05 s.
REST_SECONDS_MAX = 0.25
ROUNDS_MAX = 20


def test_a_plan_of_a_large_cluster_is_cheap() -> None:
    """60 hosts with 480 slots and 5,000 tasks: cold, at rest, one host fewer, one more; and it is balanced then."""
    cluster = Cluster([f"h{number}" for number in range(60)], 8, tuple(TaskId(5_000, n) for n in range(5_000)), racks=3)

    seconds = {name: (whole, whole - decision) for name, decision, whole in figures(cluster)}

    assert max(whole for whole, _ in seconds.values()) < PLAN_SECONDS_MAX, seconds
    assert max(rest for _, rest in seconds.values()) < REST_SECONDS_MAX, seconds
    # Then all that the newcomer is to have may warm up at once, to see sooner that it comes to an end, in a balance.
    cluster.warmups = len(cluster.tasks)
    for _ in range(ROUNDS_MAX):
        before = cluster.snapshot
        cluster.go_on()
        if cluster.snapshot == before:
            break
    else:
        raise AssertionError(f"owners and standbys still move after {ROUNDS_MAX} plans")
    assert cluster.spread() <= 1
