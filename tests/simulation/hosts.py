"""A simulated host: the real node, processes that keep to the workers' protocol, and the way to the brokers.

What the real runtime does with effects, this does with virtual time: each answer comes after a delay of its own, and
not at all while the host is paused, cut off or dead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from streamcluster.errors import ExitCode
from streamcluster.ids import Slot, SlotId, TaskId
from streamcluster.messages import Drain, Follow, Grant, Lead, Report, Revoke, TaskReport
from streamcluster_coordinator import machine_events as ev
from streamcluster_coordinator.control_record import Snapshot
from streamcluster_coordinator.machine_election import first_snapshot
from streamcluster_coordinator.machine_node import Node

from .clock import Clock
from .kafka import Brokers
from .showing import shown

TICK_SECONDS = 0.25
# What a real worker takes to come up, to restore a cold task, and to open a warm one.
START_SECONDS = 0.4
RESTORE_SECONDS = 2.0
OPEN_SECONDS = 0.1
SOCKET_SECONDS = 0.0005


@dataclass(slots=True, eq=False)
class Worker:
    """One process. session: of its slot's transactional id, 0 before it has one."""

    host: Host
    slot: Slot
    pid: int
    session: int = 0
    # Counts its sessions, for its coordinator.
    sessions: int = 0
    alive: bool = True
    paused: bool = False
    # Task -> the commit that its next one follows; None while it is being opened.
    tasks: dict[TaskId, int | None] = field(default_factory=dict)
    # Followed tasks -> records behind.
    standbys: dict[TaskId, int] = field(default_factory=dict)
    # Messages that wait while it is paused, in order.
    waiting: list[Callable[[], None]] = field(default_factory=list)

    @property
    def slot_id(self) -> SlotId:
        """The slot's name in the cluster."""
        return SlotId(self.host.name, self.slot)

    def can_commit(self, task: TaskId) -> bool:
        """Whether it could commit for `task` now, or when it wakes up."""
        return self.alive and task in self.tasks and self.host.brokers.is_current(self.slot_id, self.session)


@dataclass(slots=True, eq=False)
class Host:
    """One coordinator process with its workers. dead: it and they are gone."""

    name: str
    node: Node
    brokers: Brokers
    clock: Clock
    trace: Callable[[str], None]
    check: Callable[[], None]
    workers: dict[Slot, Worker] = field(default_factory=dict)
    dead: bool = False
    paused: bool = False
    cut: bool = False
    claim: int = 0
    control_read: int = 0
    status_read: int = 0
    pid: int = 0
    exit_code: int | None = None
    # What waits until the host goes on or reaches the brokers again, in order.
    held_up: list[Callable[[], None]] = field(default_factory=list)
    cut_up: list[Callable[[], None]] = field(default_factory=list)
    # Tasks whose state the disk has in full.
    disk: set[TaskId] = field(default_factory=set)

    def start(self) -> None:
        """The control log is read to its end first, then time begins."""
        self.status_read = len(self.brokers.status)
        self.read_control()
        self.tick()

    # Events

    def tell(self, event: ev.Event) -> None:
        """Let the node handle an event, now or when the process goes on."""
        if self.dead:
            return
        if self.paused:
            self.held_up.append(lambda: self.tell(event))
            return
        if not isinstance(event, (ev.Tick, ev.ReportHeard, ev.WorkerReport)):
            self.trace(f"{self.name} < {shown(event)}")
        for effect in self.node.handle(event):
            if self.is_gone():
                return
            if not isinstance(effect, ev.Publish):
                self.trace(f"{self.name} > {shown(effect)}")
            self.perform(effect)
        self.check()

    def is_gone(self) -> bool:
        """Whether its processes are gone."""
        return self.dead

    def later(self, act: Callable[[], None], least: float = 0.002, most: float = 0.03) -> None:
        """After a while of this host's own."""
        self.clock.after(self.clock.random.uniform(least, most), lambda: None if self.dead else act())

    def through(self, act: Callable[[], None], least: float = 0.002, most: float = 0.03) -> None:
        """After a while, and only when the brokers can be reached."""

        def go() -> None:
            if self.cut:
                self.cut_up.append(go)
            else:
                act()

        self.later(go, least, most)

    def tick(self) -> None:
        """Time goes on."""
        if self.dead:
            return
        # Ticks do not pile up while a process does not run.
        if not self.paused:
            self.tell(ev.Tick(self.clock.now))
        self.clock.after(TICK_SECONDS, self.tick)

    def read_control(self) -> None:
        """Deliver what the control log has, in order."""
        while self.control_read < len(self.brokers.control) and not self.dead:
            snapshot = self.brokers.control[self.control_read]
            self.control_read += 1
            self.tell(ev.SnapshotRead(snapshot))

    def news(self) -> None:
        """There is something new in one of the logs."""
        self.through(self.read_logs)

    def read_logs(self) -> None:
        """Take what is there."""
        self.read_control()
        while self.status_read < len(self.brokers.status) and not self.dead:
            report = self.brokers.status[self.status_read]
            self.status_read += 1
            self.tell(ev.ReportHeard(report))

    # Effects

    def perform(self, effect: ev.Effect) -> None:
        """Do what the node asks for; answers come later."""
        match effect:
            case ev.Publish(report):
                # A heartbeat that cannot be delivered at once is worth nothing, so it is dropped.
                if not self.cut:
                    self.through(lambda: self.clock.publish(report))
            case ev.Claim():
                self.through(self._claim, 0.02, 0.2)
            case ev.Write(snapshot):
                self.through(lambda: self._write(snapshot), 0.003, 0.05)
            case ev.FenceSlot():
                self.through(lambda: self._fence(effect), 0.02, 0.2)
            case ev.Confirm():
                self.through(lambda: self._confirm(effect))
            case ev.Spawn(slot):
                self._spawn(slot)
            case ev.Send(slot, message):
                if slot in self.workers:
                    receive = partial(self.receive, self.workers[slot], message)
                    self.later(receive, SOCKET_SECONDS, SOCKET_SECONDS)
            case ev.Kill(slot):
                if (worker := self.workers.get(slot)) is not None:
                    self.die(worker, -9)
            case ev.Exit(code):
                self.exit_code = code
                self.crash()
            case ev.AskStacks() | ev.Say():
                return

    def _claim(self) -> None:
        self.claim = self.brokers.open_claim()
        self.read_control()
        if self.dead or self.paused:
            # Its own claim is told when it goes on; nothing of it is in the log.
            self.tell(ev.ClaimLost())
            return
        last = self.brokers.control[-1] if self.brokers.control else None
        slots = tuple(int(slot) for slot in sorted(self.node.local.state.places))
        snapshot = first_snapshot(last, self.node.identity, slots)
        claim = self.claim

        def write() -> None:
            if self.brokers.write(claim, snapshot):
                self.clock.announce()
                self.tell(ev.Claimed(snapshot))
            else:
                self.tell(ev.ClaimLost())

        self.through(write)

    def _write(self, snapshot: Snapshot) -> None:
        if self.brokers.write(self.claim, snapshot):
            self.clock.announce()
            self.tell(ev.Written(snapshot.epoch))
        else:
            self.tell(ev.WriteLost())

    def _fence(self, effect: ev.FenceSlot) -> None:
        self.brokers.open_session(effect.slot)
        self.through(lambda: self.tell(ev.SlotFenced(effect.slot, effect.epoch)))

    def _confirm(self, effect: ev.Confirm) -> None:
        """The log's end as of now, then everything up to it, then the answer."""
        end = len(self.brokers.control)

        def read() -> None:
            if self.control_read < end:
                self.read_control()
            self.tell(ev.WorkerConfirmed(effect.slot, effect.pid, effect.session))

        self.through(read)

    # Workers

    def _spawn(self, slot: Slot) -> None:
        assert slot not in self.workers, "a slot is filled twice"
        self.pid += 1
        worker = Worker(self, slot, self.pid)
        self.workers[slot] = worker
        self.tell_soon(ev.WorkerStarted(slot, worker.pid))
        self.through(lambda: self.join(worker), START_SECONDS / 2, START_SECONDS)

    def tell_soon(self, event: ev.Event) -> None:
        """As a message of a worker: after the effects at hand, in order, as a socket keeps it."""
        self.later(lambda: self.tell(event), SOCKET_SECONDS, SOCKET_SECONDS)

    def join(self, worker: Worker) -> None:
        """New clients, whatever was before: own the slot's id, and have nothing."""
        if not worker.alive:
            return
        if worker.paused:
            worker.waiting.append(lambda: self.join(worker))
            return
        worker.session = self.brokers.open_session(worker.slot_id)
        self.disk |= set(worker.tasks)
        worker.tasks.clear()
        worker.standbys.clear()
        worker.sessions += 1
        self.tell_soon(ev.WorkerReady(worker.slot, worker.sessions))

    def receive(self, worker: Worker, message: Grant | Revoke | Follow | Lead | Drain) -> None:
        """A message of the coordinator."""
        if not worker.alive:
            return
        if worker.paused:
            worker.waiting.append(lambda: self.receive(worker, message))
            return
        if isinstance(message, Grant | Revoke | Follow) and message.session != worker.sessions:
            return
        match message:
            case Grant(tasks=tasks):
                for task in tasks:
                    self._open(worker, task)
            case Revoke(epoch=epoch, tasks=tasks):
                self.through(lambda: self._release(worker, epoch, tasks))
            case Follow(epoch=epoch, tasks=tasks):
                gone = set(worker.standbys) - set(tasks)
                self.disk |= {task for task in gone if worker.standbys[task] == 0}
                worker.standbys = {t: worker.standbys.get(t, 0 if t in self.disk else 100_000) for t in tasks}
                self.tell_soon(ev.WorkerFollows(worker.slot, epoch, tuple(sorted(tasks))))
            case Drain():
                self.through(lambda: self._drain(worker))
            case Lead():
                return

    def _open(self, worker: Worker, task: TaskId) -> None:
        """Positions are read after the grant, so after the fence that it follows (H22)."""
        behind = worker.standbys.pop(task, 1)
        is_warm = task in self.disk or behind == 0
        worker.tasks[task] = None
        session = worker.session

        def opened() -> None:
            if worker.paused:
                worker.waiting.append(opened)
            elif worker.alive and worker.session == session and task in worker.tasks:
                worker.tasks[task] = self.brokers.committed.get(task, 0)

        self.through(opened, OPEN_SECONDS / 2, OPEN_SECONDS if is_warm else RESTORE_SECONDS)
        self.check()

    def _release(self, worker: Worker, epoch: int, tasks: tuple[TaskId, ...]) -> None:
        """Commit definitely, close, and say so; in doubt, begin anew."""
        if worker.paused:
            worker.waiting.append(lambda: self._release(worker, epoch, tasks))
            return
        if not self.work(worker):
            return
        for task in tasks:
            if worker.tasks.pop(task, None) is not None:
                self.disk.add(task)
        self.tell_soon(ev.WorkerReleased(worker.slot, epoch, tasks))

    def _drain(self, worker: Worker) -> None:
        if worker.paused:
            worker.waiting.append(lambda: self._drain(worker))
        elif self.work(worker):
            self.disk |= set(worker.tasks)
            self.die(worker, int(ExitCode.DRAINED))

    def work(self, worker: Worker) -> bool:
        """Commit everything that is open. False: it could not be, and the process has drawn its conclusion."""
        if not worker.alive or worker.paused or not worker.session:
            return False
        if self.cut:
            # The outcome is not known: all clients are replaced as soon as brokers answer (I3).
            self.through(lambda: self.join(worker))
            return False
        batch = {task: at for task, at in worker.tasks.items() if at is not None}
        if not batch:
            return True
        if not self.brokers.commit(worker.slot_id, worker.session, batch):
            self.die(worker, int(ExitCode.FENCED))
            return False
        worker.tasks.update({task: at + 1 for task, at in batch.items()})
        return True

    def heartbeat(self, worker: Worker) -> None:
        """What the worker says twice a second."""
        if not worker.alive or worker.paused:
            return
        for task, behind in worker.standbys.items():
            worker.standbys[task] = max(0, behind - 60_000)
        running = [
            TaskReport(task=task, state="restoring" if at is None else "running", stored=1_000_000)
            for task, at in sorted(worker.tasks.items())
        ]
        following = [
            TaskReport(task=task, state="standby", lag={"changelog": behind}, stored=1_000_000 - behind)
            for task, behind in sorted(worker.standbys.items())
        ]
        report = Report(slot=worker.slot, tasks=(*running, *following))
        self.tell(ev.WorkerReport(worker.slot, report))

    def die(self, worker: Worker, code: int) -> None:
        """The process is gone, and the kernel says so."""
        if not worker.alive:
            return
        worker.alive = False
        if self.workers.get(worker.slot) is worker:
            del self.workers[worker.slot]
        self.later(lambda: self.tell(ev.WorkerGone(worker.slot, worker.pid, code)), 0.001, 0.01)

    # What faults do

    def crash(self) -> None:
        """kill -9 of all processes of the host."""
        self.dead = True
        for worker in list(self.workers.values()):
            worker.alive = False
        self.workers.clear()

    def pause(self) -> None:
        """SIGSTOP of all processes."""
        self.paused = True
        for worker in self.workers.values():
            worker.paused = True

    def resume(self) -> None:
        """SIGCONT: everything that came meanwhile is there at once."""
        self.paused = False
        for worker in list(self.workers.values()):
            self.wake(worker)
        waiting, self.held_up = self.held_up, []
        for act in waiting:
            act()

    def wake(self, worker: Worker) -> None:
        """SIGCONT of one process."""
        worker.paused = False
        waiting, worker.waiting = worker.waiting, []
        for act in waiting:
            act()

    def heal(self) -> None:
        """The brokers can be reached again."""
        self.cut = False
        waiting, self.cut_up = self.cut_up, []
        for act in waiting:
            self.later(act)
        self.news()
