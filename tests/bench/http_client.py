"""A client of HTTP/1.1 on asyncio's protocols, with kept connections: the least that a call can cost in Python.

What people use costs more than an event may at 20,000 calls a second on one core. So this shows what the worker can do,
and aiohttp what its user gets.
"""

from __future__ import annotations

import asyncio
from typing import cast


class Connection(asyncio.Protocol):
    """One request at a time. Answers have a Content-Length."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.answered: asyncio.Future[bytes] | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Requests go there."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand out the body when it is whole."""
        if self._received:
            data = self._received + data
        head, end, body = data.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if not end or len(body) < int(length):
            self._received = data
            return
        self._received = b""
        answered, self.answered = self.answered, None
        if answered is not None and not answered.done():
            if head.startswith(b"HTTP/1.1 200"):
                answered.set_result(body)
            else:
                answered.set_exception(ConnectionError(head.partition(b"\r\n")[0].decode(errors="replace")))

    def connection_lost(self, exc: Exception | None) -> None:
        """Who waits is told."""
        if self.answered is not None and not self.answered.done():
            self.answered.set_exception(exc or ConnectionError("closed by the server"))
        self.transport = None


class Client:
    """Calls of one server, as many at once as are made."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._idle: list[Connection] = []
        self._head = b"Host: %s\r\nAccept: application/json\r\n\r\n" % host.encode()

    async def get(self, path: str) -> bytes:
        """The body of the answer. Raises ConnectionError, OSError."""
        connection = await self._connection()
        assert connection.transport is not None
        answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        connection.answered = answered
        connection.transport.write(b"GET %b HTTP/1.1\r\n%b" % (path.encode(), self._head))
        try:
            body = await answered
        except BaseException:
            # An answer that comes later must not be taken for another's.
            if connection.transport is not None:
                connection.transport.abort()
            raise
        self._idle.append(connection)
        return body

    async def _connection(self) -> Connection:
        """One that is open and has nothing to do."""
        while self._idle:
            connection = self._idle.pop()
            if connection.transport is not None and not connection.transport.is_closing():
                return connection
        _, connection = await asyncio.get_running_loop().create_connection(Connection, *self._address)
        return connection
