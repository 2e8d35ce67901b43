"""Reads of tables for whoever asks this host: from the owners wherever they are, else from standbys, or why not.

A key is looked for at all owners at once. Where an owner did not answer, standbys of its tasks are asked, and their
word is marked with how far behind they are. A page walks the hosts in the order of their names, owners only; its cursor
is a mark of who had which tasks, the host, and that host's own cursor. How one host asks its workers is in rows_local.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from streamcluster.ids import TaskId
from streamcluster.protocol.messages import Rows
from streamcluster.topology import Topology

from ..records.status import ROWS_SECONDS, GetRows, RowsAnswer
from .ownership import Ownership, Peer, all_tasks, mark_of, named, of_group
from .peer_port import PeerError
from .rows_local import MOVED, PAGE_BYTES_MAX, LocalRows, Send, first_found, size_of, together

# For another host, which waits LOCAL_SECONDS for its workers.
PEER_SECONDS = 3.0
# A task that moves is with nobody for less than the first; how often it is looked for again.
SETTLE_SECONDS, _LOOK_SECONDS = 2.0, 0.1

# Host, address, question. Raises PeerError.
AskPeer = Callable[[str, str, GetRows], Awaitable[RowsAnswer]]


class TableReader:
    """Answers GetRows, of the control socket and of other hosts."""

    __slots__ = ("_ask_peer", "_local", "_ownership", "_topology")

    def __init__(
        self, topology: Topology, ownership: Callable[[], Ownership], send: Send, ask_peer: AskPeer | None
    ) -> None:
        self._topology = topology
        self._ownership = ownership
        self._local = LocalRows(ownership, send)
        # None: this host has no secret to ask others with.
        self._ask_peer = ask_peer

    def received(self, rows: Rows) -> None:
        """The answer of one of our workers."""
        self._local.received(rows)

    async def read(self, request: GetRows) -> RowsAnswer:
        """Answer a request, within ROWS_SECONDS."""
        table = next((table for table in self._topology.tables if table.name == request.table), None)
        if table is None:
            names = ", ".join(sorted(table.name for table in self._topology.tables)) or "none"
            return RowsAnswer(error=f"there is no such table; there are: {names}")
        try:
            async with asyncio.timeout(ROWS_SECONDS):
                if request.local:
                    return await self._local.read(request, table.group)
                return await self._settled(request, table.group)
        except TimeoutError:
            return _passing(f"not all workers answered within {ROWS_SECONDS:g} s")

    async def read_local(self, request: GetRows) -> RowsAnswer:
        """Answer another host: never by asking a third one."""
        return await self.read(msgspec.structs.replace(request, local=True))

    async def _settled(self, request: GetRows, group: int) -> RowsAnswer:
        """The answer, once what stands in its way has passed: a task that moves has nobody for a moment."""
        read = self._page if request.key is None else self._key
        clock = asyncio.get_running_loop().time
        deadline = clock() + SETTLE_SECONDS
        while True:
            answer = await read(request, group)
            if not answer.passing or clock() >= deadline:
                return answer
            await asyncio.sleep(_LOOK_SECONDS)

    async def _key(self, request: GetRows, group: int) -> RowsAnswer:
        ownership = self._ownership()
        asked = [self._ask(None, request, group)] if ownership.tasks(group) else []
        asked += [self._ask(peer, request, group) for peer in ownership.peers if of_group(peer.owned, group)]
        answer = await first_found(asked)
        if answer.rows:
            return answer
        away = all_tasks(group) - looked_through(answer)
        # Every shard was looked through and none has the key: an answer too.
        return await self._standby_key(request, group, away, answer) if away else RowsAnswer()

    async def _standby_key(
        self, request: GetRows, group: int, away: frozenset[TaskId], owners: RowsAnswer
    ) -> RowsAnswer:
        """The key from standbys of `away`, the nearest to its owner; owners: why they did not answer."""
        ownership = self._ownership()
        question = msgspec.structs.replace(request, standby=True)
        asked = [self._ask(None, question, group)] if ownership.tasks(group, standby=True) & away else []
        asked += [self._ask(peer, question, group) for peer in ownership.peers if peer.followed & away]
        async with asyncio.TaskGroup() as tasks:
            asking = [tasks.create_task(one) for one in asked]
        answers = [one.result() for one in asking]
        found = [answer for answer in answers if answer.rows]
        if found:
            return min(found, key=lambda answer: answer.lag or 0)
        answer = together(answers)
        if left := away - looked_through(answer):
            why = together([owners, answer])
            if why.error is None:
                return _passing(f"no worker has {named(left)} at the moment")
            return RowsAnswer(error=why.error, passing=why.passing)
        return RowsAnswer(source=answer.source, lag=answer.lag)

    async def _page(self, request: GetRows, group: int) -> RowsAnswer:
        ownership = self._ownership()
        if lost := ownership.unowned(group):
            return _passing(f"no worker has {named(lost)} at the moment")
        hosts: dict[str, Peer | None] = {peer.host: peer for peer in ownership.peers if of_group(peer.owned, group)}
        if ownership.tasks(group):
            hosts[ownership.host] = None
        places = {task: host for host, peer in hosts.items() if peer for task in of_group(peer.owned, group)}
        mark = mark_of({**places, **dict.fromkeys(ownership.tasks(group), ownership.host)})
        marked, slash, rest = (request.after or "").partition("/")
        start, _, after = rest.partition("/")
        if request.after is not None and (not slash or start not in hosts):
            return RowsAnswer(error=f"there is nothing at {request.after!r} now: begin again without it")
        if request.after is not None and marked != mark:
            return _passing(MOVED)
        found: list[tuple[str, str]] = []
        for host in sorted(host for host in hosts if host >= start):
            if len(found) >= request.rows_max or size_of(found) > PAGE_BYTES_MAX:
                return RowsAnswer(rows=tuple(found), after=f"{mark}/{host}/")
            page = msgspec.structs.replace(
                request, after=after or None if host == start else None, rows_max=request.rows_max - len(found)
            )
            peer = hosts[host]
            answer = await self._ask(peer, page, group)
            if answer.error is not None:
                return RowsAnswer(error=answer.error, passing=answer.passing)
            wanted = ownership.tasks(group) if peer is None else of_group(peer.owned, group)
            if gone := wanted - looked_through(answer):
                return _passing(f"host {host} does not have {named(gone)} any more")
            found += answer.rows
            if answer.after is not None:
                return RowsAnswer(rows=tuple(found), after=f"{mark}/{host}/{answer.after}")
        return RowsAnswer(rows=tuple(found))

    async def _ask(self, peer: Peer | None, request: GetRows, group: int) -> RowsAnswer:
        """What one host has; None: this one. Why there is no answer is an answer too."""
        question = msgspec.structs.replace(request, local=True)
        if peer is None:
            return await self._local.read(question, group)
        if peer.away is not None:
            return _passing(f"host {peer.host} {peer.away}")
        if peer.address is None:
            return _no_answer(
                f"host {peer.host} has no --advertise address: run the command there, or start it with one"
            )
        if self._ask_peer is None:
            return _no_answer(
                f"host {peer.host} is not asked, because this one has no secret (cluster_secret_file): "
                "run the command there, or start this host with one"
            )
        try:
            async with asyncio.timeout(PEER_SECONDS):
                return await self._ask_peer(peer.host, peer.address, question)
        except PeerError as error:
            return _no_answer(f"host {peer.host}: {error}")
        except TimeoutError:
            return _passing(f"host {peer.host}: {peer.address} did not answer within {PEER_SECONDS:g} s")


def _no_answer(reason: str) -> RowsAnswer:
    return RowsAnswer(error=reason)


def _passing(reason: str) -> RowsAnswer:
    return RowsAnswer(error=reason, passing=True)


def looked_through(answer: RowsAnswer) -> frozenset[TaskId]:
    """The tasks that an answer is about."""
    return frozenset(TaskId.parse(name) for name in answer.tasks)
