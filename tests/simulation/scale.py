"""What the control plane costs one host of a large cluster: CPU seconds per simulated second.

    python -m tests.simulation.scale --hosts 100 --tasks 10000

Real nodes with real records: reports and snapshots are encoded, signed and decoded as on the topics, and reports of
workers as on their sockets. The leader and one follower hear everything and are measured; the others hear the leader
and themselves, which is what makes them report. Brokers and clients cost nothing here.
"""

from __future__ import annotations

import argparse
import gc
import random
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

from streamcluster.ids import Slot, SlotId, TaskId
from streamcluster.protocol.messages import (
    Follow,
    Grant,
    Report,
    Revoke,
    TaskFigures,
    TaskReport,
    ToCoordinator,
    WorkerFigures,
)
from streamcluster.protocol.wire import FrameReader, encode_frame
from streamcluster.settings import Settings, make_settings
from streamcluster_coordinator.answers.peer_auth import Secret
from streamcluster_coordinator.machine import events as ev
from streamcluster_coordinator.machine.cluster_status import shown_status
from streamcluster_coordinator.machine.election import Identity
from streamcluster_coordinator.machine.node import Node
from streamcluster_coordinator.machine.own_status import HostFacts, Snapshots
from streamcluster_coordinator.records.report import decode_report, encode_report
from streamcluster_coordinator.records.signatures import Signatures
from streamcluster_coordinator.records.snapshot import (
    HostEntry,
    Leader,
    Shape,
    Snapshot,
    decode_snapshot,
    encode_snapshot,
)
from streamcluster_coordinator.shell.loop import event_of

SIGNATURES = Signatures(Secret(b"a secret of all hosts"), "shop")
TICKS_PER_SECOND = 5
SHOWS_PER_SECOND = 2
TOPICS_PER_TASK = 2
# Records that a busy task does in a second: positions, lags and loads of all move all the time.
RECORDS_PER_SECOND = 1_000


@dataclass(slots=True)
class Simulated:
    """One host. cpu: seconds spent on it, while it is measured."""

    node: Node
    is_measured: bool = False
    cpu: float = 0.0
    slots: dict[Slot, tuple[tuple[TaskId, ...], tuple[TaskId, ...]]] = field(default_factory=dict)
    sent_bytes: int = 0
    # Of the sockets of its workers.
    frames: dict[Slot, FrameReader[ToCoordinator]] = field(default_factory=dict)


@dataclass(slots=True)
class Scale:
    """A cluster in which everything runs, and nothing happens."""

    hosts: int
    tasks: tuple[TaskId, ...]
    slots: int
    settings: Settings
    now: float = 1000.0
    all: list[Simulated] = field(default_factory=list)
    topic: list[tuple[Simulated, bytes]] = field(default_factory=list)
    # Fences take until the next tick.
    fenced: list[tuple[Simulated, ev.SlotFenced]] = field(default_factory=list)
    control: list[Snapshot] = field(default_factory=list)
    # CPU seconds of the leader's first plan.
    plan: float = 0.0

    def begin(self) -> None:
        """Hosts that know the log, workers that have what it gives them, and a leader that has heard all."""
        snapshot = self.first()
        self.control.append(snapshot)
        for number in range(self.hosts):
            one = self.host(number, snapshot)
            one.is_measured = number in (0, 1)
            self.all.append(one)
        for one in self.all:
            self.tell(one, ev.SnapshotRead(snapshot))
            for slot in one.slots:
                self.tell(one, ev.WorkerStarted(slot, 1))
                self.tell(one, ev.WorkerReady(slot, 1))
                self.tell(one, ev.WorkerConfirmed(slot, 1, 1))
        self.second()
        self.second()
        before = self.all[0].cpu
        self.tell(self.all[0], ev.Claimed(snapshot))
        self.plan = self.all[0].cpu - before

    def first(self) -> Snapshot:
        """Everything is where it should be."""
        places = [SlotId(name_of(host), slot) for slot in range(self.slots) for host in range(self.hosts)]
        shuffled = list(self.tasks)
        random.Random(1).shuffle(shuffled)
        count = len(places)
        owners = {str(task): str(places[at % count]) for at, task in enumerate(shuffled)}
        # The next place is on another host, and another one in each round of tasks, as in a cluster that has a past.
        steps = [1 + 7 * (at // count) for at in range(len(shuffled))]
        standbys: dict[str, tuple[str, ...]] = {
            str(task): (str(places[(at + steps[at]) % count]),) for at, task in enumerate(shuffled)
        }
        return Snapshot(
            epoch=7,
            term=1,
            leader=Leader(host=name_of(0), instance=instance_of(0), pid=1, machine=name_of(0)),
            cluster_id="cluster",
            topic_id="topic",
            shape=self.shape(),
            hosts={
                name_of(host): HostEntry(
                    instance=instance_of(host), slots=tuple(range(self.slots)), pid=1, machine=name_of(host)
                )
                for host in range(self.hosts)
            },
            owners=owners,
            standbys=standbys,
            lead=str(places[0]),
        )

    def shape(self) -> Shape:
        """Of the app."""
        groups = sorted({task.group for task in self.tasks})
        return Shape(
            sources={f"topic{group}": group for group in groups},
            tables={f"table{group}": (f"table{group}-changelog", group) for group in groups},
        )

    def host(self, number: int, snapshot: Snapshot) -> Simulated:
        """One coordinator."""
        name = name_of(number)
        identity = Identity(
            host=name,
            instance=instance_of(number),
            pid=1,
            machine=name,
            cluster_id="cluster",
            topic_id="topic",
            control_topic="shop-ctl",
            shape=self.shape(),
            tasks=self.tasks,
            stateless=frozenset(),
        )
        facts = HostFacts("shop", name, 1, "", self.settings.processing_guarantee, "", self.now)
        made = Snapshots(facts)
        node = Node.make(self.settings, identity, made, slots=self.slots, now=self.now, last=snapshot)
        slots = {Slot(slot): ((), ()) for slot in range(self.slots)}
        reader = {
            Slot(s): FrameReader[ToCoordinator](msgspec.msgpack.Decoder(ToCoordinator)) for s in range(self.slots)
        }
        return Simulated(node, slots=dict(slots), frames=reader)

    def second(self) -> None:
        """One second of it: ticks, reports of workers and hosts, and what a terminal or a log is shown."""
        for tick in range(TICKS_PER_SECOND):
            self.now += 1 / TICKS_PER_SECOND
            for one in self.all:
                self.tell(one, ev.Tick(self.now))
            if tick in (0, TICKS_PER_SECOND // 2):
                for one in self.all:
                    self.workers_report(one)
                    if one.is_measured:
                        with measured(one):
                            shown_status(one.node.snapshots.take(one.node.local.state), one.node.view, self.tasks)
            self.deliver()

    def workers_report(self, one: Simulated) -> None:
        """A heartbeat of each worker, over its socket."""
        done = int(self.now * RECORDS_PER_SECOND)
        for slot, (owned, followed) in one.slots.items():
            running = [
                TaskReport(
                    task=task,
                    state="running",
                    figures=TaskFigures(
                        positions={f"topic{n}": done * (n + 1) for n in range(TOPICS_PER_TASK)},
                        lag={f"topic{n}": done % 90 for n in range(TOPICS_PER_TASK)},
                        stored=done,
                    ),
                )
                for task in owned
            ]
            following = [
                TaskReport(
                    task=task, state="standby", figures=TaskFigures(lag={"table-changelog": done % 900}, stored=done)
                )
                for task in followed
            ]
            frame = encode_frame(
                Report(
                    slot=slot, tasks=(*running, *following), figures=WorkerFigures(events_total=done, rss_bytes=done)
                )
            )
            with measured(one):
                heard = [event_of(slot, message) for message in one.frames[slot].feed(frame)]
            for event in heard:
                if event is not None:
                    self.tell(one, event)

    def deliver(self) -> None:
        """What is new on the status topic, and fences that are done."""
        fenced, self.fenced = self.fenced, []
        for one, event in fenced:
            self.tell(one, event)
        records, self.topic = self.topic, []
        for sender, value in records:
            for one in self.all:
                if one.is_measured or one is sender or sender is self.all[0]:
                    with measured(one):
                        report = decode_report(SIGNATURES.check("report", value)[0])
                    self.tell(one, ev.ReportHeard(report))

    def tell(self, one: Simulated, event: ev.Event) -> None:
        """Let a node handle an event, and do what it asks for."""
        with measured(one):
            effects = one.node.handle(event)
        for effect in effects:
            self.perform(one, effect)

    def perform(self, one: Simulated, effect: ev.Effect) -> None:
        """Brokers and workers do at once what they are asked for."""
        match effect:
            case ev.Publish(report):
                with measured(one):
                    value = SIGNATURES.sign("report", encode_report(report))
                one.sent_bytes += len(value)
                self.topic.append((one, value))
            case ev.Write(snapshot):
                with measured(one):
                    value = SIGNATURES.sign("snapshot", encode_snapshot(snapshot))
                self.control.append(snapshot)
                self.tell(one, ev.Written(snapshot.epoch))
                for other in self.all:
                    with measured(other):
                        read = decode_snapshot(SIGNATURES.check("snapshot", value)[0])
                    self.tell(other, ev.SnapshotRead(read))
            case ev.FenceSlot(slot_id, epoch):
                self.fenced.append((one, ev.SlotFenced(slot_id, epoch)))
            case ev.Send(slot, Revoke(epoch=epoch, tasks=tasks)):
                one.slots[slot] = (tuple(task for task in one.slots[slot][0] if task not in tasks), one.slots[slot][1])
                self.tell(one, ev.WorkerReleased(slot, epoch, tasks))
            case ev.Send(slot, Grant(tasks=tasks)):
                one.slots[slot] = (tuple(sorted({*one.slots[slot][0], *tasks})), one.slots[slot][1])
            case ev.Send(slot, Follow(epoch=epoch, tasks=tasks)):
                one.slots[slot] = (one.slots[slot][0], tasks)
                self.tell(one, ev.WorkerFollows(slot, epoch, tasks))
            case _:
                return


@contextmanager
def measured(one: Simulated) -> Iterator[None]:
    """Count the CPU time of this thread."""
    began = time.thread_time()
    yield
    one.cpu += time.thread_time() - began


def lose(scale: Scale) -> str:
    """What the loss of a host costs the leader, from its last word until somebody has each of its tasks."""
    lost, leader = scale.all.pop(), scale.all[0]
    name, epoch, now, cpu = lost.node.identity.host, scale.control[-1].epoch, scale.now, leader.cpu
    while any(SlotId.parse(slot).host == name for slot in scale.control[-1].owners.values()):
        scale.second()
    return (
        f"a host is lost: its tasks are others' after {scale.now - now:.0f} s and {scale.control[-1].epoch - epoch} "
        f"snapshots, {leader.cpu - cpu:.1f} CPU seconds of the leader"
    )


def name_of(number: int) -> str:
    """Of a host; the leader's is the first."""
    return f"host-{number:03}.example"


def instance_of(number: int) -> str:
    """As long as a real one."""
    return f"{number:032x}"


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.scale", description=__doc__)
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--slots", type=int, default=8, help="Of each host.")
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--lose", action="store_true", help="Lose a host in the end.")
    options = parser.parse_args()
    scale = measure(options.hosts, options.slots, options.tasks, options.seconds)
    print(report_of(scale, options.seconds), flush=True)
    if options.lose:
        print(lose(scale))


def measure(hosts: int, slots: int, tasks: int, seconds: int) -> Scale:
    """A cluster that ran for so long."""
    settings = make_settings({"id": "shop"})
    ids = tuple(TaskId(tasks, number) for number in range(tasks))
    scale = Scale(hosts=hosts, tasks=ids, slots=slots, settings=settings)
    scale.begin()
    scale.second()
    # The heap of a hundred hosts is not that of one.
    gc.collect()
    gc.freeze()
    for one in scale.all:
        one.cpu, one.sent_bytes = 0.0, 0
    for _ in range(seconds):
        scale.second()
    return scale


def report_of(scale: Scale, seconds: int) -> str:
    """What was measured, as text."""
    leader, follower = scale.all[0], scale.all[1]
    value = encode_snapshot(scale.control[-1])
    sent = sum(one.sent_bytes for one in scale.all) / seconds
    return "\n".join(
        (
            f"leader: {100 * leader.cpu / seconds:.2f} % of a core; its first plan: {scale.plan:.2f} s",
            f"follower: {100 * follower.cpu / seconds:.2f} % of a core",
            f"reports of all hosts: {sent / 1000:.0f} kB/s",
            f"snapshot: {len(value) / 1000:.0f} kB, compressed {len(zlib.compress(value, 1)) / 1000:.0f} kB",
            f"snapshots written: {len(scale.control) - 1}",
        )
    )


if __name__ == "__main__":
    main()
