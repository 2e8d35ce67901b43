"""The control socket of a running app: 0600, in its state directory; one request, one answer, per connection.

Both ends are here, so that they agree about the place and the framing. It decides nothing about workers.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, assert_never

import msgspec

from streamcluster.outside import Unreadable, parse
from streamcluster.protocol.wire import FrameError, FrameReader, encode_frame

from ..dropped import Dropped
from ..records.status import (
    LEADER_SECONDS,
    ROWS_SECONDS,
    Answer,
    Ask,
    Asked,
    GetRows,
    GetStatus,
    Request,
    RowsAnswer,
    Status,
)
from ..shell.directory import SOCKET_NAME

STATUS_SECONDS = 5.0
# For the way there and back: the coordinator keeps to its own bounds.
_MARGIN_SECONDS = 1.0
_READ_BYTES_MAX = 256 * 1024
# The kernel's limit on the path of a Unix socket.
_PATH_BYTES_MAX = 107
_PLACE = "the control socket"
# A client that sends nothing is not waited for longer.
_REQUEST_SECONDS = 5.0

# Clients at a time whose questions cost something, and all clients: who asks for the status only finds room beside
# the others. Each is a process of the same user, and holds a request and an answer in memory.
CLIENTS_MAX = 64
_CONNECTIONS_MAX = 4 * CLIENTS_MAX
# Of who finds the queue of a socket full.
_AGAIN_SECONDS = 0.02

AnswerTo = Callable[[Request], Awaitable[Answer]]
_request_decoder: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)


def decode_request(body: bytes) -> Request:
    """What a client asks. Raises Unreadable."""
    return parse(_request_decoder.decode, body, _READ_BYTES_MAX)


@contextmanager
def _short_path(directory: Path) -> Iterator[str]:
    """A path of the socket that the kernel takes, however deep the directory is."""
    path = str(directory / SOCKET_NAME)
    if len(os.fsencode(path)) <= _PATH_BYTES_MAX:
        yield path
        return
    handle = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{handle}/{SOCKET_NAME}"
    finally:
        os.close(handle)


class ControlSocket:
    """The server's side. The caller holds the directory's lock, so a socket that is there is a dead one's."""

    __slots__ = ("_answer", "_clients", "_connections", "_directory", "_dropped", "_server")

    def __init__(self, directory: Path, answer: AnswerTo, dropped: Dropped) -> None:
        self._directory = directory
        self._answer = answer
        self._dropped = dropped
        self._clients = self._connections = 0
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen."""
        (self._directory / SOCKET_NAME).unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # Between bind and chmod nobody else may connect: the directory itself may be readable by others.
        before = os.umask(0o177)
        try:
            with _short_path(self._directory) as path:
                listening.bind(path)
        finally:
            os.umask(before)
        self._server = await asyncio.start_unix_server(self._serve, sock=listening, backlog=_CONNECTIONS_MAX)

    async def close(self) -> None:
        """Stop listening and take the socket away."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        (self._directory / SOCKET_NAME).unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections > _CONNECTIONS_MAX:
                raise Unreadable(f"{_CONNECTIONS_MAX} clients are there already")
            await self._converse(reader, writer)
        except (Unreadable, FrameError) as error:
            # Not a client of ours, or an answer that cannot be written: it is closed.
            self._dropped.add(_PLACE, str(error))
        except asyncio.CancelledError:
            # The coordinator ends. A handler that ends as cancelled makes asyncio print a traceback (Python 3.11).
            return
        except Exception as error:  # noqa: BLE001 (the boundary of a conversation: asyncio would print it unbounded)
            self._dropped.add(_PLACE, f"{type(error).__name__}: {error}", traceback=error)
        finally:
            self._connections -= 1
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                size = int.from_bytes(await reader.readexactly(4), "big")
                if size > _READ_BYTES_MAX:
                    raise Unreadable(f"a request of {size} bytes, and at most {_READ_BYTES_MAX} are taken")
                body = await reader.readexactly(size)
            answer = await self._answer_bounded(decode_request(body))
            writer.write(encode_frame(answer))
            async with asyncio.timeout(_REQUEST_SECONDS):
                await writer.drain()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            # It went away, or is slow: closing the connection says all there is to say.
            return

    async def _answer_bounded(self, request: Request) -> Answer:
        if isinstance(request, GetStatus):
            return await self._answer(request)
        if self._clients >= CLIENTS_MAX:
            raise Unreadable(f"{CLIENTS_MAX} clients are there already")
        self._clients += 1
        try:
            return await self._answer(request)
        finally:
            self._clients -= 1


def seconds_for(request: Request) -> float:
    """How long a client waits for the answer."""
    match request:
        case GetStatus():
            return STATUS_SECONDS + _MARGIN_SECONDS
        case GetRows():
            return ROWS_SECONDS + _MARGIN_SECONDS
        case Ask():
            return LEADER_SECONDS + _MARGIN_SECONDS
        case _:
            assert_never(request)


def ask(directory: Path, request: Request, *, seconds: float | None = None) -> Answer:
    """The client's side, for commands. Blocks.

    Args:
        directory: the app's own state directory (`instance.app_directory`).
        seconds: for everything; None: as long as such a request may take.

    Raises:
        FileNotFoundError, ConnectionError: no coordinator runs here.
        PermissionError: it is another user's.
        TimeoutError: no answer in time.
    """
    seconds = seconds_for(request) if seconds is None else seconds
    deadline = time.monotonic() + seconds
    wanted: Any = {GetStatus: Status, GetRows: RowsAnswer, Ask: Asked}[type(request)]
    reader: FrameReader[Answer] = FrameReader(msgspec.msgpack.Decoder(wanted))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(seconds)
        with _short_path(directory) as path:
            _connect(sock, path, deadline)
        sock.sendall(encode_frame(request))
        while True:
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            data = sock.recv(_READ_BYTES_MAX)
            if not data:
                raise ConnectionError("the coordinator closed the connection without an answer")
            for answer in reader.feed(data):
                return answer


def _connect(sock: socket.socket, path: str, deadline: float) -> None:
    """Connect, also when so many others do that their queue is full: a Unix socket says so at once."""
    while True:
        try:
            sock.connect(path)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TimeoutError("the coordinator has taken no connection in time") from None
            time.sleep(_AGAIN_SECONDS)
