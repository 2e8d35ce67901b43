"""The control socket, with both of its real ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import stat
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from streamcluster.protocol.wire import encode_frame
from streamcluster_coordinator.answers.control_socket import CLIENTS_MAX, ControlSocket, ask
from streamcluster_coordinator.dropped import Dropped
from streamcluster_coordinator.records.status import Answer, Ask, Asked, GetRows, GetStatus, Request, RowsAnswer, Status

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
        server = ControlSocket(directory, answer, Dropped())
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
        server = ControlSocket(tmp_path, answer, Dropped())
        await server.open()
        try:
            assert await asyncio.to_thread(nonsense) == b""
            assert await asyncio.to_thread(ask, tmp_path, GetStatus()) == STATUS
        finally:
            await server.close()

    asyncio.run(talk())


@pytest.mark.parametrize(
    "request_",
    [
        encode_frame(Ask(kind="drain", target="x" * 200_000)),
        encode_frame(Ask(kind="move", target="a/0", task="x" * 301)),
        encode_frame(GetRows(table="counts", rows_max=10**9)),
        encode_frame(GetRows(table="x" * 301)),
        encode_frame(GetRows(table="counts", key="x" * 70_000)),
        b"\x00\x00\x00\x05\xa4\xff\xff\xff\xff",
        b"\x00\x00\x13\x88" + b"\x91" * 5_000,
        b"\xff\xff\xff\xff",
        encode_frame(GetRows(table="fails")),
    ],
    ids=["target", "task", "rows", "table", "key", "bytes", "deep", "size", "an answer that fails"],
)
def test_what_is_too_much_or_no_request_is_closed_and_counted(
    tmp_path: Path, request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """The next one is answered; nothing ends unseen in asyncio, and no more than one line a minute is logged."""
    dropped = Dropped()

    async def may_fail(request: Request) -> Answer:
        if request == GetRows(table="fails"):
            raise OverflowError("too large")
        return await answer(request)

    def send() -> bytes:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            sock.connect(str(tmp_path / "control.sock"))
            with contextlib.suppress(ConnectionError):
                sock.sendall(request_)
                return sock.recv(100)
            return b""

    async def talk() -> None:
        server = ControlSocket(tmp_path, may_fail, dropped)
        await server.open()
        try:
            for _ in range(3):
                assert await asyncio.to_thread(send) == b""
            assert await asyncio.to_thread(ask, tmp_path, GetStatus()) == STATUS
        finally:
            await server.close()

    asyncio.run(talk())
    assert [(one.place, one.count) for one in dropped.shown()] == [("the control socket", 3)]
    assert [record.name for record in caplog.records] == ["streamcluster.coordinator"]


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

        server = ControlSocket(tmp_path, never, Dropped())
        await server.open()
        await asyncio.to_thread(client.connect, str(tmp_path / "control.sock"))
        await asyncio.to_thread(client.sendall, encode_frame(GetStatus()))
        await asked.wait()
        await server.close()

    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        asyncio.run(end_while_it_waits(client))

    assert caplog.text == ""


def test_who_asks_for_the_status_has_room_when_questions_fill_the_socket(tmp_path: Path) -> None:
    """A person is not told that nothing runs because a dashboard asks too much."""

    async def crowd() -> None:
        asked, enough = asyncio.Semaphore(0), asyncio.Event()

        async def slow(request: Request) -> Answer:
            if isinstance(request, GetRows):
                asked.release()
                await enough.wait()
            return await answer(request)

        server = ControlSocket(tmp_path, slow, Dropped())
        await server.open()
        clients = [socket.socket(socket.AF_UNIX) for _ in range(CLIENTS_MAX)]
        try:
            for client in clients:
                client.connect(str(tmp_path / "control.sock"))
                client.sendall(encode_frame(GetRows(table="counts")))
                await asyncio.wait_for(asked.acquire(), 5)
            with pytest.raises(ConnectionError):
                await asyncio.to_thread(ask, tmp_path, GetRows(table="counts"))
            assert await asyncio.to_thread(ask, tmp_path, GetStatus()) == STATUS
        finally:
            enough.set()
            for client in clients:
                client.close()
            await server.close()

    asyncio.run(crowd())


def test_who_finds_the_queue_of_the_socket_full_waits_in_it() -> None:
    """A Unix socket refuses at once, and that is no lack of a coordinator: a busy one takes them late."""
    # Not tmp_path: its path may be too long for a socket.
    with tempfile.TemporaryDirectory() as name, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{name}/control.sock")
        listening.listen(1)
        with contextlib.ExitStack() as stack, ThreadPoolExecutor(1) as pool:
            for _ in range(2):
                stack.enter_context(socket.socket(socket.AF_UNIX)).connect(f"{name}/control.sock")
            one = stack.enter_context(socket.socket(socket.AF_UNIX))
            one.setblocking(False)
            with pytest.raises(BlockingIOError):
                one.connect(f"{name}/control.sock")

            asked = pool.submit(ask, Path(name), GetStatus(), seconds=20.0)
            *_, taken = [stack.enter_context(listening.accept()[0]) for _ in range(3)]
            taken.recv(1000)
            taken.sendall(encode_frame(STATUS))
            assert asked.result() == STATUS


def test_who_is_not_taken_in_time_is_told_that() -> None:
    """And not that nobody runs."""
    with tempfile.TemporaryDirectory() as name, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{name}/control.sock")
        listening.listen(0)
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(f"{name}/control.sock")
            with pytest.raises(TimeoutError, match="has taken no connection in time"):
                ask(Path(name), GetStatus(), seconds=0.1)
