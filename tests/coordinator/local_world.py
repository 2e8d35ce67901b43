"""One host under random events: its machine, and processes that keep to the workers' protocol.

What the control log gives it is the seed's choice; deaths, silence, resets, signals and the order of news are, too.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from streamcluster.ids import Slot, TaskId
from streamcluster.protocol.messages import Drain, Follow, Grant, Lead, Report, Revoke
from streamcluster.settings import make_settings
from streamcluster_coordinator.machine import events as ev
from streamcluster_coordinator.machine.local import Machine

TASKS = [TaskId(group, number) for group in (3, 4) for number in range(group)]


@dataclass(slots=True, eq=False)
class Process:
    """A worker. open: tasks and standbys whose stores it has open."""

    pid: int
    slot: Slot
    session: int = 0
    tasks: set[TaskId] = field(default_factory=set)
    standbys: set[TaskId] = field(default_factory=set)
    is_draining: bool = False
    # Messages that it has not read yet.
    inbox: list[Grant | Revoke | Follow | Lead | Drain] = field(default_factory=list)

    @property
    def open(self) -> set[TaskId]:
        """Every store that it has open."""
        return self.tasks | self.standbys


class LocalWorld:
    """Processes as the kernel has them, and the news that is on its way to the machine."""

    def __init__(self, seed: int, workers: int) -> None:
        self.random = random.Random(seed)
        settings = make_settings({"id": "shop", "crash_loop_deaths": 3})
        self.machine = Machine(settings, slots=workers)
        self.now = 1.0
        self.pids = 0
        self.alive: dict[Slot, Process] = {}
        self.news: list[ev.LocalEvent] = []
        self.assigned = ev.Assigned(0, {}, registered=False)
        self.exit: int | None = None
        self.tell(ev.Tick(self.now))

    def tell(self, event: ev.LocalEvent) -> None:
        """Let the machine handle an event, and perform its effects."""
        for effect in self.machine.handle(event):
            self.perform(effect)

    def perform(self, effect: ev.Effect) -> None:
        """Do what the machine asks for; answers come later."""
        match effect:
            case ev.Spawn(slot):
                assert slot not in self.alive, "a slot is filled twice"
                self.pids += 1
                process = self.alive[slot] = Process(self.pids, slot)
                self.news.append(ev.WorkerStarted(slot, self.pids))
                self.begin(process)
            case ev.Confirm(slot, pid, session):
                # The log is read: whatever it has by then is heard before the answer.
                self.news += [self.assigned, ev.WorkerConfirmed(slot, pid, session)]
            case ev.Kill(slot):
                self.die(slot, -9)
            case ev.Send(slot, message) if slot in self.alive:
                if isinstance(message, Grant):
                    newest = self.machine.state.placement
                    assert all(newest.get(task) == slot for task in message.tasks), "it is not in the newest assignment"
                self.alive[slot].inbox.append(message)
            case ev.Exit(code):
                assert not self.alive, "it exits while workers live"
                self.exit = code

    def begin(self, process: Process) -> None:
        """New clients: nothing of what was before is its own any more."""
        process.session += 1
        process.tasks.clear()
        process.standbys.clear()
        self.news.append(ev.WorkerReady(process.slot, process.session))

    def read(self, process: Process) -> None:
        """A process reads its next message."""
        self.receive(process, process.inbox.pop(0))
        stores = [task for process in self.alive.values() for task in process.open]
        assert len(stores) == len(set(stores)), "two processes have a store open"

    def receive(self, process: Process, message: Grant | Revoke | Follow | Lead | Drain) -> None:
        """What a worker does with a message; those for an earlier session it drops."""
        if isinstance(message, Grant | Revoke | Follow) and message.session != process.session:
            return
        match message:
            case Grant(tasks=granted):
                assert not process.is_draining, "tasks are granted to a worker that drains"
                process.standbys -= set(granted)
                process.tasks |= set(granted)
            case Revoke(epoch=epoch, tasks=revoked):
                process.tasks -= set(revoked)
                self.news.append(ev.WorkerReleased(process.slot, epoch, revoked))
            case Follow(epoch=epoch, tasks=followed):
                process.standbys = set(followed) - process.tasks
                self.news.append(ev.WorkerFollows(process.slot, epoch, tuple(sorted(process.standbys))))
            case Drain():
                process.is_draining = True
                process.standbys.clear()

    def die(self, slot: Slot, code: int) -> None:
        """The kernel ends a process; the machine hears of it later."""
        if slot in self.alive:
            process = self.alive.pop(slot)
            self.news.append(ev.WorkerGone(slot, process.pid, code))

    def hear(self) -> None:
        """Deliver the oldest news of some slot, or of the log: of each the order stays, between them it does not."""
        slot = getattr(self.random.choice(self.news), "slot", None)
        first = next(event for event in self.news if getattr(event, "slot", None) == slot)
        if isinstance(first, ev.WorkerConfirmed):
            # The log is heard before what was asked of it is answered.
            for event in [event for event in self.news if isinstance(event, ev.Assigned)]:
                self.news.remove(event)
                self.tell(event)
        self.news.remove(first)
        self.tell(first)

    def decide(self) -> None:
        """The log has something new: any of our slots may have or follow any task."""
        slots = sorted(self.machine.state.places)
        tasks = {task: self.random.choice(slots) for task in TASKS if self.random.random() < 0.5}
        standbys = {t: self.random.choice(slots) for t in TASKS if t not in tasks and self.random.random() < 0.5}
        lead = self.random.choice([None, *slots])
        others = self.random.random() < 0.5
        self.assigned = ev.Assigned(self.assigned.epoch + 1, tasks, standbys, lead, others=others)
        self.news.append(self.assigned)

    def tick(self, seconds: float) -> None:
        """Time goes on."""
        self.now += seconds
        self.tell(ev.Tick(self.now))

    def finish_drains(self) -> None:
        """Workers that were told to end do so."""
        for slot, process in list(self.alive.items()):
            if process.is_draining:
                self.die(slot, 0)

    def faulty_step(self, *, may_stop: bool) -> None:
        """Anything that may happen."""
        wishes: list[ev.LocalEvent] = [ev.MoreWorkers(), ev.FewerWorkers(), ev.RestartRequested()]
        choices: list[tuple[float, Callable[[], None]]] = [
            (50, lambda: self.hear() if self.news else None),
            (40, self._some_read),
            (8, self._some_death),
            (6, lambda: self.begin(self.random.choice(list(self.alive.values()))) if self.alive else None),
            (10, self.decide),
            (8, self.finish_drains),
            (8, lambda: self.tell(self.random.choice(wishes))),
            (15, lambda: self.tick(self.random.choice([0.2, 1.0, 4.0]))),
            (1 if may_stop else 0, lambda: self.tell(ev.StopRequested())),
        ]
        self.random.choices([act for _, act in choices], weights=[weight for weight, _ in choices])[0]()

    def _some_read(self) -> None:
        if reading := [process for _, process in sorted(self.alive.items()) if process.inbox]:
            self.read(self.random.choice(reading))

    def _some_death(self) -> None:
        if self.alive:
            self.die(self.random.choice(sorted(self.alive)), self.random.choice([-9, -11, 1, 69, 76]))

    def healthy_step(self) -> None:
        """No faults: news arrives, workers report and end when told."""
        while self.news or any(process.inbox for process in self.alive.values()):
            if self.news:
                self.hear()
            self._some_read()
        self.finish_drains()
        for slot in sorted(self.alive):
            self.tell(ev.WorkerReport(slot, Report(slot=slot, tasks=())))
        self.tick(1.0)
