"""The port between coordinators: hosts ask each other for rows of tables, over connections that peer_auth.py proves.

One request, one answer, per connection. Whoever does not have the secret is cut off, and costs a bounded time and
memory: a connection of at most CONNECTIONS_MAX, HANDSHAKE_SECONDS, and some kB. It decides nothing about tables.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import msgspec

from streamcluster.errors import StreamclusterError
from streamcluster.protocol.wire import FRAME_BYTES_MAX, FrameError, FrameReader, encode_frame
from streamcluster.settings import address_of

from ..dropped import Dropped
from ..records.status import GetRows, RowsAnswer
from .peer_auth import (
    HELLO_BYTES,
    NONCE_BYTES,
    PROOF_BYTES,
    Handshake,
    NotAuthentic,
    Opener,
    Sealer,
    Secret,
    hello,
    nonce_of_hello,
)
from .peer_sockets import listening_sockets, listening_text

M = TypeVar("M")
CONNECTIONS_MAX = 64
HANDSHAKE_SECONDS = 2.0
# To send a request, to answer it, and to take the answer, each.
REQUEST_SECONDS = 5.0
REQUEST_BYTES_MAX = 256 * 1024
REFUSAL_SECONDS = 60.0
_READ_BYTES_MAX = 256 * 1024
# Of a client that sends more than it was asked for, twice that is taken in at most.
_BUFFER_BYTES_MAX = 8 * 1024

Answer = Callable[[GetRows], Awaitable[RowsAnswer]]
# Level and text.
Say = Callable[[str, str], None]


class PeerError(StreamclusterError):
    """Another host did not answer; the text says which address and why."""


class Refusals(msgspec.Struct):
    """Who was not let in: all are counted, one a minute is said."""

    # Since the start, and since the last line.
    total: int = 0
    unsaid: int = 0
    # Of the last line; None: there was none yet.
    said_at: float | None = None

    def line(self, address: str, reason: str, now: float) -> str | None:
        """Count one more. Returns what to say now, if anything. now: seconds of any clock that does not jump."""
        self.total += 1
        self.unsaid += 1
        if self.said_at is not None and now - self.said_at < REFUSAL_SECONDS:
            return None
        count, self.unsaid, self.said_at = self.unsaid, 0, now
        more = "" if count == 1 else f", and {count - 1} more since the last line"
        return f"refused {address} at the port for other hosts: {reason}{more}"


class PeerPort:
    """The server's side of one host."""

    __slots__ = (
        "_advertise",
        "_answer",
        "_app_id",
        "_dropped",
        "_host",
        "_listen",
        "_open",
        "_say",
        "_secret",
        "_servers",
        "refusals",
    )

    def __init__(
        self,
        advertise: str,
        secret: Secret,
        *,
        app_id: str,
        host: str,
        answer: Answer,
        say: Say,
        dropped: Dropped,
        listen: str | None = None,
    ) -> None:
        self._advertise = advertise
        self._listen = listen
        self._secret = secret
        self._app_id = app_id
        self._host = host
        self._answer = answer
        self._say = say
        self._dropped = dropped
        self._servers: list[asyncio.Server] = []
        # The conversations that go on.
        self._open: set[asyncio.Task[None]] = set()
        self.refusals = Refusals()

    async def open(self) -> None:
        """Listen, and say where. Raises ConfigurationError, TryAgain: the port cannot be had."""
        sockets = await listening_sockets(self._advertise, self._listen)
        self._say("info", f"listens for other hosts on {listening_text(sockets)}, which reach it as {self._advertise}")
        for sock in sockets:
            self._servers.append(await asyncio.start_server(self._serve, sock=sock, limit=_BUFFER_BYTES_MAX))

    async def close(self) -> None:
        """Stop listening, and end what goes on."""
        for server in self._servers:
            server.close()
        conversations = list(self._open)
        for one in conversations:
            one.cancel()
        if conversations:
            await asyncio.wait(conversations, timeout=REQUEST_SECONDS)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its first byte to its last."""
        task = asyncio.current_task()
        assert task is not None
        address = str((writer.get_extra_info("peername") or ("?",))[0])
        if len(self._open) >= CONNECTIONS_MAX:
            self._refuse(address, f"{CONNECTIONS_MAX} connections are open already")
            writer.transport.abort()
            return
        self._open.add(task)
        try:
            async with _closing(writer):
                channel = await self._admit(address, reader, writer)
                if channel is not None:
                    await self._converse(reader, writer, *channel)
        except (NotAuthentic, FrameError) as error:
            self._refuse(address, str(error))
        except OSError:
            # It went away, or was too slow (TimeoutError): closing the connection says all there is to say.
            return
        except asyncio.CancelledError:
            # The port is closed. A handler that ends as cancelled makes asyncio print a traceback (Python 3.11).
            return
        except Exception as error:  # noqa: BLE001 (the boundary of a conversation: asyncio would print it unbounded)
            self._refuse(address, f"its question failed: {type(error).__name__}: {error}")
        finally:
            self._open.discard(task)

    async def _admit(
        self, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[Sealer, Opener] | None:
        """Let the client prove that it has the secret; None: it did not try to."""
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                client_nonce = nonce_of_hello(await reader.readexactly(HELLO_BYTES))
                server_nonce = secrets.token_bytes(NONCE_BYTES)
                writer.write(server_nonce)
                handshake = Handshake(self._secret, self._app_id, self._host, client_nonce, server_nonce)
                handshake.check("client", await reader.readexactly(PROOF_BYTES))
                writer.write(handshake.proof("server"))
        except TimeoutError:
            self._refuse(address, f"it did not prove within {HANDSHAKE_SECONDS:g} s that it has the secret")
            return None
        except asyncio.IncompleteReadError as error:
            # Who connects and closes again, without a byte, only looks whether somebody listens.
            if error.partial or error.expected != HELLO_BYTES:
                self._refuse(address, "it went away before it had proved that it has the secret")
            return None
        return handshake.channel("server", frame_bytes_max=REQUEST_BYTES_MAX)

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sealer: Sealer, opener: Opener
    ) -> None:
        decoder = msgspec.msgpack.Decoder(GetRows)
        async with asyncio.timeout(REQUEST_SECONDS):
            request = await _message(reader, opener, decoder)
        async with asyncio.timeout(REQUEST_SECONDS):
            answer = await self._answer(request)
        await _send(writer, sealer.seal(encode_frame(answer)))

    def _refuse(self, address: str, reason: str) -> None:
        self._dropped.count("the port for other hosts", f"{address}: {reason}")
        line = self.refusals.line(address, reason, asyncio.get_running_loop().time())
        if line is not None:
            self._say("warning", line)


class PeerClient(msgspec.Struct, frozen=True):
    """Asks other hosts of the same app."""

    secret: Secret
    app_id: str

    async def ask(self, host: str, address: str, request: GetRows) -> RowsAnswer:
        """One question to one host.

        Args:
            host: its name in the cluster; another host at that address is refused.
            address: HOST:PORT, as that host advertises it.
            request: what is asked.

        Raises:
            PeerError: it did not answer, or it is not the one that it should be.
        """
        try:
            async with self._connection(address) as (reader, writer):
                sealer, opener = await self._prove(host, address, reader, writer)
                async with asyncio.timeout(REQUEST_SECONDS):
                    await _send(writer, sealer.seal(encode_frame(request)))
                    return await _message(reader, opener, msgspec.msgpack.Decoder(RowsAnswer))
        except TimeoutError as error:
            raise PeerError(f"{address} did not answer in time") from error
        except (NotAuthentic, FrameError) as error:
            raise PeerError(f"the answer of {address} was refused: {error}") from error
        except OSError as error:
            raise PeerError(f"{address} closed the connection without an answer") from error

    @asynccontextmanager
    async def _connection(self, address: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                reader, writer = await asyncio.open_connection(*address_of(address))
        except (TimeoutError, ValueError, OSError) as error:
            raise PeerError(f"{address} cannot be reached: {_reason(error)}") from error
        async with _closing(writer):
            yield reader, writer

    async def _prove(
        self, host: str, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[Sealer, Opener]:
        """Show that we have the secret, and see that the server has."""
        client_nonce = secrets.token_bytes(NONCE_BYTES)
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            writer.write(hello(client_nonce))
            try:
                server_nonce = await reader.readexactly(NONCE_BYTES)
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise PeerError(
                    f"{address} closed the connection at once: it is asked too much, or is not a streamcluster"
                ) from error
            handshake = Handshake(self.secret, self.app_id, host, client_nonce, server_nonce)
            try:
                writer.write(handshake.proof("client"))
                handshake.check("server", await reader.readexactly(PROOF_BYTES))
            except (asyncio.IncompleteReadError, ConnectionError, NotAuthentic) as error:
                raise PeerError(
                    f"{address} does not accept our secret, or is not a streamcluster of this app on host {host}"
                ) from error
        return handshake.channel("client", frame_bytes_max=FRAME_BYTES_MAX)


def _reason(error: Exception) -> str:
    """Why there was no connection. asyncio has only "Connect call failed" for most."""
    if isinstance(error, TimeoutError):
        return f"nobody answered within {HANDSHAKE_SECONDS:g} s"
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return str(error)


@asynccontextmanager
async def _closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    """Close a connection at the end, whatever the other side does."""
    try:
        # What has been sent has left this process: there is nothing to wait for when the connection is closed.
        writer.transport.set_write_buffer_limits(high=0)
        yield
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Send all of it. Raises TimeoutError: the other side does not read."""
    async with asyncio.timeout(REQUEST_SECONDS):
        writer.write(data)
        await writer.drain()


async def _message(reader: asyncio.StreamReader, opener: Opener, decoder: msgspec.msgpack.Decoder[M]) -> M:
    """The next message that the other side sealed."""
    while data := await reader.read(_READ_BYTES_MAX):
        for frame in opener.feed(data):
            for message in FrameReader(decoder).feed(frame):
                return message
    raise ConnectionError("the connection was closed")
