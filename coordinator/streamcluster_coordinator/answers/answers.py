"""What commands and other hosts ask of a running coordinator: its status, rows of tables, decisions of the leader."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import assert_never

import msgspec

from streamcluster.ids import TP, Slot
from streamcluster.protocol.messages import Report, Tell, ToWorker
from streamcluster.topology import Topology

from ..admin.watch import TopicsWatch
from ..dropped import Dropped
from ..machine import events as ev
from ..machine.cluster_status import cluster_status, shown_status
from ..machine.node import Node
from ..machine.slots import State
from ..records.report import REQUESTS_MAX, LeaderRequest
from ..records.snapshot import Snapshot
from ..records.status import LEADER_SECONDS, Answer, Ask, Asked, GetRows, GetStatus, Request, Status
from ..shell.inbox import Inbox
from .behind import Standing, with_standings
from .ownership import Ownership, peers_of
from .peer_port import PeerClient
from .rows import TableReader

# A worker whose loop turns tells within milliseconds; of one that hangs, what it said last is shown.
TELL_SECONDS, _LOOK_SECONDS = 0.5, 0.005


@dataclass(slots=True)
class Answers:
    """For one coordinator, on its loop. send: to one of our workers; False: there is none in that slot.

    read_standings: what Kafka says of the partitions now; nothing when it does not answer.
    """

    topology: Topology
    node: Node
    inbox: Inbox
    client: PeerClient | None
    send: Callable[[Slot, ToWorker], bool]
    dropped: Dropped
    read_standings: Callable[[], Awaitable[Mapping[TP, Standing]]]
    watch: TopicsWatch | None = None
    rows: TableReader = field(init=False)
    # Requests that the leader has not answered yet, by their id.
    waiting: dict[str, asyncio.Future[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ask_peer = self.client.ask if self.client is not None else None
        self.rows = TableReader(self.topology, self.ownership, self.send, ask_peer)

    async def answer(self, request: Request) -> Answer:
        """What the control socket asks."""
        match request:
            case GetStatus():
                return await self._whole_status()
            case GetRows():
                return await self.rows.read(request)
            case Ask():
                return await self._ask_leader(request)
            case _:
                assert_never(request)

    def status(self) -> Status:
        """The whole cluster, as this host knows it."""
        return cluster_status(self._own_status(), self.node.view, self.node.identity.tasks)

    async def _whole_status(self) -> Status:
        """The same, with Kafka's word on who is behind, unless no broker answers anyway."""
        standings = await self.read_standings() if self.status().broker_state == "up" else {}
        # After that, so that what is committed by then is among the events that are counted.
        await self._hear_workers()
        tasks = self.node.identity.tasks
        sources = {
            str(task): tuple(TP(topic, task.partition) for topic in self.topology.sources(task)) for task in tasks
        }
        from_begin = self.node.settings.consumer_auto_offset_reset == "earliest"
        status = with_standings(self.status(), sources, standings, from_begin=from_begin)
        if self.watch is None:
            return status
        return msgspec.structs.replace(status, tasks=(*status.tasks, *self.watch.rows()), notes=tuple(self.watch.notes))

    async def _hear_workers(self) -> None:
        """Have our workers say what they do now, and wait a moment for those that can."""
        state = self.node.local.state
        before = {place.slot: place.report for place in state.ordered() if place.state == "running"}
        asked = {slot: report for slot, report in before.items() if self.send(slot, Tell())}
        clock = asyncio.get_running_loop().time
        until = clock() + TELL_SECONDS
        while clock() < until:
            asked = {slot: report for slot, report in asked.items() if _report_of(state, slot) is report}
            if not asked:
                return
            await asyncio.sleep(_LOOK_SECONDS)

    def shown_status(self) -> Status:
        """What this host does, and how the whole cluster is."""
        return shown_status(self._own_status(), self.node.view, self.node.identity.tasks)

    def _own_status(self) -> Status:
        own = self.node.snapshots.take(self.node.local.state)
        return msgspec.structs.replace(own, dropped=self.dropped.shown())

    def ownership(self) -> Ownership:
        """Who has which tasks, now."""
        node = self.node
        state, snapshot, name = node.local.state, node.view.snapshot, node.identity.host
        owned = {task: slot for task, slot in state.held.items() if task not in state.revoking}
        if snapshot is None:
            return Ownership(name, owned, dict(state.followed))
        peers = peers_of(
            name,
            owners=snapshot.owners,
            standbys=snapshot.standbys,
            addresses={host: heard.report.peer for host, heard in node.view.heard.items()},
            away=self._away(sorted(snapshot.hosts)),
        )
        return Ownership(name, owned, dict(state.followed), peers)

    def _away(self, hosts: list[str]) -> dict[str, str]:
        view = self.node.view
        return {
            host: f"has said nothing for {view.silence(host):.0f} s"
            for host in hosts
            if host != view.name and view.is_silent(host)
        }

    async def _ask_leader(self, request: Ask) -> Asked:
        """Hand it on with our reports, until the control log has the answer."""
        if len(self.waiting) >= REQUESTS_MAX:
            return Asked(error=f"{REQUESTS_MAX} requests of this host wait for the leader already: try again later")
        asked = LeaderRequest(id=uuid.uuid4().hex, kind=request.kind, target=request.target, task=request.task)
        self.waiting[asked.id] = asyncio.get_running_loop().create_future()
        self.inbox.post(ev.Asked(asked))
        try:
            async with asyncio.timeout(LEADER_SECONDS):
                text = await self.waiting[asked.id]
        except TimeoutError:
            return Asked(error=f"no leader answered within {LEADER_SECONDS:g} s; `status` tells who leads")
        finally:
            del self.waiting[asked.id]
            self.node.requests.pop(asked.id, None)
        refused = text.removeprefix("refused: ")
        return Asked(error=refused) if refused != text else Asked(text=text)

    def decided(self, snapshot: Snapshot) -> None:
        """A record of the control log: it may answer what somebody waits for."""
        for number, text in snapshot.answers.items():
            future = self.waiting.get(number)
            if future is not None and not future.done():
                future.set_result(text)


def _report_of(state: State, slot: Slot) -> Report | None:
    place = state.places.get(slot)
    return place.report if place is not None else None
