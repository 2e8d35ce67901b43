"""Windows that were over before a commit wrote them: they are never written, where nobody is to be told of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streamcluster import App, loops
from streamcluster.engine.local_tables import row_coder
from streamcluster.engine.row_dates import uncut
from streamcluster.engine.shard_view import ShardView
from streamcluster.engine.shards import CachedShard
from streamcluster.settings import make_settings
from streamcluster.stores import MemoryStore
from streamcluster.tables import Table
from streamcluster.testing import Driver
from streamcluster.windows.kinds import Window
from streamcluster.windows.windowed import WindowedTable

from .test_window_state import counts_of

GRACE, KEYS, MINUTES = 10, 5, 20
# What is written of these: those of the last window, which is open.
LAST = MINUTES * 60 - 1


def tumbling(table: Table[str, int]) -> WindowedTable:
    """Of a minute."""
    return table.tumbling(60, grace=GRACE)


def app_of(
    *, told: str = "", make: Callable[[Table[str, int]], WindowedTable] = tumbling
) -> tuple[App, WindowedTable, list[Any]]:
    """Events per key and window; told: of what somebody else hears."""
    app = App("lapsed")
    events = app.topic("events", key_type=str, value_type=int, partitions=1)
    views = make(app.Table("views", default=int))
    heard: list[Any] = []

    @app.agent(events)
    async def count(stream: Any) -> None:
        async for key, number in stream.items():
            views[key] += number

    if told == "close":

        @views.on_close
        async def closed(key: str, window: Window, number: int) -> None:
            heard.append((key, window.start, number))

    if told == "changes":

        @app.agent(views.changes())
        async def change(stream: Any) -> None:
            async for (key, window), number in stream.items():
                heard.append((key, window.start, number))

    return app, views, heard


def send(driver: Driver, first: int, last: int, *, commit: bool = True) -> None:
    """An event each second from the first to the last, of each key in turn, and one commit of all."""
    for at in range(first, last + 1):
        message = {"key": b"%d" % (at % KEYS), "value": b"1", "timestamp": at * 1000, "partition": 0}
        driver.logs.append("events", message, driver.worker.time())
    driver.run(driver.worker.process(commit=commit))


def changelog(driver: Driver) -> list[Any]:
    """Its records: key and value."""
    (log,) = (log for tp, log in driver.logs.logs.items() if tp.topic.endswith("lapsed-views-changelog"))
    return [(one.key, one.value) for one in log]


def left_in(records: list[Any]) -> dict[Any, Any]:
    """What compaction leaves."""
    return {key: value for key, value in dict(records).items() if value is not None}


@pytest.mark.parametrize("is_in_c", [True, False])
def test_what_is_over_before_a_commit_is_never_written(is_in_c: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """And counts as closed; those that are open are written as ever."""
    monkeypatch.setattr(loops, "_in_c", is_in_c and loops.is_in_c())
    app, views, _ = app_of()
    with Driver(app) as driver:
        send(driver, 0, LAST)
        last = Window(LAST - 59, LAST + 1)
        assert sorted(views.items()) == [((str(key), last), 12) for key in range(KEYS)]
        assert sorted(changelog(driver)) == [(b'["%d",[1140.0,1200.0]]' % key, b"12") for key in range(KEYS)]
        counts = counts_of(driver)
        assert (counts.open, counts.closed, counts.late) == (KEYS, KEYS * (MINUTES - 1), 0)


@pytest.mark.parametrize("lose_stores", [False, True])
def test_what_a_commit_has_is_deleted_by_another(lose_stores: bool) -> None:
    """Windows that are open at a commit are written, and go when they are over, also after a crash."""
    app, views, _ = app_of()
    with Driver(app) as driver:
        send(driver, 0, 89)
        send(driver, 90, 500, commit=False)
        driver.crash(lose_stores=lose_stores)
        driver.run(driver.worker.process(commit=True))
        send(driver, 501, LAST)
        driver.run(driver.worker.process(commit=True))
        assert sorted(views.items()) == [((str(key), Window(1140, 1200)), 12) for key in range(KEYS)]
        assert left_in(changelog(driver)) == {b'["%d",[1140.0,1200.0]]' % key: b"12" for key in range(KEYS)}
        assert counts_of(driver).closed == KEYS * (MINUTES - 1)
        assert counts_of(driver).late == 0


def test_time_is_committed_by_which_windows_were_given_up() -> None:
    """An event that was late before a crash is late after it, though nothing of its window was written."""
    app, views, _ = app_of()
    with Driver(app) as driver:
        send(driver, 0, LAST)
        driver.crash()
        driver.send("events", key="0", value=1, timestamp=5)
        assert sorted(views.items()) == [((str(key), Window(1140, 1200)), 12) for key in range(KEYS)]
        assert counts_of(driver).late == 1


@pytest.mark.parametrize("told", ["close", "changes"])
def test_who_is_told_of_windows_is_told_of_all(told: str) -> None:
    """Then all are written."""
    app, _, heard = app_of(told=told)
    with Driver(app) as driver:
        send(driver, 0, LAST)
        driver.run(driver.worker.process(commit=True))
        assert {one for one in heard if one[2] is not None and one[1] < 1140} == {
            (str(key), 60.0 * minute, 12) for key in range(KEYS) for minute in range(MINUTES - 1)
        }


@pytest.mark.parametrize(
    ("make", "kept"),
    [
        (lambda table: table.tumbling(60, grace=GRACE, expires=600), 600),
        (lambda table: table.hopping(60, 20, grace=GRACE), GRACE),
        (lambda table: table.tumbling(86400, grace=GRACE, tz="Europe/Berlin"), GRACE),
    ],
)
def test_what_can_be_read_yet_is_written(make: Any, kept: int) -> None:
    """Of windows of other kinds, and of those that are kept for long."""
    app, views, _ = app_of(make=make)
    with Driver(app) as driver:
        send(driver, 0, LAST)
        found = list(views.items())
        assert found
        assert all(window.end + kept > LAST for (_, window), _ in found)
        assert len(changelog(driver)) == len(found)


def test_what_a_cut_or_an_event_in_hand_has_is_not_given_up() -> None:
    """A row of a commit is deleted by its closing alone, and one that a coroutine has just written is its own."""
    table: Table[str, int] = App("lapsed").Table("views", default=int)
    tumbling(table)
    store = MemoryStore(["views"]).shard("views")
    shard = CachedShard(store, row_coder(table, make_settings({"id": "lapsed"})), 1000, print, dated=True)
    one, other = ShardView(shard), ShardView(shard)
    one.write_at(b"cut", 1, 5)
    one.settle()
    shard.stage(shard.encoded_changes())
    one.write_at(b"cut", 2, 5)
    one.write_at(b"new", 1, 5)
    one.write_at(b"both", 1, 5)
    one.settle()
    other.write_at(b"both", 2, 6)
    keys = [b"cut", b"new", b"both"]
    assert uncut(shard, keys) == [b"new"]
    assert shard.lapse(lambda rows, _: list(rows), 0) == 1
    assert shard.dirty.keys() == {b"cut", b"both"}
    assert shard.values == {b"cut": 2, b"both": 2}
