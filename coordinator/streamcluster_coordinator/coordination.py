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
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol, assert_never

import msgspec

from streamcluster.errors import BrokerUnreachable, ConfigurationError, Fenced, StateIncompatible
from streamcluster.ids import Slot
from streamcluster.messages import (
    Drained,
    Failed,
    Ready,
    Released,
    Report,
    Rows,
    ToCoordinator,
    ToWorker,
    WorkerConfig,
)
from streamcluster.settings import Settings
from streamcluster.topology import Topology

from . import machine_events as ev
from .control import Control
from .control_record import slot_id
from .fleet import Fleet, Process, watch
from .link import Link
from .machine import Machine
from .machine_status import Snapshots
from .ops import ControlSocket
from .rows import TableReader
from .status import GetRows, Request, RowsAnswer, Status

logger = logging.getLogger("streamcluster.coordinator")
# Stalls, deadlines and back-offs are seconds long; a fifth of one is exact enough.
TICK_SECONDS = 0.2
SNAPSHOT_SECONDS = 0.5
_RETRY_SECONDS = 0.5
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
class Worker:
    """The process in a slot, and the socket to it."""

    process: Process
    link: Link


@dataclass(slots=True)
class Coordination:
    """One run of an app, from the first worker's start to the last one's end."""

    app: str
    settings: Settings
    topology: Topology
    directory: Path
    fleet: Fleet
    control: Control
    machine: Machine
    snapshots: Snapshots
    say: Presenter
    workers: dict[Slot, Worker] = field(default_factory=dict)
    events: deque[ev.Event] = field(default_factory=deque)
    wakeup: asyncio.Event = field(default_factory=asyncio.Event)
    # What runs beside the loop over events: ticks, snapshots, questions to the control log.
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    # Set by the machine's Exit.
    exit_code: int | None = None
    rows: TableReader = field(init=False)

    def __post_init__(self) -> None:
        self.rows = TableReader(self.topology, self.machine.state, self._send_to)

    async def run(self) -> int:
        """Until the machine says Exit; returns its code. No process of ours is left when this ends, however it ends."""
        loop = asyncio.get_running_loop()
        # nohup: who starts us so wants no hang-up to mean anything.
        heard = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN or number != signal.SIGHUP]
        for number in heard:
            loop.add_signal_handler(number, self.post, _SIGNALS[number])
        control_socket = ControlSocket(self.directory, self.answer)
        try:
            self.machine.handle(ev.Tick(time.monotonic()))
            self._snapshot()
            await control_socket.open()
            self.post(ev.Started())
            async with asyncio.TaskGroup() as group:
                tick = self._every(TICK_SECONDS, lambda: self.post(ev.Tick(time.monotonic())))
                show = self._every(SNAPSHOT_SECONDS, self._snapshot)
                self.tasks |= {group.create_task(tick), group.create_task(show)}
                await self._work(group)
                for task in self.tasks:
                    task.cancel()
            assert self.exit_code is not None
            return self.exit_code
        finally:
            for worker in self.workers.values():
                worker.link.close()
                worker.process.kill_and_wait()
            await control_socket.close()
            for number in heard:
                loop.remove_signal_handler(number)

    def post(self, event: ev.Event) -> None:
        """Queue an event; for the loop's thread."""
        self.events.append(event)
        self.wakeup.set()

    async def answer(self, request: Request) -> Status | RowsAnswer:
        """What the control socket asks."""
        if isinstance(request, GetRows):
            return await self.rows.read(request)
        return self.snapshots.take(self.machine.state)

    async def _work(self, group: asyncio.TaskGroup) -> None:
        """Events in, effects out. Every wait ends at the next tick at the latest."""
        while self.exit_code is None:
            await self.wakeup.wait()
            self.wakeup.clear()
            self.tasks = {task for task in self.tasks if not task.done()}
            while self.events and self.exit_code is None:
                event = self.events.popleft()
                if not isinstance(event, ev.Tick):
                    logger.debug("event %s", event)
                for effect in self.machine.handle(event):
                    logger.debug("effect %s", effect)
                    self._perform(effect, group)
        self._snapshot()

    async def _every(self, seconds: float, act: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(seconds)
            act()

    def _snapshot(self) -> None:
        self.say.on_status(self.snapshots.take(self.machine.state))

    def _perform(self, effect: ev.Effect, group: asyncio.TaskGroup) -> None:
        match effect:
            case ev.Spawn(slot):
                self._spawn(slot)
            case ev.Send(slot, message):
                self._send_to(slot, message)
            case ev.Kill(slot):
                self._signal(slot, signal.SIGKILL)
            case ev.AskStacks(None):
                faulthandler.dump_traceback(sys.stderr)
            case ev.AskStacks(slot):
                assert slot is not None
                self._signal(slot, signal.SIGUSR1)
            case ev.Confirm(slot, pid):
                question = self._ask_control(self.control.confirm, ev.WorkerConfirmed(slot, pid))
                self.tasks.add(group.create_task(question))
            case ev.RecordSlots(count):
                question = self._ask_control(partial(self.control.record_slots, count), ev.SlotsRecorded(count))
                self.tasks.add(group.create_task(question))
            case ev.Say(level, text, traceback):
                self.say.line(level, f"{text}\n{traceback}" if traceback else text)
            case ev.Exit(code):
                self.exit_code = code
            case _:
                assert_never(effect)

    async def _ask_control(self, ask: Callable[[], None], done: ev.Event) -> None:
        """Ask off the loop, again while no broker answers."""
        said = False
        while self.exit_code is None:
            try:
                await asyncio.to_thread(ask)
                self.post(done)
                return
            except (Fenced, StateIncompatible) as error:
                self.post(ev.FencedByAnother(str(error)))
                return
            except (BrokerUnreachable, ConfigurationError) as error:
                if not said:
                    self.say.line("warning", f"{error} Trying again until it works")
                said = True
                await asyncio.sleep(_RETRY_SECONDS)

    def _spawn(self, slot: Slot) -> None:
        config = WorkerConfig(
            app=self.app,
            slot=slot,
            # It is told when it leads, as when leadership moves.
            leader=False,
            settings=self.settings,
            topology=self.topology,
            state_dir=str(self.directory),
            transactional_id=slot_id(self.settings.app_id, slot),
        )
        try:
            process = self.fleet.start_worker(msgspec.msgpack.encode(config))
        except OSError as error:
            self.post(ev.WorkerGone(slot, None, None, f"no process could be started: {error.strerror or error}"))
            return
        link = Link(
            process.sock,
            partial(self._received, slot),
            partial(self._broken, slot),
        )
        self.workers[slot] = Worker(process, link)
        self.post(ev.WorkerStarted(slot, process.pid))
        watch(process, lambda: self._gone(slot))

    def _gone(self, slot: Slot) -> None:
        """The kernel's word. What the process still said is heard first."""
        worker = self.workers.pop(slot)
        worker.link.close()
        code = worker.process.exit_code()
        worker.process.close()
        self.post(ev.WorkerGone(slot, worker.process.pid, code))

    def _broken(self, slot: Slot, reason: str) -> None:
        self.say.line("error", f"worker {slot} is killed: {reason}")
        self._signal(slot, signal.SIGKILL)

    def _received(self, slot: Slot, message: ToCoordinator) -> None:
        if isinstance(message, Rows):
            self.rows.received(message)
        elif (event := event_of(slot, message)) is not None:
            self.post(event)

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
            return ev.WorkerReady(slot)
        case Report():
            return ev.WorkerReport(slot, message)
        case Released():
            return ev.WorkerReleased(slot, message.epoch, message.tasks)
        case Failed():
            return ev.WorkerFailed(slot, message.exit_code, message.text, message.traceback)
        case Rows() | Drained():
            return None
        case _:
            assert_never(message)
