"""Nodes of several hosts over brokers that answer at once, and workers that do what they are told at once.

Nothing happens but by a call, and time goes on only with `advance`: for scripts and tests that show one decision. The
simulation (tests/simulation) has the same parts with delays and seeds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from streamcluster.errors import ExitCode, StateIncompatible
from streamcluster.ids import Slot, SlotId, TaskId
from streamcluster.protocol.messages import Drain, Follow, Grant, Lead, Report, Revoke, TaskFigures, TaskReport
from streamcluster.settings import Settings, make_settings
from streamcluster_coordinator.machine import events as ev
from streamcluster_coordinator.machine.election import Identity, first_snapshot
from streamcluster_coordinator.machine.node import Node
from streamcluster_coordinator.machine.own_status import HostFacts, Snapshots
from streamcluster_coordinator.records.report import HostReport
from streamcluster_coordinator.records.snapshot import Shape, Snapshot
from tests.simulation.kafka import Brokers, Unsafe

TICK_SECONDS = 0.25
STORED = 1_000_000
# More events than any test here has for one call: the nodes answer each other without end.
EVENTS_MAX = 10_000


@dataclass(slots=True, eq=False)
class FakeWorker:
    """One process. session: the brokers' number of it; ready: how often it said that it is.

    keeps: it gives no task back. stuck: it does not run at all, and does not die of a kill either.
    """

    slot: SlotId
    pid: int
    session: int = 0
    ready: int = 0
    tasks: set[TaskId] = field(default_factory=set)
    standbys: tuple[TaskId, ...] = ()
    keeps: bool = False
    stuck: bool = False


@dataclass(slots=True, eq=False)
class FakeHost:
    """One coordinator and its workers. paused: the coordinator does not run; stopped: nor do the workers.

    cut: no broker can be reached; refused: reports get through, and nothing else that it asks of brokers.
    """

    name: str
    node: Node
    workers: dict[Slot, FakeWorker] = field(default_factory=dict)
    paused: bool = False
    stopped: bool = False
    cut: bool = False
    refused: bool = False
    dead: bool = False
    exit_code: int | None = None
    claim: int = 0
    control_read: int = 0
    status_read: int = 0
    pids: int = 0
    # Events while it is paused, and what waits for brokers.
    held_up: list[ev.Event] = field(default_factory=list)
    asked: list[Callable[[], None]] = field(default_factory=list)

    @property
    def instance(self) -> str:
        """The coordinator's own name."""
        return self.node.identity.instance

    def crash(self) -> None:
        """kill -9 of everything of it."""
        self.dead = True
        self.workers.clear()

    def pause(self, *, workers: bool = True) -> None:
        """SIGSTOP of the coordinator, and of its workers or not."""
        self.paused, self.stopped = True, workers


@dataclass(slots=True)
class FakeCluster:
    """All of them. lags: records that a host's standby of a task is behind, 0 when missing."""

    groups: tuple[int, ...] = (2,)
    workers: int = 1
    options: dict[str, object] = field(default_factory=dict)
    stateless: bool = False
    brokers: Brokers = field(default_factory=Brokers)
    hosts: list[FakeHost] = field(default_factory=list)
    now: float = 1000.0
    lags: dict[tuple[str, TaskId], int] = field(default_factory=dict)
    # All effects so far, and who had them.
    effects: list[tuple[FakeHost, ev.Effect]] = field(default_factory=list)
    queue: deque[tuple[FakeHost, ev.Event]] = field(default_factory=deque)
    settings: Settings = field(init=False)

    def __post_init__(self) -> None:
        self.settings = make_settings({"id": "shop", **self.options})

    @property
    def tasks(self) -> tuple[TaskId, ...]:
        """All of the app."""
        return tuple(TaskId(group, number) for group in self.groups for number in range(group))

    @property
    def log(self) -> list[Snapshot]:
        """What the control log has."""
        return self.brokers.control

    def shape(self, **tables: int) -> Shape:
        """What the app's version is about: a table per group, and those given by their group."""
        sizes = {f"table{group}": group for group in self.groups} | tables
        return Shape(
            sources={f"topic{group}": group for group in self.groups},
            tables={name: (f"{name}-changelog", group) for name, group in sizes.items()},
        )

    def start(self, name: str, shape: Shape | None = None) -> FakeHost:
        """A coordinator that has read the control log, and the reports that come from now on."""
        number = sum(host.name == name for host in self.hosts) + 1
        identity = Identity(
            host=name,
            instance=f"{name}{number}",
            pid=number,
            machine=name,
            cluster_id="cluster",
            topic_id="topic",
            control_topic="shop-ctl",
            shape=shape or self.shape(),
            tasks=self.tasks,
            stateless=frozenset(self.tasks if self.stateless else ()),
        )
        facts = HostFacts("shop", name, number, "", self.settings.processing_guarantee, "", self.now)
        last = self.log[-1] if self.log else None
        node = Node.make(self.settings, identity, Snapshots(facts), slots=self.workers, now=self.now, last=last)
        host = FakeHost(name, node, status_read=len(self.brokers.status))
        self.hosts.append(host)
        if self.log:
            host.control_read = len(self.log)
            self.tell(host, ev.SnapshotRead(self.log[-1]))
        self.tell(host, ev.Tick(self.now))
        return host

    def host(self, name: str) -> FakeHost:
        """The newest coordinator of a host's name, or the one of that instance."""
        return next(host for host in reversed(self.hosts) if name in (host.name, host.instance))

    def alive(self) -> list[FakeHost]:
        """Those whose processes exist."""
        return [host for host in self.hosts if not host.dead]

    def resume(self, host: FakeHost) -> None:
        """SIGCONT. The clock is looked at first, then what came meanwhile."""
        host.paused = host.stopped = False
        held_up, host.held_up = host.held_up, []
        self.queue.append((host, ev.Tick(self.now)))
        self.queue += [(host, event) for event in held_up]
        work(self)
        self.settle()

    def heal(self, host: FakeHost) -> None:
        """Brokers can be reached again, and answer what waited."""
        host.cut = host.refused = False
        asked, host.asked = host.asked, []
        for ask in asked:
            ask()
        work(self)
        self.settle()

    def owners(self) -> dict[str, str]:
        """Task -> slot of the process that has it and can commit for it, as text."""
        owned = {
            task: worker.slot for host in self.alive() for worker in host.workers.values() for task in worker.tasks
        }
        return {str(task): str(owned[task]) for task in sorted(owned)}

    def advance(self, seconds: float) -> None:
        """Time goes on, tick by tick."""
        for _ in range(round(seconds / TICK_SECONDS)):
            self.now += TICK_SECONDS
            self.queue += [(host, ev.Tick(self.now)) for host in self.alive() if not host.paused]
            work(self)
            self.settle()

    def tell(self, host: FakeHost, event: ev.Event) -> None:
        """Let a node handle an event, and everything that follows from it."""
        self.queue.append((host, event))
        self.settle()

    def settle(self) -> None:
        """Until nothing is on its way."""
        for _ in range(EVENTS_MAX):
            if not self.queue and not _read(self):
                return
            host, event = self.queue.popleft()
            if host.dead:
                continue
            if host.paused:
                host.held_up.append(event)
                continue
            for effect in host.node.handle(event):
                self.effects.append((host, effect))
                _perform(self, host, effect)
            _check(self)
        raise AssertionError("the nodes answer each other without end")


def work(cluster: FakeCluster) -> None:
    """Workers commit and report."""
    for host in cluster.alive():
        for worker in list(host.workers.values()):
            if not host.stopped and worker.session and not worker.stuck:
                _work(cluster, host, worker)


def _work(cluster: FakeCluster, host: FakeHost, worker: FakeWorker) -> None:
    if not host.cut and not _is_current(cluster, worker):
        die(cluster, host, worker, int(ExitCode.FENCED))
        return
    running = [
        TaskReport(task=task, state="running", figures=TaskFigures(stored=STORED)) for task in sorted(worker.tasks)
    ]
    lags = {task: cluster.lags.get((host.name, task), 0) for task in worker.standbys}
    following = [
        TaskReport(task=task, state="standby", figures=TaskFigures(lag={"log": lag}, stored=STORED - lag))
        for task, lag in lags.items()
    ]
    report = Report(slot=worker.slot.number, tasks=(*running, *following))
    cluster.queue.append((host, ev.WorkerReport(Slot(worker.slot.number), report)))


def _read(cluster: FakeCluster) -> bool:
    """Put the next record that a host has not read into the queue; False: there is none."""
    for host in cluster.alive():
        if host.cut or host.paused:
            continue
        if host.control_read < len(cluster.log):
            _read_control(cluster, host)
            return True
        if host.status_read < len(cluster.brokers.status):
            cluster.queue.append((host, ev.ReportHeard(cluster.brokers.status[host.status_read])))
            host.status_read += 1
            return True
    return False


def _read_control(cluster: FakeCluster, host: FakeHost) -> None:
    cluster.queue += [(host, ev.SnapshotRead(snapshot)) for snapshot in cluster.log[host.control_read :]]
    host.control_read = len(cluster.log)


def _check(cluster: FakeCluster) -> None:
    owners: dict[TaskId, SlotId] = {}
    for host in cluster.alive():
        for worker in host.workers.values():
            for task in worker.tasks if _is_current(cluster, worker) else ():
                if task in owners:
                    raise Unsafe(f"task {task}: both {owners[task]} and {worker.slot} have it")
                owners[task] = worker.slot


def _is_current(cluster: FakeCluster, worker: FakeWorker) -> bool:
    return cluster.brokers.is_current(worker.slot, worker.session)


def _perform(cluster: FakeCluster, host: FakeHost, effect: ev.Effect) -> None:
    match effect:
        case ev.Publish(report):
            _publish(cluster, host, report)
        case ev.Claim():
            _through(cluster, host, lambda: _claim(cluster, host))
        case ev.Write(snapshot):
            _through(cluster, host, lambda: _write(cluster, host, snapshot))
        case ev.FenceSlot():
            _through(cluster, host, lambda: _fence(cluster, host, effect))
        case ev.Confirm():
            _through(cluster, host, lambda: _confirm(cluster, host, effect))
        case ev.Spawn(slot):
            _spawn(cluster, host, slot)
        case ev.Send(slot, message):
            if slot in host.workers:
                _receive(cluster, host, host.workers[slot], message)
        case ev.Kill(slot):
            if slot in host.workers and not host.workers[slot].stuck:
                die(cluster, host, host.workers[slot], -9)
        case ev.Exit(code):
            host.exit_code = code
            host.crash()
        case ev.AskStacks() | ev.Say():
            return


def _through(cluster: FakeCluster, host: FakeHost, ask: Callable[[], None]) -> None:
    if host.cut or host.refused:
        host.asked.append(ask)
    else:
        ask()


def _publish(cluster: FakeCluster, host: FakeHost, report: HostReport) -> None:
    if not host.cut:
        cluster.brokers.status.append(report)


def _claim(cluster: FakeCluster, host: FakeHost) -> None:
    _read_control(cluster, host)
    slots = tuple(int(slot) for slot in sorted(host.node.local.state.places))
    try:
        snapshot = first_snapshot(cluster.log[-1] if cluster.log else None, host.node.identity, slots)
    except StateIncompatible as error:
        cluster.queue.append((host, ev.EndAtOnce(int(ExitCode.STATE_INCOMPATIBLE), str(error))))
        return
    host.claim = cluster.brokers.open_claim()
    assert cluster.brokers.write(host.claim, snapshot)
    cluster.queue.append((host, ev.Claimed(snapshot)))


def _write(cluster: FakeCluster, host: FakeHost, snapshot: Snapshot) -> None:
    is_written = cluster.brokers.write(host.claim, snapshot)
    cluster.queue.append((host, ev.Written(snapshot.epoch) if is_written else ev.WriteLost()))


def _fence(cluster: FakeCluster, host: FakeHost, effect: ev.FenceSlot) -> None:
    cluster.brokers.open_session(effect.slot)
    cluster.queue.append((host, ev.SlotFenced(effect.slot, effect.epoch)))


def _confirm(cluster: FakeCluster, host: FakeHost, effect: ev.Confirm) -> None:
    _read_control(cluster, host)
    cluster.queue.append((host, ev.WorkerConfirmed(effect.slot, effect.pid, effect.session)))


def _spawn(cluster: FakeCluster, host: FakeHost, slot: Slot) -> None:
    assert slot not in host.workers, "a slot is filled twice"
    host.pids += 1
    worker = host.workers[slot] = FakeWorker(SlotId(host.name, slot), host.pids)
    cluster.queue.append((host, ev.WorkerStarted(slot, worker.pid)))
    _through(cluster, host, lambda: join(cluster, host, worker))


def join(cluster: FakeCluster, host: FakeHost, worker: FakeWorker) -> None:
    """It opens new clients, and has nothing then."""
    if host.workers.get(Slot(worker.slot.number)) is not worker:
        return
    worker.session = cluster.brokers.open_session(worker.slot)
    worker.ready += 1
    worker.tasks, worker.standbys = set(), ()
    cluster.queue.append((host, ev.WorkerReady(Slot(worker.slot.number), worker.ready)))


def _receive(
    cluster: FakeCluster, host: FakeHost, worker: FakeWorker, message: Grant | Revoke | Follow | Lead | Drain
) -> None:
    slot = Slot(worker.slot.number)
    match message:
        case Grant(tasks=tasks):
            worker.tasks |= set(tasks)
            worker.standbys = tuple(task for task in worker.standbys if task not in tasks)
        case Revoke(epoch=epoch, tasks=tasks) if not (worker.keeps or worker.stuck):
            _through(cluster, host, lambda: _release(cluster, host, worker, epoch, tasks))
        case Follow(epoch=epoch, tasks=tasks):
            worker.standbys = tasks
            cluster.queue.append((host, ev.WorkerFollows(slot, epoch, tasks)))
        case Drain():
            _through(cluster, host, lambda: die(cluster, host, worker, int(ExitCode.DRAINED)))
        case Lead() | Revoke():
            return


def _release(cluster: FakeCluster, host: FakeHost, worker: FakeWorker, epoch: int, tasks: tuple[TaskId, ...]) -> None:
    if not _is_current(cluster, worker):
        die(cluster, host, worker, int(ExitCode.FENCED))
        return
    worker.tasks -= set(tasks)
    cluster.queue.append((host, ev.WorkerReleased(Slot(worker.slot.number), epoch, tasks)))


def die(cluster: FakeCluster, host: FakeHost, worker: FakeWorker, code: int) -> None:
    """The process is gone, and the kernel says so."""
    slot = Slot(worker.slot.number)
    if host.workers.get(slot) is worker:
        del host.workers[slot]
        cluster.queue.append((host, ev.WorkerGone(slot, worker.pid, code)))
