"""The worker's end of the socketpair to its coordinator: whole messages in both directions."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import msgspec

from streamcluster.messages import ToCoordinator, ToWorker
from streamcluster.wire import FrameReader, encode_frame

READ_BYTES_MAX = 256 * 1024


class Link:
    """Reads messages on the loop; writes are small and rare, so they block for the moment that they take."""

    __slots__ = ("_gone", "_loop", "_reader", "_receive", "_socket")

    def __init__(self, sock: socket.socket, receive: Callable[[ToWorker], None], gone: Callable[[], None]) -> None:
        self._socket = sock
        self._receive = receive
        self._gone = gone
        self._reader: FrameReader[ToWorker] = FrameReader(msgspec.msgpack.Decoder(ToWorker))
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Call `receive` for each message from now on, and `gone` when the coordinator's end is closed."""
        self._socket.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._read)

    def _read(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES_MAX)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            assert self._loop is not None
            self._loop.remove_reader(self._socket)
            self._gone()
            return
        for message in self._reader.feed(data):
            self._receive(message)

    def send(self, message: ToCoordinator) -> None:
        """Send one message. A coordinator that is gone is noticed by the read side."""
        send_blocking(self._socket, message)


def send_blocking(sock: socket.socket, message: object) -> None:
    """Send one frame, waiting for room in the socket's buffer."""
    was_blocking = sock.getblocking()
    sock.setblocking(True)
    try:
        sock.sendall(encode_frame(message))
    except ConnectionError:
        # The coordinator is gone; the read side ends the process.
        return
    finally:
        sock.setblocking(was_blocking)
