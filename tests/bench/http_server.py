"""Somebody's API: answers each request of a kept connection after DELAY_S. `python -m tests.bench.http_server`.

A process of its own, as cheap as it can be, so that what is measured is who calls it. Prints its port.
"""

from __future__ import annotations

import asyncio
from typing import cast

import uvloop

DELAY_S = 0.02
BODY = b'{"risk": 7}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


class Connection(asyncio.Protocol):
    """One client's connection: requests without a body, one after the other."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answers go there."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer later what is complete."""
        *requests, self._received = (self._received + data).split(b"\r\n\r\n")
        for _ in requests:
            self._loop.call_later(DELAY_S, self._answer)

    def _answer(self) -> None:
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.write(ANSWER)


async def serve() -> None:
    """Until the process ends."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
