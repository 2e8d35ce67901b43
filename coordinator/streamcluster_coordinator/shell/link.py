"""The coordinator's end of the socketpair to one worker: whole messages in both directions, never blocking.

What a worker does not read piles up here, up to a bound: beyond it the worker is as good as hung, and says so to the
caller. It must not know what messages mean.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import msgspec

from streamcluster.protocol.messages import ToCoordinator, ToWorker
from streamcluster.protocol.wire import FrameError, FrameReader, encode_frame

READ_BYTES_MAX = 256 * 1024
# A grant of 10,000 tasks has about 100 kB; requests for table pages are far smaller.
UNSENT_BYTES_MAX = 8 * 1024 * 1024


class Link:
    """For one process of one slot."""

    __slots__ = ("_broken", "_closed", "_loop", "_reader", "_receive", "_socket", "_unsent")

    def __init__(
        self, sock: socket.socket, receive: Callable[[ToCoordinator], None], broken: Callable[[str], None]
    ) -> None:
        self._socket = sock
        self._receive = receive
        # Told once, with the reason, when the worker no longer keeps to the protocol.
        self._broken = broken
        self._reader: FrameReader[ToCoordinator] = FrameReader(msgspec.msgpack.Decoder(ToCoordinator))
        self._unsent = bytearray()
        self._closed = False
        self._loop = asyncio.get_running_loop()
        sock.setblocking(False)
        self._loop.add_reader(sock, self._read)

    def send(self, message: ToWorker) -> None:
        """Send one message, now or when there is room."""
        if self._closed:
            return
        self._unsent += encode_frame(message)
        self._write()
        if len(self._unsent) > UNSENT_BYTES_MAX:
            self._break(f"it does not read its messages: {len(self._unsent)} bytes wait")

    def close(self) -> None:
        """Take in what the process sent before its end, then stop."""
        if self._closed:
            return
        while self._read():
            # Ends: the process is gone, so its socket holds a bounded rest.
            continue
        self._stop()

    def _stop(self) -> None:
        self._closed = True
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)

    def _break(self, reason: str) -> None:
        if not self._closed:
            self._stop()
            self._broken(reason)

    def _read(self) -> bool:
        """Take in some bytes; False: there are none now."""
        try:
            data = self._socket.recv(READ_BYTES_MAX)
        except BlockingIOError:
            return False
        except ConnectionError:
            data = b""
        if not data:
            # The process is about to be gone, or its pidfd would tell; nothing follows from the socket alone.
            self._loop.remove_reader(self._socket)
            return False
        try:
            for message in self._reader.feed(data):
                self._receive(message)
        except FrameError as error:
            self._break(f"it sent what is not a message: {error}")
            return False
        return True

    def _write(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except ConnectionError:
            # Its end is closed: the kernel's word follows.
            self._unsent.clear()
            return
        del self._unsent[:sent]
        if self._unsent:
            self._loop.add_writer(self._socket, self._write)
        else:
            self._loop.remove_writer(self._socket)
