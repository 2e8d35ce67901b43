"""Clusters under thousands of seeded schedules of faults: never unsafe, and at rest when the faults stop."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from streamcluster.ids import SlotId

from .kafka import Brokers, Unsafe
from .run import run, run_all
from .world import TASKS, World

SEEDS = int(os.environ.get("STREAMCLUSTER_TEST_SEEDS", "2000"))
CHECKOUT = Path(__file__).parent.parent.parent


@pytest.mark.timeout(600)
def test_no_seed_is_unsafe_and_every_seed_comes_to_rest() -> None:
    """2,000 schedules of crashes, pauses, cuts, namesakes and commands; python -m tests.simulation runs more."""
    outcomes = list(run_all(range(SEEDS)))

    failures = [f"python -m tests.simulation --seed {o.seed} --trace: {o.failure}" for o in outcomes if o.failure]
    assert failures == []
    # The schedules did something: leaders changed, and work was done under each.
    assert sum(outcome.terms for outcome in outcomes) > 2 * SEEDS
    assert min(outcome.commits for outcome in outcomes) > 0


@pytest.mark.parametrize("hash_seed", ["0", "1", "4711"])
def test_a_seed_has_one_trace_under_any_hash_seed(hash_seed: str) -> None:
    """Nothing depends on the order of a set, so a failing seed can be looked at again."""
    outcome = run(42)

    again = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seed", "42"],
        cwd=CHECKOUT,
        env={
            **os.environ,
            "PYTHONHASHSEED": hash_seed,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        },
        capture_output=True,
        text=True,
        check=True,
    )

    assert outcome.digest in again.stdout


def test_the_check_sees_two_sessions_that_can_commit() -> None:
    """Two workers with sessions in force and the same task are found."""
    world = World(seed=1)
    for name in ("a", "b"):
        world.start(name)
    world.clock.run_until(world.clock.now + 20.0)
    first, second = (host.workers[min(host.workers)] for host in world.alive())
    task = next(iter(first.tasks))

    second.tasks[task] = None

    with pytest.raises(Unsafe, match=f"task {task}: both a/0 and b/0 can commit"):
        world.check()


def test_the_log_refuses_a_commit_that_does_not_follow_the_last_one() -> None:
    """A worker that began at an old position, or went on after another did, is found by its commit."""
    brokers, slot = Brokers(), SlotId("a", 0)
    session = brokers.open_session(slot)
    assert brokers.commit(slot, session, {TASKS[0]: 0})

    with pytest.raises(Unsafe, match="after 0, but 1 is committed"):
        brokers.commit(slot, session, {TASKS[0]: 0})
