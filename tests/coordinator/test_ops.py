"""The control socket, with both of its real ends, and reads of tables over several workers."""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from streamcluster.ids import Slot, TaskId
from streamcluster.messages import ReadTable, Rows
from streamcluster.settings import make_settings
from streamcluster.topology import ResolvedTable, ResolvedTopic, Topology
from streamcluster_coordinator.machine_slots import State
from streamcluster_coordinator.ops import ControlSocket, ask
from streamcluster_coordinator.rows import TableReader
from streamcluster_coordinator.status import GetRows, GetStatus, Request, RowsAnswer, Status

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
TOPOLOGY = Topology(
    app_id="shop",
    topics=(ResolvedTopic(name="orders", role="source", partitions=4),),
    agents=(),
    tables=(ResolvedTable(name="counts", changelog="counts-changelog", group=4),),
)


async def answer(request: Request) -> Status | RowsAnswer:
    """Status as above, rows that repeat the question."""
    if isinstance(request, GetStatus):
        return STATUS
    return RowsAnswer(rows=((request.table, str(request.key)),))


@pytest.mark.parametrize("depth", [0, 30])
def test_socket_answers_requests_however_deep_the_directory_is(tmp_path: Path, depth: int) -> None:
    """Status and rows come back as they were; only the owner may connect; the socket goes away at the end."""
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


Worker = Callable[[ReadTable], Rows | None]


def reading(workers: dict[int, Worker], requests: list[GetRows]) -> list[RowsAnswer]:
    """The answers of a TableReader over some workers, which hold task 4_<slot> each."""
    state = State(settings=make_settings({"id": "shop"}), tasks=(), epoch=1)
    state.held = {TaskId(4, slot): Slot(slot) for slot in workers}

    async def read() -> list[RowsAnswer]:
        def send(slot: Slot, question: ReadTable) -> bool:
            rows = workers[slot](question)
            if rows is not None:
                asyncio.get_running_loop().call_soon(reader.received, rows)
            return True

        reader = TableReader(TOPOLOGY, state, send)
        return [await reader.read(request) for request in requests]

    return asyncio.run(read())


def holding(*keys: str) -> Worker:
    """A worker with these keys, each with itself as its value."""

    def rows(question: ReadTable) -> Rows:
        if question.key is not None:
            found = tuple((key, key) for key in keys if key == question.key)
            return Rows(request=question.request, rows=found, owner=bool(found))
        later = [key for key in keys if question.after is None or key > question.after]
        page = later[: question.rows_max]
        more = page[-1] if len(later) > len(page) else None
        return Rows(request=question.request, rows=tuple((key, key) for key in page), after=more)

    return rows


def test_key_comes_from_its_owner() -> None:
    """All workers are asked; the one that has the key's shard answers, and nobody is an answer too."""
    workers = {0: holding("a"), 2: holding("b"), 3: holding()}

    found, missing = reading(workers, [GetRows(table="counts", key="b"), GetRows(table="counts", key="z")])

    assert found == RowsAnswer(rows=(("b", "b"),))
    assert missing.error is not None
    assert "its task is moving" in missing.error


@pytest.mark.parametrize("rows_max", [1, 2, 3, 100])
def test_pages_walk_all_workers_once(rows_max: int) -> None:
    """Following the cursors gives every row once, whatever the page size, also past workers without rows."""
    workers = {0: holding("a", "b", "c"), 1: holding(), 2: holding("d"), 3: holding("e", "f")}
    seen: list[str] = []
    after: str | None = None
    for _ in range(20):
        [page] = reading(workers, [GetRows(table="counts", after=after, rows_max=rows_max)])
        assert len(page.rows) <= rows_max
        seen += [key for key, _ in page.rows]
        after = page.after
        if after is None:
            break

    assert seen == ["a", "b", "c", "d", "e", "f"]


def test_unknown_table_names_those_that_are_there() -> None:
    """The answer is an error text, not a broken connection."""
    [unknown] = reading({0: holding("a")}, [GetRows(table="conts")])

    assert unknown.error == "there is no such table; there are: counts"


def test_silent_worker_is_not_waited_for_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the deadline the answer says that no worker answered."""
    monkeypatch.setattr("streamcluster_coordinator.rows.ROWS_SECONDS", 0.05)

    [late] = reading({0: lambda _: None}, [GetRows(table="counts")])

    assert late.error is not None
    assert "no worker answered within 0.05 s" in late.error
