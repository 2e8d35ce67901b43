"""A world of hosts over one Kafka: it starts them, hurts them by a seed, and checks what must always hold."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field

from streamcluster.ids import TaskId
from streamcluster.settings import Settings, make_settings
from streamcluster_coordinator.machine import events as ev
from streamcluster_coordinator.machine.election import Identity
from streamcluster_coordinator.machine.node import Node
from streamcluster_coordinator.machine.own_status import HostFacts, Snapshots
from streamcluster_coordinator.records.report import HostReport, LeaderRequest
from streamcluster_coordinator.records.snapshot import Shape

from .clock import Clock
from .hosts import Host
from .kafka import Brokers, Unsafe
from .line import Line
from .workers import Worker

GROUPS = (4, 3)
TASKS = tuple(TaskId(group, number) for group in GROUPS for number in range(group))
WORK_SECONDS = 0.5
SHAPE = Shape(sources={"four": 4, "three": 3}, tables={"sums": ("sums-changelog", 4)})
# Tasks of the group of three have no table.
STATELESS = frozenset(task for task in TASKS if task.group == 3)


@dataclass(slots=True)
class World:
    """One seed's world."""

    seed: int
    tracing: bool = False
    workers: int = 2
    brokers: Brokers = field(default_factory=Brokers)
    hosts: dict[str, Host] = field(default_factory=dict)
    instances: int = 0
    lines: list[str] = field(default_factory=list)
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    clock: Clock = field(init=False)
    settings: Settings = field(init=False)
    # Hosts that ended by their own decision, with the code.
    ended: list[tuple[str, int]] = field(default_factory=list)
    disks: dict[str, set[TaskId]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clock = Clock(random.Random(self.seed))
        self.clock.publish = self.publish
        self.clock.announce = self.announce
        # In every third world a task that is not given back is fenced while there are faults.
        drain = 3.0 if self.seed % 3 == 0 else 25.0
        options = {"id": "shop", "crash_loop_deaths": 4, "crash_loop_window": 10.0, "drain_timeout": drain}
        self.settings = make_settings(options)

    def trace(self, line: str) -> None:
        """One line of what happens; the digest of all lines is the same for the same seed."""
        text = f"{self.clock.now:.4f} {line}"
        self.digest.update(text.encode())
        if self.tracing:
            self.lines.append(text)

    # Hosts

    def start(self, name: str) -> Host:
        """A new coordinator on that host; the disk is what the one before left."""
        self.instances += 1
        identity = Identity(
            host=name,
            instance=f"{name}{self.instances}",
            pid=self.instances,
            machine=name,
            cluster_id="cluster",
            topic_id="topic",
            control_topic="shop-ctl",
            shape=SHAPE,
            tasks=TASKS,
            stateless=STATELESS,
        )
        facts = HostFacts(
            app="shop",
            host=name,
            pid=self.instances,
            broker="",
            processing_guarantee="exactly_once",
            topology_hash="",
            started_at=self.clock.now,
        )
        last = self.brokers.control[-1] if self.brokers.control else None
        node = Node.make(self.settings, identity, Snapshots(facts), slots=self.workers, now=self.clock.now, last=last)
        disk = self.disks.setdefault(name, set())
        host = Host(
            Line(name, self.brokers, self.clock, disk, self.check), node, self.trace, is_large=self.seed % 2 == 1
        )
        self.hosts[name] = host
        self.trace(f"{name} starts as {identity.instance}")
        host.start()
        self.clock.after(self.clock.random.uniform(0, WORK_SECONDS), lambda: self.work(host))
        return host

    def work(self, host: Host) -> None:
        """Each worker commits and says that it lives, twice a second."""
        if host.line.dead:
            return
        for worker in list(host.workers.values()):
            worker.work()
            worker.heartbeat()
        self.check()
        self.clock.after(WORK_SECONDS, lambda: self.work(host))

    def alive(self) -> list[Host]:
        """Hosts whose processes exist, by name."""
        return [self.hosts[name] for name in sorted(self.hosts) if not self.hosts[name].line.dead]

    def all_workers(self) -> list[Worker]:
        """Processes that exist."""
        return [worker for host in self.alive() for worker in host.workers.values()]

    def publish(self, report: HostReport) -> None:
        """A record of the status topic."""
        self.brokers.status.append(report)
        self.announce()

    def announce(self) -> None:
        """Something new is in the logs."""
        for host in self.alive():
            host.line.through(host.read_logs)

    def ask(self, host: Host, request: LeaderRequest) -> None:
        """An operator's command on that host."""
        host.tell(ev.Asked(request))

    # What must always hold

    def check(self) -> None:
        """At most one session per task can commit."""
        owners: dict[TaskId, Worker] = {}
        for worker in self.all_workers():
            for task in worker.tasks if worker.can_commit() else ():
                if task in owners:
                    raise Unsafe(f"task {task}: both {owners[task].slot_id} and {worker.slot_id} can commit")
                owners[task] = worker

    # What must come to be

    def unsettled(self) -> str | None:
        """Why the world is not as it should be in the end; None: it is."""
        hosts = self.alive()
        working = {task: worker for worker in self.all_workers() for task, at in worker.tasks.items() if at is not None}
        if missing := [str(task) for task in TASKS if task not in working]:
            return f"nobody works on {', '.join(missing)}"
        slots = [(host.name, slot) for host in hosts for slot in host.node.local.state.places]
        drained = self.brokers.control[-1].drained
        counts = {(name, slot): 0 for name, slot in slots if name not in drained and f"{name}/{slot}" not in drained}
        for worker in working.values():
            if (worker.line.name, worker.slot) not in counts:
                return f"{worker.slot_id} is drained and works"
            counts[worker.line.name, worker.slot] += 1
        if not self.brokers.control[-1].pins and max(counts.values()) - min(counts.values()) > 1:
            return f"not balanced: {counts}"
        names = {name for name, _ in counts}
        if len(names) > 1:
            for task in TASKS:
                standbys = [w for w in self.all_workers() if task in w.standbys and w.line is not working[task].line]
                if task not in STATELESS and len(standbys) != 1:
                    return f"task {task} has {len(standbys)} standbys"
        return None
