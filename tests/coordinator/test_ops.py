"""The control socket, with both of its real ends."""

from __future__ import annotations

import asyncio
import socket
import stat
from pathlib import Path

import pytest

from streamcluster.wire import encode_frame
from streamcluster_coordinator.ops import ControlSocket, ask
from streamcluster_coordinator.status import Answer, Ask, Asked, GetRows, GetStatus, Request, RowsAnswer, Status

STATUS = Status(
    app="shop",
    host="here",
    pid=1,
    state="running",
    broker="kafka://localhost:9092",
    broker_state="up",
    processing_guarantee="exactly_once",
    epoch=1,
    uptime=1.0,
    workers=(),
    tasks=(),
    topology_hash="0",
)


async def answer(request: Request) -> Answer:
    """Status as above, rows and decisions that repeat the question."""
    match request:
        case GetStatus():
            return STATUS
        case GetRows():
            return RowsAnswer(rows=((request.table, str(request.key)),))
        case Ask():
            return Asked(text=f"{request.kind} {request.task} {request.target}")


@pytest.mark.parametrize("depth", [0, 30])
def test_socket_answers_requests_however_deep_the_directory_is(tmp_path: Path, depth: int) -> None:
    """Answers come back as they were; only the owner may connect; the socket goes away at the end."""
    directory = tmp_path.joinpath(*["a-deep-one"] * depth)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "control.sock").touch()  # of a coordinator that was killed

    async def talk() -> None:
        server = ControlSocket(directory, answer)
        await server.open()
        try:
            assert stat.S_IMODE((directory / "control.sock").stat().st_mode) == 0o600
            assert await asyncio.to_thread(ask, directory, GetStatus()) == STATUS
            rows = await asyncio.to_thread(ask, directory, GetRows(table="counts", key='"a"'))
            assert rows == RowsAnswer(rows=(("counts", '"a"'),))
            asked = await asyncio.to_thread(ask, directory, Ask(kind="move", task="4_1", target="b/0"))
            assert asked == Asked(text="move 4_1 b/0")
        finally:
            await server.close()

    asyncio.run(talk())
    with pytest.raises(FileNotFoundError):
        ask(directory, GetStatus())


def test_socket_survives_clients_that_talk_nonsense(tmp_path: Path) -> None:
    """Bytes of another protocol close that connection, and the next request is answered."""

    def nonsense() -> bytes:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            sock.connect(str(tmp_path / "control.sock"))
            sock.sendall(b"\x00\x00\x00\x05hello")
            return sock.recv(100)

    async def talk() -> None:
        server = ControlSocket(tmp_path, answer)
        await server.open()
        try:
            assert await asyncio.to_thread(nonsense) == b""
            assert await asyncio.to_thread(ask, tmp_path, GetStatus()) == STATUS
        finally:
            await server.close()

    asyncio.run(talk())


def test_a_client_that_is_waiting_when_the_coordinator_ends_leaves_no_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """asyncio takes a conversation that was cancelled for one that failed (Python 3.11)."""

    async def end_while_it_waits(client: socket.socket) -> None:
        asked = asyncio.Event()

        async def never(_: Request) -> Answer:
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError("nobody sets it")

        server = ControlSocket(tmp_path, never)
        await server.open()
        await asyncio.to_thread(client.connect, str(tmp_path / "control.sock"))
        await asyncio.to_thread(client.sendall, encode_frame(GetStatus()))
        await asked.wait()
        await server.close()

    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        asyncio.run(end_while_it_waits(client))

    assert caplog.text == ""
