"""Tumbling windows lie in the store by their ends: what an agent reads of its key, and what closes of very many."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamcluster import App
from streamcluster.engine.event_time import due_room
from streamcluster.engine.event_time.due_room import PAGE_ROWS
from streamcluster.engine.event_time.timed_tasks import TimedTasks
from streamcluster.engine.pacing import Pacing
from streamcluster.engine.values import Commit
from streamcluster.ids import TaskId
from streamcluster.stores import StoreFailed
from streamcluster.testing import Driver
from streamcluster.testing.brokers import SimulatedWrites
from streamcluster.windows.keys import END_INDEX, END_ORDER
from streamcluster.windows.kinds import Window

from .stores import make_rocks

SIZE, GRACE = 10, 30


def app_of(partitions: int = 1, **options: Any) -> tuple[App, Any, list[Any]]:
    """Windows of ten seconds; what the agent reads of its key's, and what is closed."""
    app = App("by-end")
    events = app.topic("events", key_type=str, value_type=int, partitions=partitions)
    totals = app.topic("totals", key_type=str, value_type=int, partitions=1)
    views = app.Table("views", default=int).tumbling(SIZE, grace=GRACE, **options)
    seen: list[Any] = []

    @app.agent(events)
    async def count(stream: Any) -> None:
        async for page, number in stream.items():
            if number < 0:
                del views[page]
            else:
                views[page] += number
            seen.append([(window.start, value) for window, value in views[page].windows(0, 1000)])

    @views.on_close
    async def closed(page: str, window: Window, number: int) -> None:
        await totals.send(key=f"{page}@{window.start:g}", value=number)

    return app, views, seen


def test_rows_lie_by_end_where_nothing_is_kept() -> None:
    """With expires= a key may have very many windows, which are read in the order of keys."""
    for options, index in (({}, END_ORDER), ({"expires": GRACE}, END_ORDER), ({"expires": 3600}, END_INDEX)):
        _, views, _ = app_of(**options)
        assert views.table.indexes == (index,)


@pytest.mark.parametrize("commit", [True, False])
@pytest.mark.parametrize("options", [{}, {"expires": 3600}], ids=["by end", "by key"])
def test_an_agent_reads_the_windows_of_its_key(drive: Any, commit: bool, options: dict[str, Any]) -> None:
    """Those that are committed and those that are not, without what was deleted, and of no other key."""
    app, _, seen = app_of(**options)
    driver = drive(app)
    for key, at, value in [("a", 1, 5), ("b", 11, 1), ("c", 21, 1), ("a", 22, 7), ("a", 5, -1), ("b", 2, 3)]:
        driver.send("events", key=key, value=value, timestamp=at, commit=commit)
    assert seen == [[(0, 5)], [(10, 1)], [(20, 1)], [(0, 5), (20, 7)], [(20, 7)], [(0, 3), (10, 1)]]


@pytest.mark.parametrize("lose_stores", [False, True])
def test_very_many_close_once_and_leave_nothing(drive: Any, lose_stores: bool) -> None:
    """More than a page at a time, crashed into between two pages; the windows that are open stay."""
    app, views, _ = app_of()
    driver = drive(app)
    count = 3 * PAGE_ROWS + 7
    for at in range(count):
        driver.logs.append("events", {"key": b"page-%d" % at, "value": b"2", "timestamp": at % 9000}, 0.0)
    driver.send("events", key="page-1", value=5, timestamp=15)
    assert len(views) == count + 1
    driver.send("events", key="later", value=1, timestamp=SIZE + GRACE, commit=False)
    driver.crash(lose_stores=lose_stores)
    driver.send("events", key="later", value=1, timestamp=SIZE + GRACE)
    came = sorted((record.key, record.value) for record in driver.output("totals"))
    assert came == sorted((f"page-{at}@0", 2) for at in range(count))
    assert sorted(views.items()) == [(("later", Window(40, 50)), 2), (("page-1", Window(10, 20)), 5)]


class SlowWrites:
    """Each commit takes some turns of the loop."""

    def __init__(self, writes: SimulatedWrites, sizes: list[int]) -> None:
        self._writes = writes
        self._sizes = sizes
        self.outputs_landed = False
        self.produce, self.abort = writes.produce, writes.abort

    def commit(self, commit: Commit) -> asyncio.Future[dict[TaskId, StoreFailed]]:
        """Later."""
        self._sizes.append(sum(len(part.keys) for cut in commit.tasks for part in cut.passed.get("views", ())))
        return asyncio.ensure_future(self._commit(commit))

    async def _commit(self, commit: Commit) -> dict[TaskId, StoreFailed]:
        for _ in range(100):
            await asyncio.sleep(0)
        return self._writes.apply(commit)


def test_what_closes_while_a_commit_is_under_way_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """No commit has more of it, however long the one before took; and all come out."""
    monkeypatch.setattr(due_room, "UNCOMMITTED_ROWS", 2 * PAGE_ROWS)
    app, views, _ = app_of()
    sizes: list[int] = []
    with Driver(app) as driver:
        driver.worker.through = lambda reads, writes: (reads, SlowWrites(writes, sizes))
        driver.crash()
        for at in range(9 * PAGE_ROWS):
            driver.logs.append("events", {"key": b"page-%d" % at, "value": b"2", "timestamp": 1}, 0.0)
        driver.send("events", key="later", value=1, timestamp=SIZE + GRACE)
        assert len(driver.output("totals")) == 9 * PAGE_ROWS
        assert len(views) == 1
    assert sum(sizes) == 9 * PAGE_ROWS
    assert max(sizes) <= 2 * PAGE_ROWS


@pytest.mark.parametrize("more", [0, PAGE_ROWS // 2])
def test_the_last_of_many_are_committed_with_them(monkeypatch: pytest.MonkeyPatch, more: int) -> None:
    """And not when the next commit is due, which comes an hour later here; for that few rows wait as events do."""
    monkeypatch.setattr(due_room, "UNCOMMITTED_ROWS", 2 * PAGE_ROWS)
    monkeypatch.setattr(due_room, "COMMITTED_ROWS", PAGE_ROWS)
    tasks, few, many = 3, PAGE_ROWS // 2, 3 * PAGE_ROWS + more
    app, _, _ = app_of(tasks)
    with Driver(app) as driver:
        pump = driver.worker.pump
        for start, count, came in ((0, few, 0), (SIZE, many, few + many), (2 * SIZE, few, few + many)):
            for at in range(count):
                record = {"key": b"page-%d" % at, "value": b"2", "timestamp": 1000 * start + 1, "partition": at % tasks}
                driver.logs.append("events", record, 0.0)
            for partition in range(tasks):
                end = {"key": b"end-%d" % partition, "value": b"1", "timestamp": 1000 * (start + SIZE + GRACE)}
                driver.logs.append("events", end | {"partition": partition}, 0.0)
            # The next commit, which moves time, is due, and no other one.
            pump._pacing = Pacing(msgspec.structs.replace(app.conf, commit_interval=3600.0), -3600.0)
            before = pump.commits_total
            driver.run(driver.worker.process(commit=True))
            assert len(driver.output("totals")) == came
            # That one, one for each page, and one for the last of them.
            assert pump.commits_total - before <= 1 + count // PAGE_ROWS + (count >= PAGE_ROWS)


def test_all_tasks_of_a_worker_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is fed at a time, and what a commit has, are not so many for each task; and a task has its turn."""
    monkeypatch.setattr(due_room, "UNCOMMITTED_ROWS", 3 * PAGE_ROWS)
    tasks, count = 6, 12 * PAGE_ROWS
    app, views, _ = app_of(tasks)
    sizes: list[int] = []
    fed: list[int] = []
    with Driver(app) as driver:
        driver.worker.through = lambda reads, writes: (reads, SlowWrites(writes, sizes))
        driver.crash()
        for at in range(count):
            record = {"key": b"page-%d" % at, "value": b"2", "timestamp": 1, "partition": at % tasks}
            driver.logs.append("events", record, 0.0)
        look = TimedTasks.look

        def looked(times: TimedTasks, *arguments: Any) -> None:
            before = sum(source.uncommitted for source in times._sources())
            look(times, *arguments)
            fed.append(sum(source.uncommitted for source in times._sources()) - before)

        monkeypatch.setattr(TimedTasks, "look", looked)
        for partition in range(tasks):
            driver.send("events", key=f"later-{partition}", value=1, timestamp=SIZE + GRACE, partition=partition)
        assert len(driver.output("totals")) == count
        assert len(views) == tasks
    assert sum(sizes) == count
    # What each has of its own does not count: a page each is the least.
    assert max(sizes) <= tasks * PAGE_ROWS
    # The last of its pages may begin in it and end behind it.
    assert max(fed) < due_room.LOOK_ROWS + PAGE_ROWS


def test_what_is_kept_from_now_on_lies_by_key(tmp_path: Path) -> None:
    """expires= is given, and taken away again: the rows are restored in the other order, and all are there."""
    before: Driver | None = None
    given: list[dict[str, Any]] = [{}, {"expires": 3600}, {}]
    for number, options in enumerate(given):
        app, views, seen = app_of(**options)
        driver = Driver(app, make_store=make_rocks(tmp_path)(app))
        if before is not None:
            driver.logs.logs.update(before.logs.logs)
            driver.worker.committed.update(before.worker.committed)
            driver.crash()
        driver.send("events", key="a", value=1, timestamp=SIZE * number + 1)
        assert sorted(views.items())[0] == (("a", Window(0, 10)), 1)
        assert len(seen[-1]) == number + 1
        driver.close()
        before = driver
