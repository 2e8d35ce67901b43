"""A real port between coordinators, and what tests need to talk to it. No test in here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from streamcluster_coordinator.answers.peer_auth import Secret
from streamcluster_coordinator.answers.peer_port import PeerClient, PeerPort
from streamcluster_coordinator.broker.ports import free_ports
from streamcluster_coordinator.dropped import Dropped
from streamcluster_coordinator.records.status import GetRows, RowsAnswer

SECRET = Secret(b"a secret of all hosts")
REQUEST = GetRows(table="counts", key='"a"')
SECONDS = 20.0


async def repeat(request: GetRows) -> RowsAnswer:
    """Rows that repeat the question."""
    return RowsAnswer(rows=((request.table, str(request.key)),), lag=3)


@dataclass(slots=True)
class Listening:
    """An open port, and what it said."""

    port: PeerPort
    address: str
    lines: list[str] = field(default_factory=list)
    has_said: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def number(self) -> int:
        """The port's number."""
        return int(self.address.rpartition(":")[2])

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection that says nothing yet."""
        return await asyncio.open_connection("127.0.0.1", self.number)

    async def said(self, text: str) -> None:
        """Wait until a line has `text`."""
        async with asyncio.timeout(SECONDS):
            while not any(text in line for line in self.lines):
                self.has_said.clear()
                await self.has_said.wait()


@asynccontextmanager
async def listening(
    answer: Callable[[GetRows], Awaitable[RowsAnswer]] = repeat, advertise: str | None = None
) -> AsyncIterator[Listening]:
    """The port of host b of app shop."""
    address = advertise or f"127.0.0.1:{free_ports(1)[0]}"
    lines: list[str] = []
    has_said = asyncio.Event()

    def say(level: str, text: str) -> None:
        lines.append(f"{level} {text}")
        has_said.set()

    port = PeerPort(address, SECRET, app_id="shop", host="b", answer=answer, say=say, dropped=Dropped())
    await port.open()
    # Where it listens: test_peer_sockets.py.
    lines.clear()
    try:
        yield Listening(port, address, lines, has_said)
    finally:
        await port.close()


async def ended(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """What still comes, until the server closes the connection."""
    try:
        async with asyncio.timeout(SECONDS):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def client(secret: Secret = SECRET, app_id: str = "shop") -> PeerClient:
    """A host that asks."""
    return PeerClient(secret, app_id)
