"""The worker's end of its socketpair, whose other end is not read."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import msgspec
import pytest

from streamcluster.ids import TaskId
from streamcluster.protocol.messages import (
    Failed,
    Following,
    Ready,
    Released,
    Report,
    Rows,
    Stored,
    ToCoordinator,
    ToWorker,
    WorkerFigures,
)
from streamcluster.protocol.wire import FrameReader
from streamcluster_worker.link import UNSENT_BYTES_MAX, Link

TASK = TaskId(4, 1)
MIB = 1024 * 1024
SECONDS = 20.0


class Coordinator:
    """The other end, and a link to it. Use on a loop."""

    def __init__(self) -> None:
        self._sock, self._theirs = socket.socketpair()
        self._sock.setblocking(False)
        self.gone = asyncio.Event()
        self.heard: list[ToWorker] = []
        self.link = Link(self._theirs, self.heard.append, self.gone.set)
        self.link.start()

    async def read(self, enough: int) -> list[ToCoordinator]:
        """Read until there are so many messages that are no heartbeats, and one heartbeat behind them."""
        reader: FrameReader[ToCoordinator] = FrameReader(msgspec.msgpack.Decoder(ToCoordinator))
        said: list[ToCoordinator] = []
        async with asyncio.timeout(SECONDS):
            while sum(not isinstance(one, Report) for one in said) < enough or not isinstance(said[-1], Report):
                said += reader.feed(await asyncio.get_running_loop().sock_recv(self._sock, 1 << 16))
        return said

    def close_own_end(self) -> None:
        """As a coordinator that dies."""
        self._sock.close()

    def close(self) -> None:
        """Both ends."""
        asyncio.get_running_loop().remove_reader(self._theirs)
        asyncio.get_running_loop().remove_writer(self._theirs)
        self._sock.close()
        self._theirs.close()


@contextlib.asynccontextmanager
async def coordinator() -> AsyncIterator[Coordinator]:
    """One that does not read by itself."""
    made = Coordinator()
    try:
        yield made
    finally:
        made.close()


def report(number: int) -> Report:
    """A heartbeat."""
    return Report(slot=0, tasks=(), figures=WorkerFigures(events_total=number, note="x" * 500))


@pytest.mark.timeout(60)
def test_coordinator_that_does_not_read_holds_up_nothing_and_misses_nothing() -> None:
    """The loop goes on; later all that matters is there, in order, and the newest heartbeat is the last one."""
    important: list[ToCoordinator] = []
    for number in range(300):
        important += [
            Ready(slot=0, pid=1, session=number),
            Released(epoch=number, tasks=(TASK,)),
            Following(epoch=number, tasks=(TASK,)),
            Stored(positions={"4_1": number}),
            Rows(request=number, rows=(("k", "v" * 1000),)),
        ]
    important.append(Failed(exit_code=70, text="it is over"))

    async def run() -> list[ToCoordinator]:
        async with coordinator() as other:
            for number, message in enumerate(important):
                for beat in range(3):
                    other.link.send(report(3 * number + beat))
                other.link.send(message)
                await asyncio.sleep(0)
            other.link.send(report(1_000_000))
            await other.link.flush(0.01)
            said = await other.read(len(important))
            await other.link.flush(SECONDS)
            return said

    said = asyncio.run(run())

    assert [message for message in said if not isinstance(message, Report)] == important
    beats = [message.figures.events_total for message in said if isinstance(message, Report)]
    assert beats == sorted(beats)
    assert beats[-1] == 1_000_000
    assert len(beats) < len(important), "heartbeats are coalesced once the socket is full"


@pytest.mark.timeout(60)
def test_pages_that_nobody_reads_are_bounded() -> None:
    """Beyond the bound a page is replaced by the word that it may be asked for again."""
    page = (("k", "v" * 4 * MIB),)

    async def run() -> list[ToCoordinator]:
        async with coordinator() as other:
            for number in range(40):
                other.link.send(Rows(request=number, rows=page))
            other.link.send(report(0))
            assert not other.gone.is_set()
            return await other.read(40)

    answers = [message for message in asyncio.run(run()) if isinstance(message, Rows)]

    assert [answer.request for answer in answers] == list(range(40))
    whole = [answer for answer in answers if answer.rows == page]
    assert 2 <= len(whole) <= UNSENT_BYTES_MAX // (4 * MIB) + 1
    assert all(answer.passing for answer in answers if answer not in whole)


@pytest.mark.timeout(60)
def test_coordinator_that_dies_is_noticed_and_sending_goes_nowhere() -> None:
    """Whatever waits for it is dropped, and nobody waits for that."""

    async def run() -> None:
        async with coordinator() as other:
            for number in range(2000):
                other.link.send(Released(epoch=number, tasks=(TASK,)))
            other.close_own_end()
            async with asyncio.timeout(SECONDS):
                await other.gone.wait()
            other.link.send(report(1))
            await other.link.flush(SECONDS)

    asyncio.run(run())
