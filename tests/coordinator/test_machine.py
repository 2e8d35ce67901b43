"""The machine under random events: first anything may happen (safety), then everything heals (liveness).

The simulated workers keep to the protocol; deaths, silence, signals and the order of news are the seed's choice.
"""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from streamcluster.ids import Slot, TaskId
from streamcluster.messages import Drain, Grant, Report, Revoke
from streamcluster.settings import make_settings
from streamcluster_coordinator import machine_events as ev
from streamcluster_coordinator.machine import Machine

TASKS = [TaskId(group, number) for group in (3, 4) for number in range(group)]


class World:
    """Processes as the kernel has them, and the news that is on its way to the machine."""

    def __init__(self, seed: int, workers: int) -> None:
        self.random = random.Random(seed)
        self.machine = Machine(make_settings({"id": "shop", "crash_loop_deaths": 3}), TASKS, slots=workers, epoch=1)
        self.now = 0.0
        self.pid = 0
        # Slot -> (pid, tasks that the process may write for).
        self.alive: dict[Slot, tuple[int, set[TaskId]]] = {}
        self.draining: set[int] = set()
        self.news: list[ev.Event] = []
        self.exit: int | None = None
        self.tell(ev.Started())

    def tell(self, event: ev.Event) -> None:
        """Let the machine handle an event, and perform its effects."""
        for effect in self.machine.handle(event):
            self.perform(effect)
        owners = [task for _, tasks in self.alive.values() for task in tasks]
        assert len(owners) == len(set(owners)), f"two owners after {event}"

    def perform(self, effect: ev.Effect) -> None:
        """Do what the machine asks for; answers come later."""
        match effect:
            case ev.Spawn(slot):
                assert slot not in self.alive, "a slot is filled twice"
                self.pid += 1
                self.alive[slot] = (self.pid, set())
                self.news += [ev.WorkerStarted(slot, self.pid), ev.WorkerReady(slot)]
            case ev.Confirm(slot, pid):
                self.news.append(ev.WorkerConfirmed(slot, pid))
            case ev.Kill(slot):
                self.die(slot, -9)
            case ev.RecordSlots(count):
                self.news.append(ev.SlotsRecorded(count))
            case ev.Send(slot, message) if slot in self.alive:
                self.receive(slot, message)
            case ev.Exit(code):
                assert not self.alive, "it exits while workers live"
                self.exit = code

    def receive(self, slot: Slot, message: object) -> None:
        """What a worker does with a message."""
        pid, tasks = self.alive[slot]
        match message:
            case Grant(tasks=granted):
                assert pid not in self.draining, "tasks are granted to a worker that drains"
                tasks |= set(granted)
            case Revoke(epoch=epoch, tasks=revoked):
                tasks -= set(revoked)
                self.news.append(ev.WorkerReleased(slot, epoch, revoked))
            case Drain():
                self.draining.add(pid)

    def die(self, slot: Slot, code: int) -> None:
        """The kernel ends a process; the machine hears of it later."""
        if slot in self.alive:
            pid, _ = self.alive.pop(slot)
            self.news.append(ev.WorkerGone(slot, pid, code))

    def hear(self) -> None:
        """Deliver the oldest news of some slot: per slot the order stays, between slots it does not."""
        slot = getattr(self.random.choice(self.news), "slot", None)
        first = next(event for event in self.news if getattr(event, "slot", None) == slot)
        self.news.remove(first)
        self.tell(first)

    def tick(self, seconds: float) -> None:
        """Time goes on."""
        self.now += seconds
        self.tell(ev.Tick(self.now))

    def finish_drains(self) -> None:
        """Workers that were told to end do so."""
        for slot, (pid, _) in list(self.alive.items()):
            if pid in self.draining:
                self.die(slot, 0)

    def faulty_step(self, *, may_stop: bool) -> None:
        """Anything that may happen."""
        choice = self.random.random()
        if choice < 0.5 and self.news:
            self.hear()
        elif choice < 0.62 and self.alive:
            self.die(self.random.choice(sorted(self.alive)), self.random.choice([-9, -11, 1, 69]))
        elif choice < 0.7:
            self.finish_drains()
        elif choice < 0.8:
            wishes: list[ev.Event] = [ev.MoreWorkers(), ev.FewerWorkers(), ev.RestartRequested()]
            self.tell(self.random.choice(wishes))
        elif choice < 0.99 or not may_stop:
            self.tick(self.random.choice([0.2, 1.0, 4.0]))
        else:
            self.tell(ev.StopRequested())

    def healthy_step(self) -> None:
        """No faults: news arrives, workers report and end when told."""
        while self.news:
            self.hear()
        self.finish_drains()
        for slot, (_, tasks) in sorted(self.alive.items()):
            if self.machine.state.places[slot].pid is not None:
                self.tell(ev.WorkerReport(slot, Report(slot=slot, tasks=())))
            assert tasks <= set(TASKS)
        self.tick(1.0)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5))
def test_no_task_ever_has_two_owners_and_all_have_one_in_the_end(seed: int, workers: int) -> None:
    """Whatever dies when, processes never share a task; when faults end, every task is owned and spread evenly."""
    world = World(seed, workers)
    for _ in range(120):
        world.faulty_step(may_stop=False)
        if world.exit is not None:
            return
    for _ in range(120):
        world.healthy_step()
        if world.exit is not None:
            return

    held = sorted(task for _, tasks in world.alive.values() for task in tasks)
    sizes = [len(tasks) for _, tasks in world.alive.values()]
    assert held == sorted(TASKS)
    assert max(sizes) - min(sizes) <= 1
    assert world.machine.state.leader in world.alive


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5))
def test_stop_always_ends_with_no_process_left(seed: int, workers: int) -> None:
    """A stop in the middle of anything ends in an exit, after the last process is gone."""
    world = World(seed, workers)
    for _ in range(world.random.randrange(80)):
        world.faulty_step(may_stop=True)
    if world.exit is None:
        world.tell(ev.StopRequested())
    for _ in range(60):
        if world.exit is None:
            world.healthy_step()

    assert world.exit is not None
    assert not world.alive
