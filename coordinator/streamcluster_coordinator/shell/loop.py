"""Joins the machine with the world: makes events of processes, messages, signals and time, and performs its effects.

Each event and effect is one debug line of `streamcluster.coordinator`, so that a log replays. It decides nothing.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, assert_never

import msgspec

from streamcluster.causes import why_no_process
from streamcluster.errors import ExitCode
from streamcluster.ids import Slot, SlotId
from streamcluster.protocol.messages import (
    Failed,
    Following,
    Ready,
    Released,
    Report,
    Rows,
    Stored,
    ToCoordinator,
    ToWorker,
    WorkerConfig,
)
from streamcluster.settings import Settings
from streamcluster.topology import Topology

from ..admin.standings import StandingsReader
from ..admin.watch import TopicsWatch
from ..answers.answers import Answers
from ..answers.control_socket import ControlSocket
from ..answers.peer_auth import Secret
from ..answers.peer_port import PeerClient, PeerPort
from ..control.effects import ClusterEffects
from ..dropped import Dropped
from ..machine import events as ev
from ..machine.node import Node
from ..records.snapshot import begun_of, slot_transactional_id
from ..records.status import Status
from .fleet import Fleet, Process, watch
from .inbox import Inbox
from .last_resort import effects_of
from .link import Link
from .orphans import REAP_SECONDS, is_init, reap_orphans

logger = logging.getLogger("streamcluster.coordinator")
# Stalls, deadlines and back-offs are seconds long; a fifth of one is exact enough.
TICK_SECONDS = 0.2
SNAPSHOT_SECONDS = 0.5
# Too many for the log, and without a decision.
_FREQUENT = (ev.Tick, ev.ReportHeard, ev.WorkerReport)
_SIGNALS: dict[signal.Signals, ev.Event] = {
    signal.SIGTERM: ev.StopRequested(),
    signal.SIGINT: ev.StopRequested(interrupt=True),
    signal.SIGHUP: ev.RestartRequested(),
    signal.SIGUSR1: ev.StacksRequested(),
    signal.SIGTTIN: ev.MoreWorkers(),
    signal.SIGTTOU: ev.FewerWorkers(),
}


class Presenter(Protocol):
    """Who shows lines and snapshots: the terminal or the log, and tests."""

    def line(self, level: str, text: str) -> None:
        """One message."""
        ...

    def on_status(self, status: Status) -> None:
        """The newest snapshot; about twice a second."""
        ...


@dataclass(slots=True)
class RunningWorker:
    """The process in a slot, and the socket to it."""

    process: Process
    link: Link


@dataclass(slots=True)
class Coordination:
    """One host's run of an app, from the first worker's start to the last one's end."""

    app: str
    settings: Settings
    topology: Topology
    directory: Path
    fleet: Fleet
    node: Node
    cluster: ClusterEffects
    inbox: Inbox
    say: Presenter
    dropped: Dropped
    workers: dict[Slot, RunningWorker] = field(default_factory=dict)
    # What runs beside the loop over events: ticks and snapshots.
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    # Set by the machine's Exit.
    exit_code: int | None = None
    # Opens the port for other hosts; None: there is none, or no secret to ask others with.
    secret: Secret | None = None
    # Looks for partitions that are added.
    watch: TopicsWatch | None = None
    # It ends so that the app begins again with partitions that were added; and whether somebody wants it to end.
    has_grown: bool = False
    told_to_end: bool = False
    answers: Answers = field(init=False)
    standings: StandingsReader = field(init=False)

    def __post_init__(self) -> None:
        client = PeerClient(self.secret, self.settings.app_id) if self.secret is not None else None
        self.standings = StandingsReader(self.settings, self.topology.source_partitions())
        self.answers = Answers(
            self.topology,
            self.node,
            self.inbox,
            client,
            self._send_to,
            self.dropped,
            self.standings.read,
            self.watch,
        )

    async def run(self) -> int:
        """Until the machine says Exit; returns its code. No process of ours is left when this ends, however it ends."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._unforeseen)
        # nohup: who starts us so wants no hang-up to mean anything.
        heard = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN or number != signal.SIGHUP]
        for number in heard:
            loop.add_signal_handler(number, self._told, number)
        control_socket = ControlSocket(self.directory, self.answers.answer, self.dropped)
        port = self._peer_port()
        try:
            self.inbox.open()
            self._show()
            await control_socket.open()
            if port is not None:
                await port.open()
            self._tick()
            async with asyncio.TaskGroup() as group:
                self.tasks |= {
                    group.create_task(self._every(TICK_SECONDS, self._tick)),
                    group.create_task(self._every(SNAPSHOT_SECONDS, self._show)),
                }
                if is_init():
                    self.tasks.add(group.create_task(self._every(REAP_SECONDS, self._reap)))
                if self.watch is not None:
                    self.tasks.add(group.create_task(self.watch.run(self._grown)))
                await self._work(group)
                self.cluster.end()
                for task in self.tasks:
                    task.cancel()
            assert self.exit_code is not None
            return self.exit_code
        finally:
            for worker in self.workers.values():
                worker.link.close()
                worker.process.kill_and_wait()
            await control_socket.close()
            await self.standings.close()
            if port is not None:
                await port.close()
            for number in heard:
                loop.remove_signal_handler(number)

    def _peer_port(self) -> PeerPort | None:
        address, secret = self.settings.advertise, self.secret
        if address is None or secret is None:
            return None
        name, read = self.node.identity.host, self.answers.rows.read_local
        return PeerPort(
            address,
            secret,
            app_id=self.settings.app_id,
            host=name,
            answer=read,
            say=self.say.line,
            dropped=self.dropped,
            listen=self.settings.listen,
        )

    def _told(self, number: signal.Signals) -> None:
        self.told_to_end |= number in (signal.SIGTERM, signal.SIGINT)
        self.inbox.post(_SIGNALS[number])

    def _grown(self, texts: list[str]) -> None:
        """Partitions were added: end the run as if asked to."""
        for text in texts:
            self.say.line("warning", f"{text}: the workers begin again, to read all of them")
        self.has_grown = True
        self.inbox.post(ev.StopRequested())

    def begins_again(self, code: int) -> bool:
        """After the run: whether the app goes on with partitions that were added, seen here or by other hosts first."""
        if self.told_to_end:
            return False
        if self.node.is_outgrown():
            return code in (ExitCode.STATE_INCOMPATIBLE, ExitCode.DRAINED, ExitCode.TEMPORARY_FAILURE)
        return self.has_grown and code in (ExitCode.DRAINED, ExitCode.TEMPORARY_FAILURE)

    def _tick(self) -> None:
        self.inbox.post(ev.Tick(time.monotonic()))
        if (deaf := self.cluster.deaf()) is not None and not self.cluster.ended:
            # A mistake of ours: with workers that go on it would be a host that hears nobody, for good.
            self.inbox.post(ev.EndAtOnce(int(ExitCode.CRASH_LOOP), f"the thread that {deaf} has ended by itself"))

    def _reap(self) -> None:
        reap_orphans(self.fleet.own_children())

    def _unforeseen(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback that raised, or a task whose end nobody looked at."""
        error = context.get("exception")
        self.dropped.add("the coordinator itself", f"{context['message']}: {error!r}", traceback=error)

    def _show(self) -> None:
        """What is shown here is what happens here."""
        self.say.on_status(self.answers.shown_status())

    async def _work(self, group: asyncio.TaskGroup) -> None:
        """Events in, effects out. Every wait ends at the next tick at the latest."""
        while not self._has_ended():
            await self.inbox.wait()
            self.tasks = {task for task in self.tasks if not task.done()}
            while not self._has_ended() and (event := self.inbox.take()) is not None:
                if not isinstance(event, _FREQUENT):
                    logger.debug("event %s", event)
                if isinstance(event, ev.SnapshotRead):
                    self.answers.decided(event.snapshot)
                for effect in effects_of(self.node, event, self.dropped):
                    if not isinstance(effect, ev.Publish):
                        logger.debug("effect %s", effect)
                    self._perform(effect, group)
        self._show()

    def _has_ended(self) -> bool:
        return self.exit_code is not None

    async def _every(self, seconds: float, act: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(seconds)
            act()

    def _perform(self, effect: ev.Effect, group: asyncio.TaskGroup) -> None:
        match effect:
            case ev.Spawn(slot, inventory, death):
                self._spawn(slot, inventory=inventory, death=death)
            case ev.Send(slot, message):
                self._send_to(slot, message)
            case ev.Kill(slot):
                self._signal(slot, signal.SIGKILL)
            case ev.AskStacks(None):
                faulthandler.dump_traceback(sys.stderr)
            case ev.AskStacks(slot):
                assert slot is not None
                self._signal(slot, signal.SIGUSR1)
            case ev.Claim() | ev.Write() | ev.FenceSlot() | ev.Confirm():
                self.tasks.add(group.create_task(self.cluster.perform(effect)))
            case ev.Publish(report):
                self.cluster.bus.publish(report)
            case ev.Say(level, text, traceback):
                self.say.line(level, f"{text}\n{traceback}" if traceback else text)
            case ev.Exit(code):
                self.exit_code = code
            case _:
                assert_never(effect)

    def _spawn(self, slot: Slot, *, inventory: bool, death: str | None) -> None:
        owner, snapshot = SlotId(self.node.identity.host, slot), self.node.view.snapshot
        config = WorkerConfig(
            app=self.app,
            slot=slot,
            # It is told when it leads, as when leadership moves.
            leader=False,
            settings=self.settings,
            topology=self.topology,
            state_dir=str(self.directory),
            transactional_id=slot_transactional_id(self.settings.app_id, owner),
            inventory=inventory,
            death=death,
            begun=begun_of(snapshot, self.node.identity.shape),
            read=snapshot.read if snapshot is not None else {},
        )
        try:
            process = self.fleet.start_worker(msgspec.msgpack.encode(config))
        except OSError as error:
            self.inbox.post(ev.WorkerGone(slot, None, None, f"no process could be started: {why_no_process(error)}"))
            return
        link = Link(
            process.sock,
            partial(self._received, slot),
            partial(self._broken, slot),
        )
        self.workers[slot] = RunningWorker(process, link)
        self.inbox.post(ev.WorkerStarted(slot, process.pid))
        watch(process, lambda: self._gone(slot))

    def _gone(self, slot: Slot) -> None:
        """The kernel's word. What the process still said is heard first."""
        worker = self.workers.pop(slot)
        worker.link.close()
        code = worker.process.exit_code()
        worker.process.close()
        self.inbox.post(ev.WorkerGone(slot, worker.process.pid, code))

    def _broken(self, slot: Slot, reason: str) -> None:
        self.say.line("error", f"worker {slot} is killed: {reason}")
        self._signal(slot, signal.SIGKILL)

    def _received(self, slot: Slot, message: ToCoordinator) -> None:
        if isinstance(message, Rows):
            self.answers.rows.received(message)
        elif (event := event_of(slot, message)) is not None:
            self.inbox.post(event)

    # A worker may be gone already while the event that says so still waits in the queue: what is then sent to it is
    # dropped, and the machine takes it back when it hears.

    def _signal(self, slot: Slot, number: signal.Signals) -> None:
        if (worker := self.workers.get(slot)) is not None:
            worker.process.signal(number)

    def _send_to(self, slot: Slot, message: ToWorker) -> bool:
        if (worker := self.workers.get(slot)) is None:
            return False
        worker.link.send(message)
        return True


def event_of(slot: Slot, message: ToCoordinator) -> ev.Event | None:
    """What a worker's message means to the machine; None: nothing."""
    match message:
        case Ready():
            return ev.WorkerReady(slot, message.session)
        case Report():
            return ev.WorkerReport(slot, message)
        case Released():
            return ev.WorkerReleased(slot, message.epoch, message.tasks)
        case Following():
            return ev.WorkerFollows(slot, message.epoch, message.tasks)
        case Stored():
            return ev.WorkerStored(slot, message.positions)
        case Failed():
            return ev.WorkerFailed(slot, message.exit_code, message.text, message.traceback)
        case Rows():
            return None
        case _:
            assert_never(message)
