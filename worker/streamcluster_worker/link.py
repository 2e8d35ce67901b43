"""The worker's end of the socketpair to its coordinator: whole messages in both directions, never blocking the loop.

What a coordinator does not read waits here, in order and up to a bound. Of heartbeats only the newest waits: it says
all that those before it said.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
from collections.abc import Callable

import msgspec

from streamcluster.protocol.messages import Report, Rows, ToCoordinator, ToWorker
from streamcluster.protocol.wire import FrameError, FrameReader, encode_frame

logger = logging.getLogger("streamcluster.worker")

READ_BYTES_MAX = 256 * 1024
# Many pages of rows, of about 1 MB each and a row. Other messages are small and answer what the coordinator said,
# or come once in a session: beyond twice of this the coordinator is as good as gone.
UNSENT_BYTES_MAX = 32 * 1024 * 1024


class Link:
    """Reads and writes on the loop that it was made on."""

    __slots__ = ("_gone", "_head", "_loop", "_numbers", "_reader", "_receive", "_report", "_sent", "_socket", "_unsent")

    def __init__(self, sock: socket.socket, receive: Callable[[ToWorker], None], gone: Callable[[], None]) -> None:
        """Messages are sent at once, and received from `start` on.

        Args:
            sock: this end.
            receive: called with each message.
            gone: called when the coordinator's end is closed, or is not read for so long that too much waits.
        """
        self._socket = sock
        self._receive = receive
        self._gone = gone
        self._reader: FrameReader[ToWorker] = FrameReader(msgspec.msgpack.Decoder(ToWorker))
        self._loop = asyncio.get_running_loop()
        # The rest of the frame that the socket has taken a part of, and the frames behind it, by number, in order.
        self._head = memoryview(b"")
        self._unsent: dict[int, bytes] = {}
        self._numbers = itertools.count()
        # The number of the newest heartbeat, which may have been sent.
        self._report = -1
        # Set while nothing waits.
        self._sent = asyncio.Event()
        self._sent.set()
        sock.setblocking(False)

    def start(self) -> None:
        """Receive from now on."""
        self._loop.add_reader(self._socket, self._read)

    def _read(self) -> None:
        try:
            data: bytes | None = self._socket.recv(READ_BYTES_MAX)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._loop.remove_reader(self._socket)
            self._gone()
            return
        while data is not None:
            data = self._receive_all(data)

    def _receive_all(self, data: bytes) -> bytes | None:
        """Receive what is whole now. Returns what to feed next; None: nothing before the socket has more."""
        try:
            for message in self._reader.feed(data):
                self._receive(message)
            return None
        except FrameError as error:
            # Those behind it do not wait for what may never come.
            logger.error("a message of the coordinator is passed over: %s", error)
        if self._reader.is_lost:
            self._loop.remove_reader(self._socket)
            self._gone()
            return None
        return b""

    def send(self, message: ToCoordinator) -> None:
        """Send one message, now or when there is room. A coordinator that is gone is noticed by the read side."""
        frame, number = encode_frame(message), next(self._numbers)
        waiting = len(self._head) + sum(map(len, self._unsent.values()))
        if isinstance(message, Report):
            # The newest goes last, so that it is never older than what was said before it.
            self._unsent.pop(self._report, None)
            self._report = number
        elif isinstance(message, Rows) and waiting + len(frame) > UNSENT_BYTES_MAX:
            text = "its coordinator does not read what it says"
            frame = encode_frame(Rows(request=message.request, owner=False, error=text, passing=True))
        self._unsent[number] = frame
        self._write()
        if waiting > 2 * UNSENT_BYTES_MAX:
            self._gone()

    async def flush(self, seconds: float) -> None:
        """Wait until the kernel has everything, so that the process may end; not longer than `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._sent.wait()

    def _write(self) -> None:
        try:
            while self._head or self._unsent:
                if not self._head:
                    self._head = memoryview(self._unsent.pop(next(iter(self._unsent))))
                self._head = self._head[self._socket.send(self._head) :]
        except BlockingIOError:
            self._sent.clear()
            self._loop.add_writer(self._socket, self._write)
            return
        except ConnectionError:
            # The coordinator is gone; the read side ends the process.
            self._head = memoryview(b"")
            self._unsent.clear()
        self._sent.set()
        self._loop.remove_writer(self._socket)


def send_blocking(sock: socket.socket, message: object) -> None:
    """Send one frame, waiting for room in the socket's buffer: for a process with nothing else to do."""
    sock.setblocking(True)
    # Whoever has gone wants no answer.
    with contextlib.suppress(ConnectionError):
        sock.sendall(encode_frame(message))
