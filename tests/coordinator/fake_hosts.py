"""Hosts whose workers hold a few keys each: real ports between them, and real socketpairs to the workers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import msgspec

from streamcluster.ids import Slot, TaskId
from streamcluster.protocol.messages import ReadTable, Rows, ToCoordinator, ToWorker
from streamcluster.protocol.wire import FrameReader, encode_frame
from streamcluster.topology import ResolvedTable, ResolvedTopic, Topology
from streamcluster_coordinator.answers.ownership import Ownership, Peer
from streamcluster_coordinator.answers.peer_auth import Secret
from streamcluster_coordinator.answers.peer_port import PeerClient, PeerPort
from streamcluster_coordinator.answers.rows import TableReader
from streamcluster_coordinator.broker.ports import free_ports
from streamcluster_coordinator.dropped import Dropped
from streamcluster_coordinator.records.status import GetRows, RowsAnswer
from streamcluster_coordinator.shell.link import Link

GROUP = 4
TOPOLOGY = Topology(
    app_id="shop",
    topics=(ResolvedTopic(name="orders", role="source", partitions=GROUP),),
    agents=(),
    tables=(ResolvedTable(name="counts", changelog="counts-changelog", group=GROUP),),
)
SECRET = Secret(b"a secret of all hosts")
Shards = Mapping[int, tuple[str, ...]]


@dataclass(slots=True)
class Worker:
    """What one slot has: partition -> keys, of tasks that it owns and that it follows. Each key is its own value.

    fault: "silent", "gone" (no process), or an error that passes and that it answers with.
    """

    owns: Shards = field(default_factory=dict)
    follows: Shards = field(default_factory=dict)
    lag: int | None = 5
    fault: str | None = None
    # So often, then it answers.
    faults: int = 1_000_000
    value: str | None = None

    def answer(self, question: ReadTable) -> Rows:
        """As a worker answers."""
        shards = self.follows if question.standby else self.owns
        lag = self.lag if question.standby else None
        if self.fault is not None and self.faults > 0:
            self.faults -= 1
            return Rows(request=question.request, owner=False, error=self.fault, passing=True)
        keys = [key for partition in sorted(shards) for key in shards[partition]]
        if question.key is not None:
            found = tuple((key, self.value or key) for key in keys if key == question.key)
            return Rows(request=question.request, rows=found, owner=bool(found), lag=lag)
        start = int(question.after or 0)
        end = start + question.rows_max
        page = tuple((key, self.value or key) for key in keys[start:end])
        return Rows(request=question.request, rows=page, after=str(end) if end < len(keys) else None)


@dataclass(slots=True)
class Host:
    """One host. port: whether it advertises one; up: whether anybody listens there; has_secret: whether it can ask.

    away: why the others do not ask it.
    """

    workers: dict[int, Worker]
    port: bool = True
    up: bool = True
    has_secret: bool = True
    away: str | None = None
    # Partitions that others take for its, though it has not got them.
    imagined: tuple[int, ...] = ()
    # What others asked it.
    asked: list[GetRows] = field(default_factory=list)

    def partitions(self, *, follows: bool = False) -> dict[TaskId, Slot]:
        """task -> slot."""
        shards = {slot: worker.follows if follows else worker.owns for slot, worker in self.workers.items()}
        return {TaskId(GROUP, partition): Slot(slot) for slot, found in shards.items() for partition in found}


Cluster = dict[str, Host]


@asynccontextmanager
async def all_running(cluster: Cluster) -> AsyncIterator[dict[str, TableReader]]:
    """All hosts, and what reads tables on each."""
    ports = dict(zip(cluster, free_ports(len(cluster)), strict=True))
    async with AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(running(cluster, name, ports)) for name in cluster}


def read(cluster: Cluster, host: str, request: GetRows) -> RowsAnswer:
    """The answer to one question, asked of one host."""

    async def ask() -> RowsAnswer:
        async with all_running(cluster) as readers:
            return await readers[host].read(request)

    return asyncio.run(ask())


@asynccontextmanager
async def running(cluster: Cluster, name: str, ports: dict[str, int]) -> AsyncIterator[TableReader]:
    """One host's reader, with its port open and its workers there."""
    host = cluster[name]
    address = f"127.0.0.1:{ports[name]}"

    def ownership() -> Ownership:
        peers = (
            Peer(
                host=other,
                address=f"127.0.0.1:{ports[other]}" if one.port else None,
                owned=frozenset(one.partitions()) | {TaskId(GROUP, number) for number in one.imagined},
                followed=frozenset(one.partitions(follows=True)),
                away=one.away,
            )
            for other, one in cluster.items()
            if other != name
        )
        return Ownership(name, host.partitions(), host.partitions(follows=True), tuple(peers))

    def send(slot: Slot, question: ReadTable) -> bool:
        if host.workers[slot].fault == "gone":
            return False
        links[slot].send(question)
        return True

    async def answer(request: GetRows) -> RowsAnswer:
        host.asked.append(request)
        return await reader.read_local(request)

    def received(message: ToCoordinator) -> None:
        assert isinstance(message, Rows)
        reader.received(message)

    client = PeerClient(SECRET, "shop")
    reader = TableReader(TOPOLOGY, ownership, send, client.ask if host.has_secret else None)
    links: dict[int, Link] = {}
    async with AsyncExitStack() as stack:
        for slot, worker in host.workers.items():
            links[slot] = await stack.enter_async_context(linked(worker, received))
        if host.port and host.up:
            port = PeerPort(
                address, SECRET, app_id="shop", host=name, answer=answer, say=lambda *_: None, dropped=Dropped()
            )
            await port.open()
            stack.push_async_callback(port.close)
        yield reader


@asynccontextmanager
async def linked(worker: Worker, received: Callable[[ToCoordinator], None]) -> AsyncIterator[Link]:
    """A link to a worker that answers at the other end of a socketpair."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    loop = asyncio.get_running_loop()
    frames: FrameReader[ToWorker] = FrameReader(msgspec.msgpack.Decoder(ToWorker))

    def readable() -> None:
        for message in frames.feed(theirs.recv(65536)):
            assert isinstance(message, ReadTable)
            if worker.fault != "silent":
                theirs.sendall(encode_frame(worker.answer(message)))

    loop.add_reader(theirs, readable)
    link = Link(ours, received, lambda _: None)
    try:
        yield link
    finally:
        loop.remove_reader(theirs)
        link.close()
        ours.close()
        theirs.close()
