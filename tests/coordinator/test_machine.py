"""The machine of one host under random events: first anything may happen (safety), then everything heals (liveness)."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from streamcluster.ids import Slot, TaskId
from streamcluster_coordinator.machine import events as ev
from tests.coordinator.local_world import LocalWorld


def granted(world: LocalWorld) -> dict[TaskId, Slot]:
    """Who works on what."""
    return {task: process.slot for process in world.alive.values() for task in process.tasks}


@settings(max_examples=200)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_no_store_is_open_twice_and_in_the_end_all_is_as_assigned(seed: int, workers: int) -> None:
    """Whatever dies, resets and is decided when: one process per task, granted by the newest word only."""
    world = LocalWorld(seed, workers)
    for _ in range(150):
        world.faulty_step(may_stop=False)
        if world.exit is not None:
            return
    for _ in range(60):
        world.healthy_step()
    world.decide()
    for _ in range(60):
        world.healthy_step()
        if world.exit is not None:
            return

    assigned, places = world.assigned, world.machine.state.places
    assert granted(world) == {task: slot for task, slot in assigned.tasks.items() if slot in places}
    followed = {task: process.slot for process in world.alive.values() for task in process.standbys}
    assert followed == {task: slot for task, slot in assigned.standbys.items() if slot in places}
    assert world.machine.state.held == granted(world)
    assert world.machine.state.followed == followed


@settings(max_examples=100)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_stop_always_ends_with_no_process_left(seed: int, workers: int) -> None:
    """A stop in the middle of anything ends in an exit, after the last process is gone."""
    world = LocalWorld(seed, workers)
    for _ in range(world.random.randrange(100)):
        world.faulty_step(may_stop=True)
    if world.exit is None:
        world.tell(ev.StopRequested())
    for _ in range(60):
        if world.exit is None:
            world.healthy_step()

    assert world.exit is not None
    assert not world.alive


@settings(max_examples=50)
@given(st.integers(0, 2**32))
def test_no_process_is_started_before_the_log_has_this_host(seed: int) -> None:
    """Nothing makes it start one: neither time, nor signals."""
    world = LocalWorld(seed, 2)
    world.tell(ev.Assigned(1, {}, registered=False))
    for event in (ev.RestartRequested(), ev.MoreWorkers(), ev.FewerWorkers(), ev.Tick(500.0)):
        world.tell(event)

    assert not world.alive
    assert world.pids == 0
