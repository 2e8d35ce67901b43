"""A simulated host: the real node, simulated workers, and what the real runtime does with effects, in virtual time.

Each answer comes after a delay of its own, and not at all while the host is paused, cut off or dead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from streamcluster.ids import Slot
from streamcluster_coordinator.machine import events as ev
from streamcluster_coordinator.machine.election import first_snapshot
from streamcluster_coordinator.machine.node import Node
from streamcluster_coordinator.machine.report import rows_seconds_of
from streamcluster_coordinator.records.snapshot import Snapshot

from .line import Line
from .showing import shown
from .workers import Worker

TICK_SECONDS = 0.25
# What a real worker takes to come up.
START_SECONDS = 0.4
# Too many for a trace, and without a decision.
_FREQUENT = (ev.Tick, ev.ReportHeard, ev.WorkerReport)
# What a leader of a large cluster believes to have.
TASKS_OF_MANY = 10_000


@dataclass(slots=True, eq=False)
class Host:
    """One coordinator process with its workers."""

    line: Line
    node: Node
    trace: Callable[[str], None]
    workers: dict[Slot, Worker] = field(default_factory=dict)
    claim: int = 0
    control_read: int = 0
    status_read: int = 0
    pid: int = 0
    # Whether it does as in a cluster of 10,000 tasks: rows of tasks are told seldom, and plans are far apart.
    is_large: bool = False
    # What waits until the coordinator goes on, in order.
    held_up: list[Callable[[], None]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its name in the cluster."""
        return self.line.name

    def start(self) -> None:
        """The control log is read to its end first, then time begins."""
        if self.is_large:
            self.node.reporter.rows_seconds = rows_seconds_of(self.node.settings, TASKS_OF_MANY)
        self.status_read = len(self.line.brokers.status)
        self._read_control()
        self._tick()

    def tell(self, event: ev.Event) -> None:
        """Let the node handle an event, now or when the process goes on."""
        if self.line.dead:
            return
        if self.line.paused:
            self.held_up.append(lambda: self.tell(event))
            return
        if not isinstance(event, _FREQUENT):
            self.trace(f"{self.name} < {shown(event)}")
        effects = self.node.handle(event)
        if self.is_large and self.node.term is not None:
            self.node.term.pace.tasks = TASKS_OF_MANY
        for effect in effects:
            if self.line.is_gone():
                return
            if not isinstance(effect, ev.Publish):
                self.trace(f"{self.name} > {shown(effect)}")
            self._perform(effect)
        self.line.check()

    def _tick(self) -> None:
        if self.line.dead:
            return
        # Ticks do not pile up while a process does not run.
        if not self.line.paused:
            self.tell(ev.Tick(self.line.clock.now))
        self.line.clock.after(TICK_SECONDS, self._tick)

    def _read_control(self) -> None:
        """Deliver what the control log has, in order."""
        log = self.line.brokers.control
        while self.control_read < len(log) and not self.line.dead:
            self.control_read += 1
            self.tell(ev.SnapshotRead(log[self.control_read - 1]))

    def read_logs(self) -> None:
        """Take what is new in both logs."""
        self._read_control()
        log = self.line.brokers.status
        while self.status_read < len(log) and not self.line.dead:
            self.status_read += 1
            self.tell(ev.ReportHeard(log[self.status_read - 1]))

    def _perform(self, effect: ev.Effect) -> None:
        """Do what the node asks for; answers come later."""
        line = self.line
        match effect:
            case ev.Publish(report):
                # A heartbeat that cannot be delivered at once is worth nothing, so it is dropped.
                if not line.cut:
                    line.through(lambda: line.clock.publish(report))
            case ev.Claim():
                line.through(self._claim, 0.02, 0.2)
            case ev.Write(snapshot):
                line.through(lambda: self._write(snapshot), 0.003, 0.05)
            case ev.FenceSlot():
                line.through(lambda: self._fence(effect), 0.02, 0.2)
            case ev.Confirm():
                line.through(lambda: self._confirm(effect))
            case ev.Spawn(slot):
                self._spawn(slot)
            case ev.Send(slot, message):
                if slot in self.workers:
                    line.soon(partial(self.workers[slot].receive, message))
            case ev.Kill(slot):
                if (worker := self.workers.get(slot)) is not None:
                    worker.die(-9)
            case ev.Exit():
                self.crash()
            case ev.AskStacks() | ev.Say():
                return

    def _claim(self) -> None:
        brokers = self.line.brokers
        self.claim = claim = brokers.open_claim()
        self._read_control()
        if self.line.is_gone() or self.line.paused:
            # It is told when it goes on; nothing of it is in the log.
            self.tell(ev.ClaimLost())
            return
        last = brokers.control[-1] if brokers.control else None
        slots = tuple(int(slot) for slot in sorted(self.node.local.state.places))
        snapshot = first_snapshot(last, self.node.identity, slots)

        def write() -> None:
            is_written = brokers.write(claim, snapshot)
            if is_written:
                self.line.clock.announce()
            self.tell(ev.Claimed(snapshot) if is_written else ev.ClaimLost())

        self.line.through(write)

    def _write(self, snapshot: Snapshot) -> None:
        if self.line.brokers.write(self.claim, snapshot):
            self.line.clock.announce()
            self.tell(ev.Written(snapshot.epoch))
        else:
            self.tell(ev.WriteLost())

    def _fence(self, effect: ev.FenceSlot) -> None:
        self.line.brokers.open_session(effect.slot)
        self.line.through(lambda: self.tell(ev.SlotFenced(effect.slot, effect.epoch)))

    def _confirm(self, effect: ev.Confirm) -> None:
        """The log's end as of now, then everything up to it, then the answer."""
        end = len(self.line.brokers.control)

        def read() -> None:
            if self.control_read < end:
                self._read_control()
            self.tell(ev.WorkerConfirmed(effect.slot, effect.pid, effect.session))

        self.line.through(read)

    def _spawn(self, slot: Slot) -> None:
        assert slot not in self.workers, "a slot is filled twice"
        self.pid += 1
        worker = Worker(self.line, slot, self.pid, self.tell, lambda: self._forget(worker))
        self.workers[slot] = worker
        self.line.soon(lambda: self.tell(ev.WorkerStarted(slot, worker.pid)))
        self.line.through(worker.join, START_SECONDS / 2, START_SECONDS)

    def _forget(self, worker: Worker) -> None:
        if self.workers.get(worker.slot) is worker:
            del self.workers[worker.slot]

    # What faults do

    def crash(self) -> None:
        """kill -9 of all processes of the host."""
        self.line.dead = True
        for worker in self.workers.values():
            worker.alive = False
        self.workers.clear()

    def resume(self) -> None:
        """SIGCONT: everything that came meanwhile is there at once."""
        self.line.paused = False
        for worker in list(self.workers.values()):
            worker.wake()
        waiting, self.held_up = self.held_up, []
        for act in waiting:
            act()
