"""Performs what the node wants of Kafka: claims, snapshots, fences, questions to the control log, reports.

Each is asked off the loop, again while no broker answers, and its answer is posted as an event. It decides nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from streamcluster.errors import BrokerUnreachable, ConfigurationError, ExitCode, Fenced, StateIncompatible
from streamcluster.ids import SlotId

from ..machine import events as ev
from ..machine.election import Identity, abdication, first_snapshot
from ..machine.events import Event
from ..records.snapshot import Snapshot
from ..shell.inbox import Inbox
from .bus import StatusBus
from .writer import Control

logger = logging.getLogger("streamcluster.coordinator")
# Of one question: short, because the app's end waits for it, and it is asked again.
ASK_SECONDS = 3.0
RETRY_SECONDS = 0.2
FENCES_AT_ONCE = 8
_T = TypeVar("_T")


@dataclass(slots=True)
class ClusterEffects:
    """For one coordinator. say: shows a line; slots: the numbers of our slots now."""

    control: Control
    bus: StatusBus
    identity: Identity
    inbox: Inbox
    say: Callable[[str, str], None]
    slots: Callable[[], tuple[int, ...]]
    # Claims and snapshots, one at a time; fences and questions beside them.
    writer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="control"))
    others: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(FENCES_AT_ONCE, thread_name_prefix="ask")
    )
    ended: bool = False

    def deaf(self) -> str | None:
        """What a thread did that is not there any more; None: both are."""
        if not self.bus.is_listening():
            return "hears other hosts"
        return None if self.control.is_listening() else "reads the control topic"

    async def perform(self, effect: ev.Claim | ev.Write | ev.FenceSlot | ev.Confirm) -> None:
        """The answer comes as an event."""
        match effect:
            case ev.Claim():
                await self._claim()
            case ev.Write(snapshot):
                await self._write(snapshot)
            case ev.FenceSlot():
                await self._fence(effect)
            case ev.Confirm(slot, pid, session):
                await self._confirm(ev.WorkerConfirmed(slot, pid, session))

    async def _claim(self) -> None:
        make = partial(first_snapshot, identity=self.identity, slots=self.slots())

        def claim() -> Snapshot:
            self._fence_former_owners()
            return self.control.claim(make, time.monotonic() + ASK_SECONDS)

        try:
            snapshot = await self._in(self.writer, claim)
            self.inbox.post(ev.Claimed(snapshot))
        except (Fenced, BrokerUnreachable) as error:
            logger.debug("the claim is lost: %s", error)
            self.inbox.post(ev.ClaimLost())
        except ConfigurationError as error:
            self.inbox.post(ev.EndAtOnce(int(ExitCode.CONFIGURATION), str(error)))
        except StateIncompatible as error:
            self.inbox.post(ev.EndAtOnce(int(ExitCode.STATE_INCOMPATIBLE), str(error)))

    def _fence_former_owners(self) -> None:
        """Of a version with other tasks none may commit any more, though it is silent: ours read the same partitions.

        On this host the kernel has said that they are gone.
        """
        last = self.control.last
        if last is None or last.shape == self.identity.shape:
            return
        slots = {SlotId.parse(slot) for slot in last.owners.values()}
        for slot in sorted(slot for slot in slots if slot.host != self.identity.host):
            self.control.fence(slot, time.monotonic() + ASK_SECONDS)

    async def _write(self, snapshot: Snapshot) -> None:
        def write() -> None:
            # What the log has with this epoch is this snapshot: nobody but us writes in our term.
            self.control.write(snapshot, time.monotonic() + ASK_SECONDS)

        await self._until_done(self.writer, write, ev.Written(snapshot.epoch), ev.WriteLost())

    async def _fence(self, effect: ev.FenceSlot) -> None:
        done = ev.SlotFenced(effect.slot, effect.epoch)
        fence = partial(self._fence_in_time, effect)
        await self._until_done(self.others, fence, done, None)

    def _fence_in_time(self, effect: ev.FenceSlot) -> None:
        self.control.fence(effect.slot, time.monotonic() + ASK_SECONDS)

    async def _confirm(self, done: ev.WorkerConfirmed) -> None:
        def read() -> None:
            self.control.catch_up(time.monotonic() + ASK_SECONDS)

        await self._until_done(self.others, read, done, None)

    async def _until_done(
        self, pool: ThreadPoolExecutor, ask: Callable[[], None], done: Event, lost: Event | None
    ) -> None:
        """Ask, again while no broker answers."""
        said = False
        while not self.ended:
            try:
                await self._in(pool, ask)
                self.inbox.post(done)
                return
            except Fenced as error:
                logger.debug("another host leads: %s", error)
                if lost is not None:
                    self.inbox.post(lost)
                return
            except StateIncompatible as error:
                self.inbox.post(ev.EndAtOnce(int(ExitCode.STATE_INCOMPATIBLE), str(error)))
                return
            except (BrokerUnreachable, ConfigurationError) as error:
                if not said:
                    self.say("warning", f"{error} Trying again until it works")
                said = True
                await asyncio.sleep(RETRY_SECONDS)

    async def _in(self, pool: ThreadPoolExecutor, ask: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(pool, ask)

    def end(self) -> None:
        """Ask for nothing any more that no broker has answered."""
        self.ended = True

    def close(self, *, leads: bool) -> None:
        """Let go; who leads says that nobody does now, so that the next one need not wait. Blocks shortly."""
        self.end()
        self.writer.shutdown(wait=True)
        try:
            last = self.control.catch_up(time.monotonic() + ASK_SECONDS) if leads else None
            if last is not None and last.leader is not None and last.leader.instance == self.identity.instance:
                self.control.write(abdication(last, None), time.monotonic() + ASK_SECONDS)
        except (BrokerUnreachable, ConfigurationError, Fenced, StateIncompatible) as error:
            # The next leader then waits until it is sure that we are gone.
            logger.debug("the end could not be recorded: %s", error)
        finally:
            self.bus.close()
            self.control.close()
            self.others.shutdown(wait=False)
