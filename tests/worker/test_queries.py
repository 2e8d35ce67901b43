"""Answers to ReadTable from real stores, which are written, closed and taken away meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from streamcluster import App
from streamcluster.engine.event_time.time_row import ROW_KEY, TimeRow, encode_row
from streamcluster.ids import TaskId
from streamcluster.protocol.messages import ReadTable, Rows, ToCoordinator
from streamcluster.stores import MemoryStore, TaskStore
from streamcluster.times import place_of
from streamcluster.topology import ResolvedTable, ResolvedTopic, Topology
from streamcluster.topology.declare import freeze
from streamcluster.topology.units import Plan
from streamcluster.versions import version_key, version_row
from streamcluster_worker.answers import queries
from streamcluster_worker.answers.queries import QUESTIONS_MAX, Queries
from streamcluster_worker.lifecycle import State
from streamcluster_worker.state.memory import Memory
from streamcluster_worker.state.rocks import RocksStore
from streamcluster_worker.state.store_errors import CorruptStore
from tests.worker.damaging import damaged

MIB = 1024 * 1024
GROUP = 2
TASKS = (TaskId(GROUP, 0), TaskId(GROUP, 1))
RUNNING: dict[TaskId, State] = dict.fromkeys(TASKS, "running")
TOPOLOGY = Topology(
    app_id="shop",
    topics=(ResolvedTopic(name="orders", role="source", partitions=GROUP),),
    agents=(),
    tables=(ResolvedTable(name="seen", changelog="seen-changelog", group=GROUP),),
)
Make = Callable[[], dict[TaskId, TaskStore]]
OPEN = """
import sys
from pathlib import Path
from streamcluster_worker.state.rocks import RocksStore
from streamcluster_worker.state.memory import Memory
RocksStore.open(Path(sys.argv[1]), ["seen"], Memory(1 << 20, 1 << 20)).close()
"""


@pytest.fixture(params=["memory", "rocksdb"])
def make_stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Opens the stores of both tasks."""
    opened: list[TaskStore] = []

    def make() -> dict[TaskId, TaskStore]:
        for task in TASKS:
            memory: TaskStore = MemoryStore(["seen"])
            rocks = request.param == "rocksdb"
            opened.append(RocksStore.open(tmp_path / str(task), ["seen"], Memory(MIB, MIB)) if rocks else memory)
        return dict(zip(TASKS, opened, strict=True))

    yield make
    for store in opened:
        store.close()


class Asker:
    """Asks as a coordinator does. Use on a loop."""

    def __init__(self, plan: Plan, stores: Mapping[TaskId, TaskStore]) -> None:
        self.stores = stores
        self.states = dict(RUNNING)
        self._number = 0
        self._waiting: dict[int, asyncio.Future[Rows]] = {}
        self.failed: list[TaskId] = []
        self.queries = Queries(
            plan, TOPOLOGY, App("shop").conf, self._received, lambda task, _: self.failed.append(task)
        )

    def _received(self, message: ToCoordinator) -> None:
        assert isinstance(message, Rows)
        self._waiting.pop(message.request).set_result(message)

    def begin(self, **question: object) -> asyncio.Future[Rows]:
        """Ask, and do not wait."""
        self._number += 1
        future = self._waiting[self._number] = asyncio.get_running_loop().create_future()
        request = ReadTable(**{"request": self._number, "table": "seen", **question})  # type: ignore[arg-type]
        self.queries.ask(request, self.states, self.stores, None)
        return future

    async def ask(self, **question: object) -> Rows:
        """Ask and wait."""
        async with asyncio.timeout(10):
            return await self.begin(**question)

    async def pages(self, rows_max: int, between: Callable[[], object]) -> list[str]:
        """The keys of all pages; `between` is called after each."""
        keys: list[str] = []
        after: str | None = None
        while True:
            page = await self.ask(after=after, rows_max=rows_max)
            assert page.error is None
            assert len(page.rows) <= rows_max
            keys += [key for key, _ in page.rows]
            after = page.after
            if after is None:
                return keys
            between()


def asking(stores: Mapping[TaskId, TaskStore], use: Callable[[Asker], object], **table: Any) -> None:
    """Run `use`, a coroutine function, with an asker. table: options of the table."""

    async def run() -> None:
        app = App("shop")
        app.Table("seen", **{"default": int, **table})
        plan, _ = await freeze(app)
        asker = Asker(plan, stores)
        try:
            await use(asker)  # type: ignore[misc]
        finally:
            asker.queries.end()

    asyncio.run(run())


def rows_of(*names: str) -> dict[bytes, bytes | None]:
    """Rows as a changelog has them."""
    return {f'"{name}"'.encode(): b"1" for name in names}


@pytest.mark.parametrize("rows_max", [1, 3, 7, 1000])
def test_pages_have_rows_that_stay_once_while_others_come_and_go(make_stores: Make, rows_max: int) -> None:
    """A cursor is a key: what is written before or behind it moves no other row to another page."""
    stores = make_stores()
    stay = [f"{letter}{number:03}" for letter in "bdf" for number in range(20)]
    for store in stores.values():
        store.write({"seen": rows_of(*stay)}, {"seen": 1})
    number = 0

    def change() -> None:
        nonlocal number
        number += 1
        for store in stores.values():
            gone = dict.fromkeys(rows_of(f"a{(number - 1) % 7}", f"e{(number - 1) % 7}"))
            new = rows_of(f"a{number % 7}", f"c{number % 20}", f"e{number % 7}", "z")
            store.write({"seen": {**gone, **new}}, {"seen": number})

    async def page(asker: Asker) -> None:
        keys = await asker.pages(rows_max, change)
        assert sorted(key for key in keys if key[1:-1] in stay) == sorted(2 * [f'"{name}"' for name in stay])

    asking(stores, page)


def test_page_ends_early_where_rows_are_large(make_stores: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page is bounded in bytes, and the next one goes on behind it."""
    monkeypatch.setattr(queries, "ROWS_BYTES_MAX", 1000)
    monkeypatch.setattr(queries, "PIECE_BYTES", 500)
    stores = make_stores()
    large = {f'"k{number:02}"'.encode(): b'"%s"' % (b"x" * 300) for number in range(10)}
    stores[TASKS[0]].write({"seen": large}, {"seen": 1})

    async def page(asker: Asker) -> None:
        first = await asker.ask(rows_max=1000)
        assert len(first.rows) < 10
        assert await asker.pages(1000, lambda: None) == [key.decode() for key in sorted(large)]

    asking(stores, page)


def test_key_is_found_wherever_it_is_and_only_when_committed(make_stores: Make) -> None:
    """The value of the store; a key of no store belongs to nobody here."""
    stores = make_stores()
    stores[TASKS[1]].write({"seen": {b'"ann"': b"7"}}, {"seen": 1})

    async def ask(asker: Asker) -> None:
        assert (await asker.ask(key='"ann"')).rows == (('"ann"', "7"),)
        assert await asker.ask(key='"bob"') == Rows(request=2, owner=False)

    asking(stores, ask)


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ({"after": "2_0"}, "'2_0' is not a cursor"),
        ({"after": "2_0,%%%"}, "'2_0,%%%' is not a cursor"),
        ({"after": "x_y,"}, "'x_y,' is not a cursor"),
        ({"key": "{"}, "table 'seen'"),
        ({"table": "sean"}, "there is no table 'sean'; there are: seen"),
    ],
)
def test_question_that_makes_no_sense_gets_an_error(make_stores: Make, question: dict[str, object], text: str) -> None:
    """Whatever the other side asks, it gets an answer, and the next question too."""

    async def ask(asker: Asker) -> None:
        answer = await asker.ask(**question)
        assert text in str(answer.error)
        assert not answer.passing
        assert (await asker.ask()).error is None

    asking(make_stores(), ask)


def test_task_that_does_not_run_is_named_and_its_store_is_not_read(make_stores: Make) -> None:
    """Neither a page with a hole nor "no such key", while one task of the table is on its way."""
    stores = make_stores()
    stores[TASKS[0]].write({"seen": {b'"ann"': b"7"}}, {"seen": 1})

    async def ask(asker: Asker) -> None:
        asker.states[TASKS[1]] = "restoring"
        for question in ({}, {"key": '"bob"'}):
            answer = await asker.ask(**question)
            assert (answer.error, answer.passing) == ("task 2_1 does not run yet", True)
        assert (await asker.ask(key='"ann"')).rows == (('"ann"', "7"),)

    asking(stores, ask)


def test_store_that_is_closed_before_it_is_read_is_an_answer(make_stores: Make) -> None:
    """A task that left after the question came: it passes, and whoever asks finds the new owner."""
    stores = make_stores()

    async def ask(asker: Asker) -> None:
        stores[TASKS[1]].close()
        page, key = await asker.ask(), await asker.ask(key='"ann"')
        assert (page.passing, key.passing) == (True, True)
        assert page.error == "a task of the table leaves this worker"
        assert key.error == "task 2_1 does not run yet"

    asking(stores, ask)


def test_closing_waits_for_a_read_and_leaves_the_database_to_others(tmp_path: Path) -> None:
    """Stores are closed in the middle of pages, over and over: each is free at once, and each page has an answer."""
    for turn in range(10):
        paths = {task: tmp_path / f"{turn}-{task}" for task in TASKS}
        stores: dict[TaskId, TaskStore] = {}
        for task, path in paths.items():
            stores[task] = RocksStore.open(path, ["seen"], Memory(MIB, MIB))
            stores[task].write({"seen": rows_of(*(f"k{number}" for number in range(20_000)))}, {"seen": 1})

        async def ask(asker: Asker, turn: int = turn, stores: dict[TaskId, TaskStore] = stores) -> None:
            page = asker.begin(rows_max=10_000_000)
            await asyncio.sleep(0.002 * turn)
            for store in stores.values():
                store.close()
            async with asyncio.timeout(10):
                answer = await page
            assert answer.passing or len(answer.rows) == 40_000

        asking(stores, ask)
        for path in paths.values():
            RocksStore.open(path, ["seen"], Memory(MIB, MIB)).close()
    last = str(tmp_path / f"9-{TASKS[0]}")
    ran = subprocess.run([sys.executable, "-c", OPEN, last], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_too_many_questions_are_refused_and_the_loop_goes_on(make_stores: Make) -> None:
    """While a read hangs, so many wait, the next are told to ask again, and nothing else is held up."""
    stores = make_stores()
    go_on = threading.Event()

    def hang() -> None:
        with stores[TASKS[0]].reading():
            go_on.wait(10)

    async def ask(asker: Asker) -> None:
        hanging = asyncio.get_running_loop().run_in_executor(None, hang)
        waiting = [asker.begin() for _ in range(QUESTIONS_MAX)]
        refused = await asker.ask()
        assert (refused.error, refused.passing) == (f"{QUESTIONS_MAX} questions wait at this worker", True)
        assert not any(one.done() for one in waiting)
        go_on.set()
        async with asyncio.timeout(10):
            assert [(await one).error for one in waiting] == [None] * QUESTIONS_MAX
            await hanging
        assert (await asker.ask()).error is None

    asking(stores, ask)


@pytest.mark.parametrize("question", [{}, {"key": "103000"}])
def test_store_that_cannot_be_read_is_told_of_and_asked_again_later(
    tmp_path: Path, question: dict[str, object]
) -> None:
    """Nobody else may read what is damaged for long; whoever asks waits for the restore."""
    store = damaged(tmp_path / "s", "seen")
    stores: dict[TaskId, TaskStore] = {TASKS[0]: MemoryStore(["seen"]), TASKS[1]: store}

    async def use(asker: Asker) -> None:
        answer = await asker.ask(**question)
        assert (answer.passing, asker.failed) == (True, [TASKS[1]])

    asking(stores, use)
    with contextlib.suppress(CorruptStore):
        store.close()


def test_a_key_is_read_as_of_a_time(make_stores: Make) -> None:
    """The version of that time; of a key that was not written since there are versions, the row."""
    app = App("shop")
    seen = app.Table("seen", key_type=str, default=int, history=50)

    @app.agent(app.topic("events"))
    async def see(stream: Any) -> None:
        async for event in stream:
            seen[event] += 1

    versions = {time: version_row(value) for time, value in ((100_000, b"3"), (140_000, None), (180_000, b"4"))}
    rows: dict[bytes, bytes | None] = {version_key(b'"a"', time): row for time, row in versions.items()}
    time_row = encode_row(TimeRow(time=180_000, inputs={}))

    async def use() -> None:
        plan, _ = await freeze(app)
        asker = Asker(plan, stores)
        try:
            found = [(await asker.ask(key='"a"', as_of=time * 1000)).rows for time in (90, 110, 130, 150, 190)]
            # What was there before 130 has been replaced, and may be deleted at any moment.
            assert found == [(), (), (('"a"', "3"),), (), (('"a"', "4"),)]
            assert (await asker.ask(key='"b"', as_of=0)).rows == (('"b"', "7"),)
            assert (await asker.ask(key='"c"', as_of=0)).rows == ()
        finally:
            asker.queries.end()

    stores = {task: MemoryStore(["seen", "seen-history", "seen-time"]) for task in TASKS}
    stores[TASKS[1]].write(
        {"seen": {b'"a"': b"4", b'"b"': b"7"}, "seen-history": rows, "seen-time": {ROW_KEY: time_row}}, {}
    )
    asyncio.run(use())

    async def ask_plain(asker: Asker) -> None:
        assert "keeps no versions" in str((await asker.ask(key='"a"', as_of=5)).error)

    asking(make_stores(), ask_plain)


def test_windows_are_read_as_keys_and_spans(make_stores: Make) -> None:
    """Rows of a windowed table are shown as [key, [start, end]] in seconds, and one is read by that."""
    app = App("shop")
    app.Table("seen", key_type=str, default=int).tumbling(60)
    stores = make_stores()
    # The row has the date of its latest event before it.
    stores[TASKS[1]].write({"seen": {b'["a",[0.0,60.0]]': place_of(59_000) + b"3"}}, {})

    async def use() -> None:
        plan, _ = await freeze(app)
        asker = Asker(plan, stores)
        try:
            assert list((await asker.ask(rows_max=10)).rows) == [('["a",[0.0,60.0]]', "3")]
            assert [value for _, value in (await asker.ask(key='["a",[0,60]]')).rows] == ["3"]
            assert "the key of a window is" in str((await asker.ask(key='"a"')).error)
        finally:
            asker.queries.end()

    asyncio.run(use())
