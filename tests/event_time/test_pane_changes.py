"""What is told of hopping windows with merge=: what is told of the same without it."""

from __future__ import annotations

import operator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings

from streamcluster import App
from streamcluster.engine.local_tables import LocalTable
from streamcluster.errors import AppError
from streamcluster.testing import Driver

from .stores import make_rocks
from .test_panes import EVENTS, LAST, SHAPES, Shape

# Key and where the window begins.
Row = tuple[str, float]


def make_app(
    shape: Shape, *, merges: bool, every: tuple[float | None, ...] = (None,), of: type = int
) -> tuple[App, Any]:
    """Adds up by key and window; what is told of it goes to "told-0" and so on, one for each of `every`."""
    app = App("panes")
    events = app.topic("events", key_type=str, value_type=int)
    sums = app.Table("sums", key_type=str, default=of).hopping(
        shape.size,
        shape.step,
        expires=shape.expires,
        grace=shape.grace,
        offset=shape.offset,
        merge=operator.add if merges else None,
    )

    @app.agent(events)
    async def add(stream: Any) -> None:
        async for key, number in stream.items():
            sums[key] += [number] if of is list else number

    if shape.is_given_out:

        @sums.on_close
        async def close(_key: str, _window: Any, _value: Any) -> None:
            pass

    for number, seconds in enumerate(every):
        tell(app, sums, number, seconds)
    return app, sums


def tell(app: App, sums: Any, number: int, every: float | None) -> None:
    """An agent that reads the changes."""
    told = app.topic(f"told-{number}", key_type=str, value_type=list, partitions=1)

    async def run(stream: Any) -> None:
        async for (key, window), value in stream.items():
            await told.send(key=key, value=[window.start, value])

    app.agent(sums.changes(every), name=f"tell-{number}")(run)


def told_by(driver: Driver, number: int = 0) -> dict[Row, list[Any]]:
    """What was told of each window, with the times of that, without what is said twice in a row."""
    found: dict[Row, list[Any]] = {}
    for one in driver.output(f"told-{number}"):
        rows = found.setdefault((one.key, one.value[0]), [])
        if rows[-1:] != [(one.value[1], one.timestamp)]:
            rows.append((one.value[1], one.timestamp))
    return found


def run(shape: Shape, events: list[tuple[str, int, bool, str]], *, merges: bool, of: type, stores: Path | None) -> Any:
    """What a table tells."""
    app, _ = make_app(shape, merges=merges, of=of)
    make_store = None if stores is None else make_rocks(stores / str(merges))(app)
    with Driver(app, make_store=make_store) as driver:
        for number, (key, at, is_committed, then) in enumerate([*events, ("z", LAST, True, "")]):
            driver.send("events", key=key, value=10**number, timestamp=at, commit=is_committed)
            if then:
                driver.crash(lose_stores=then == "lose")
            if is_committed:
                driver.advance(0)
        driver.advance(1)
        assert not driver.dead_letters()
        return told_by(driver)


def compare(shape: Shape, events: list[tuple[str, int, bool, str]], of: type, stores: Path | None = None) -> None:
    """The same windows end alike, and on the way nothing is told that is not told without merge=."""
    merged = run(shape, events, merges=True, of=of, stores=stores)
    plain = run(shape, events, merges=False, of=of, stores=stores)
    assert merged.keys() == plain.keys()
    for row, told in merged.items():
        assert told[-2:] == plain[row][-2:]
        left = iter(plain[row])
        assert all(one in left for one in told), (row, told, plain[row])


@settings(max_examples=30, deadline=None)
@given(events=EVENTS, shape=SHAPES)
def test_merging_tells_nothing_else(events: list[tuple[str, int, bool, str]], shape: Shape) -> None:
    """Of open windows too, of late events and over crashes; and none of a window that is over."""
    compare(shape, events, int)


@settings(max_examples=10, deadline=None)
@given(events=EVENTS, shape=SHAPES)
def test_values_that_can_be_changed_are_told_as_they_were(
    events: list[tuple[str, int, bool, str]], shape: Shape
) -> None:
    """Lists, in the order of the steps."""
    in_order = sorted(events, key=lambda event: event[1])
    compare(shape, in_order, list)


@settings(max_examples=2, deadline=None)
@given(events=EVENTS.filter(lambda events: len(events) > 5), shape=SHAPES)
def test_merging_tells_nothing_else_on_disk(events: list[tuple[str, int, bool, str]], shape: Shape) -> None:
    """With the store that workers have."""
    with TemporaryDirectory() as directory:
        compare(shape, events, int, Path(directory))


def test_open_windows_are_told_of_at_each_change(drive: Any) -> None:
    """Each window of an event, with what it holds by then; when it is over that once more, and that it is deleted."""
    app, _ = make_app(Shape(10, 5), merges=True)
    driver = drive(app)
    for at in (11, 12, 40):
        driver.send("events", key="a", value=at, timestamp=at)
        driver.advance(0)
    assert told_by(driver) == {
        ("a", 5.0): [(11, 11.0), (23, 12.0), (None, 14.999)],
        ("a", 10.0): [(11, 11.0), (23, 12.0), (None, 19.999)],
        ("a", 35.0): [(40, 40.0)],
        ("a", 40.0): [(40, 40.0)],
    }


def test_every_holds_changes_back_and_the_least_counts(drive: Any) -> None:
    """The newest of each window, each reader at its own rate, and a crash loses none."""
    app, _ = make_app(Shape(10, 5), merges=True, every=(20, 5))
    driver = drive(app)
    for at in (11, 12):
        driver.send("events", key="a", value=at, timestamp=at)
    driver.crash(lose_stores=True)
    driver.advance(1)
    assert told_by(driver, 1) == {}
    driver.advance(10)
    newest = {("a", 5.0): [(23, 12.0)], ("a", 10.0): [(23, 12.0)]}
    assert told_by(driver, 0) == {}
    assert told_by(driver, 1) == newest
    driver.advance(20)
    assert told_by(driver, 0) == newest


def test_an_agent_that_comes_later_is_told_what_there_is() -> None:
    """As of a changelog: it begins with the windows that there are."""
    first, _ = make_app(Shape(10, 5), merges=True, every=())
    second, _ = make_app(Shape(10, 5), merges=True)
    with Driver(first) as old, Driver(second) as new:
        for at in (11, 12):
            old.send("events", key="a", value=at, timestamp=at)
        new.logs.logs.update(old.logs.logs)
        new.worker.committed.update(old.worker.committed)
        new.crash(lose_stores=True)
        new.advance(1)
        assert told_by(new) == {("a", 5.0): [(23, 12.0)], ("a", 10.0): [(23, 12.0)]}


def test_a_duration_is_checked() -> None:
    """As of any table."""
    _, sums = make_app(Shape(), merges=True)
    with pytest.raises(AppError, match="is no duration"):
        sums.changes(every=-1)


@pytest.mark.parametrize("merges", [False, True])
def test_what_is_read_outside_of_events_is_what_is_here(drive: Any, merges: bool) -> None:
    """Also on a worker that has but some of the partitions, where a window may have no row of its own."""
    app, sums = make_app(Shape(10, 5), merges=merges, every=())
    driver = drive(app, partitions=2)
    for partition, key in enumerate("ab"):
        driver.send("events", key=key, value=3, timestamp=12, partition=partition)
    tasks = driver.worker.engine.tasks
    for table in [sums.table, *sums.table.besides]:
        local = {task: running for task, running in tasks.items() if task.partition == 0}
        table.local = LocalTable(next(one for one in driver.topology.tables if one.name == table.name), local)
    assert sums["a"][10, 20] == 3
    assert dict(sums.items()) == {("a", (5.0, 15.0)): 3, ("a", (10.0, 20.0)): 3}
    assert sums["a"].windows(0, 100) == [((5.0, 15.0), 3), ((10.0, 20.0), 3)]
    assert "a" in sums
    assert "b" not in sums
    with pytest.raises(AppError, match="is not on this worker"):
        sums["b"][10, 20]
