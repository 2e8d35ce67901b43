"""A simulated worker: it keeps to the protocol, commits what it may, and dies as a real one would."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from streamcluster.errors import ExitCode
from streamcluster.ids import Slot, SlotId, TaskId
from streamcluster.protocol.messages import Drain, Follow, Grant, Lead, Report, Revoke, TaskFigures, TaskReport
from streamcluster_coordinator.machine import events as ev

from .line import Line

# What a real worker takes to restore a cold task, and to open a warm one.
RESTORE_SECONDS = 2.0
OPEN_SECONDS = 0.1
# Records of a changelog, and how many of them a standby reads between two heartbeats.
CHANGELOG_RECORDS = 100_000
FOLLOWED_RECORDS = 60_000


@dataclass(slots=True, eq=False)
class Worker:
    """One process. session: of its slot's transactional id, 0 before it has one."""

    line: Line
    slot: Slot
    pid: int
    # To the coordinator.
    tell: Callable[[ev.LocalEvent], None]
    # Called when it is dead, at once.
    ended: Callable[[], None]
    session: int = 0
    # Counts its sessions, for its coordinator.
    sessions: int = 0
    alive: bool = True
    paused: bool = False
    # It gives no task back; and no kill ends it, until it wakes up.
    keeps: bool = False
    stuck: bool = False
    was_killed: bool = False
    # Task -> the commit that its next one follows; None while it is being opened.
    tasks: dict[TaskId, int | None] = field(default_factory=dict)
    # Followed tasks -> records behind.
    standbys: dict[TaskId, int] = field(default_factory=dict)
    # What waits while it is paused, in order.
    waiting: list[Callable[[], None]] = field(default_factory=list)
    # The slot's name in the cluster.
    slot_id: SlotId = field(init=False)

    def __post_init__(self) -> None:
        self.slot_id = SlotId(self.line.name, self.slot)

    def can_commit(self) -> bool:
        """Whether it could commit for its tasks now, or when it wakes up."""
        return self.alive and self.line.brokers.is_current(self.slot_id, self.session)

    def _when_awake(self, act: Callable[[], None]) -> None:
        """Now, when it wakes up, or never."""
        if self.alive and self.paused:
            self.waiting.append(act)
        elif self.alive:
            act()

    def wake(self) -> None:
        """SIGCONT, or its disk answers again."""
        self.paused = self.stuck = False
        if self.was_killed:
            self.die(-9)
            return
        waiting, self.waiting = self.waiting, []
        for act in waiting:
            act()

    def join(self) -> None:
        """New clients, whatever was before: own the slot's id, and have nothing."""
        self._when_awake(self._join)

    def _join(self) -> None:
        self.session = self.line.brokers.open_session(self.slot_id)
        self.line.disk |= set(self.tasks)
        self.tasks.clear()
        self.standbys.clear()
        self.sessions += 1
        ready = ev.WorkerReady(self.slot, self.sessions)
        self.line.soon(lambda: self.tell(ready))

    def receive(self, message: Grant | Revoke | Follow | Lead | Drain) -> None:
        """A message of the coordinator."""
        self._when_awake(lambda: self._receive(message))

    def _receive(self, message: Grant | Revoke | Follow | Lead | Drain) -> None:
        if isinstance(message, Grant | Revoke | Follow) and message.session != self.sessions:
            return
        match message:
            case Grant(tasks=tasks):
                for task in tasks:
                    self._open(task)
            case Revoke(epoch=epoch, tasks=tasks) if not self.keeps:
                asked = self.sessions
                self.line.through(lambda: self._when_awake(lambda: self._release(epoch, tasks, asked)))
            case Follow(epoch=epoch, tasks=tasks):
                self._follow(epoch, tasks)
            case Drain():
                self.line.through(lambda: self._when_awake(self._drain))
            case Lead() | Revoke():
                return

    def _open(self, task: TaskId) -> None:
        """Positions are read after the grant, so after the fence that it follows (H22)."""
        behind = self.standbys.pop(task, 1)
        is_warm = task in self.line.disk or behind == 0
        self.tasks[task] = None
        session = self.session

        def opened() -> None:
            if self.session == session and task in self.tasks:
                self.tasks[task] = self.line.brokers.committed.get(task, 0)

        seconds = OPEN_SECONDS if is_warm else RESTORE_SECONDS
        self.line.through(lambda: self._when_awake(opened), OPEN_SECONDS / 2, seconds)
        self.line.check()

    def _follow(self, epoch: int, tasks: tuple[TaskId, ...]) -> None:
        gone = set(self.standbys) - set(tasks)
        self.line.disk |= {task for task in gone if self.standbys[task] == 0}
        behind = {task: 0 if task in self.line.disk else CHANGELOG_RECORDS for task in tasks}
        self.standbys = {task: self.standbys.get(task, behind[task]) for task in tasks}
        answer = ev.WorkerFollows(self.slot, epoch, tuple(sorted(tasks)))
        self.line.soon(lambda: self.tell(answer))

    def _release(self, epoch: int, tasks: tuple[TaskId, ...], asked: int) -> None:
        """Commit definitely, close, and say so; in doubt, begin anew. asked: the session that was asked for them."""
        if asked != self.sessions or not self.work():
            return
        for task in tasks:
            if self.tasks.pop(task, None) is not None:
                self.line.disk.add(task)
        self.line.soon(lambda: self.tell(ev.WorkerReleased(self.slot, epoch, tasks)))

    def _drain(self) -> None:
        if self.work():
            self.line.disk |= set(self.tasks)
            self.die(int(ExitCode.DRAINED))

    def work(self) -> bool:
        """Commit everything that is open. False: it could not be, and the process has drawn its conclusion."""
        if not self.alive or self.paused or not self.session:
            return False
        if self.line.cut:
            # The outcome is not known: all clients are replaced as soon as brokers answer (I3).
            self.line.through(self.join)
            return False
        batch = {task: at for task, at in self.tasks.items() if at is not None}
        if not batch:
            return True
        if not self.line.brokers.commit(self.slot_id, self.session, batch):
            self.die(int(ExitCode.FENCED))
            return False
        self.tasks.update({task: at + 1 for task, at in batch.items()})
        return True

    def heartbeat(self) -> None:
        """What the worker says twice a second."""
        if not self.alive or self.paused:
            return
        for task, behind in self.standbys.items():
            self.standbys[task] = max(0, behind - FOLLOWED_RECORDS)
        running = [
            TaskReport(
                task=task,
                state="restoring" if at is None else "running",
                figures=TaskFigures(stored=10 * CHANGELOG_RECORDS),
            )
            for task, at in sorted(self.tasks.items())
        ]
        following = [
            TaskReport(
                task=task,
                state="standby",
                figures=TaskFigures(lag={"changelog": behind}, stored=10 * CHANGELOG_RECORDS - behind),
            )
            for task, behind in sorted(self.standbys.items())
        ]
        self.tell(ev.WorkerReport(self.slot, Report(slot=self.slot, tasks=(*running, *following))))

    def die(self, code: int) -> None:
        """The process is gone, and the kernel says so."""
        if not self.alive:
            return
        if self.stuck:
            self.was_killed = True
            return
        self.alive = False
        self.ended()
        self.line.later(lambda: self.tell(ev.WorkerGone(self.slot, self.pid, code)), 0.001, 0.01)
