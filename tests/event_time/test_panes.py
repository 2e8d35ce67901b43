"""Hopping windows with merge=: whatever comes, and whatever crashes, the results are those of the same without it."""

from __future__ import annotations

import asyncio
import json
import operator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcluster import App
from streamcluster.errors import AppError, StateIncompatible
from streamcluster.protocol.messages import ReadTable
from streamcluster.testing import Driver
from streamcluster.windows.kinds import Window
from streamcluster.windows.windowed import WindowedTable
from streamcluster_worker.answers.queries import Queries

from .playing import Play
from .stores import make_rocks
from .test_cases import PLAYED

# Key, time in seconds, whether it is committed, and what is done behind it.
EVENTS = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.integers(1, 60),
        st.booleans(),
        st.sampled_from(["", "", "", "crash", "lose"]),
    ),
    max_size=15,
)
# Size and step. Of the third the size is no multiple of the step; the last begins before 1970 in no window but one.
SIZES = st.sampled_from([(10, 5), (10, 2), (10, 4), (7, 3)])
# Behind all of them: what is open closes.
LAST = 1000


@dataclass(frozen=True)
class Shape:
    """How a table is declared, but for merge=."""

    size: int = 10
    step: int = 2
    grace: int = 0
    expires: int | None = None
    is_given_out: bool = True
    offset: int = 0


SHAPES = st.builds(
    lambda sizes, grace, expires, is_given_out, offset: Shape(sizes[0], sizes[1], grace, expires, is_given_out, offset),
    SIZES,
    st.sampled_from([0, 3, 12]),
    st.sampled_from([None, 25]),
    st.booleans(),
    st.sampled_from([0, 1]),
)


@dataclass
class Run:
    """A table under test, and what it has given."""

    driver: Driver
    table: WindowedTable
    # After each event: what is in it, as others see it.
    held: list[Any] = field(default_factory=list)

    def results(self) -> list[Any]:
        """All that can be seen of it."""
        outputs = [
            [(one.key, one.value, one.timestamp) for one in self.driver.output(name)] for name in ("closed", "read")
        ]
        late = [(one.key, one.value, one.headers) for one in self.driver.output("late")]
        return [*outputs, late, self.table.late_total, self.held]


def make_app(shape: Shape, *, merges: bool) -> tuple[App, WindowedTable]:
    """Counts by key and window, which tells what it reads at each event."""
    app = App("panes")
    events = app.topic("events", key_type=str, value_type=int)
    late = app.topic("late", key_type=str, value_type=int, partitions=1)
    closed = app.topic("closed", key_type=str, value_type=list, partitions=1)
    read = app.topic("read", key_type=str, value_type=list, partitions=1)
    counts = app.Table("counts", key_type=str, default=int).hopping(
        shape.size,
        shape.step,
        expires=shape.expires,
        grace=shape.grace,
        late=late,
        offset=shape.offset,
        merge=operator.add if merges else None,
    )

    @app.agent(events)
    async def count(stream: Any) -> None:
        async for key, number in stream.items():
            before = key in counts
            counts[key] += number
            windows = counts[key]
            rows = windows.windows(0, LAST)
            at = [windows.value(), windows.delta(3), windows.delta(11), windows[2, 2 + shape.size]]
            await read.send(key=key, value=[before, key in counts, *at, *([*window, value] for window, value in rows)])

    if shape.is_given_out:

        @counts.on_close
        async def close(key: str, window: Window, number: int) -> None:
            await closed.send(key=key, value=[window.start, window.end, number])

    return app, counts


def run(
    shape: Shape, events: list[tuple[str, int, bool, str]], *, merges: bool, stores: Path | None = None
) -> list[Any]:
    """What a table gives."""
    app, table = make_app(shape, merges=merges)
    make_store = None if stores is None else make_rocks(stores / str(merges))(app)
    with Driver(app, make_store=make_store) as driver:
        done = Run(driver, table)
        for number, (key, at, is_committed, then) in enumerate([*events, ("z", LAST, True, "")]):
            driver.send("events", key=key, value=10**number, timestamp=at, commit=is_committed)
            if then:
                driver.crash(lose_stores=then == "lose")
            done.held.append(sorted(table.items()))
        assert not driver.dead_letters()
        return done.results()


@settings(max_examples=30, deadline=None)
@given(events=EVENTS, shape=SHAPES)
def test_merging_changes_no_result(events: list[tuple[str, int, bool, str]], shape: Shape) -> None:
    """What is given out and when, what is read inside and outside of events, what is late and by which window."""
    assert run(shape, events, merges=True) == run(shape, events, merges=False)


@settings(max_examples=2, deadline=None)
@given(events=EVENTS.filter(lambda events: len(events) > 5), shape=SHAPES)
def test_merging_changes_no_result_on_disk(events: list[tuple[str, int, bool, str]], shape: Shape) -> None:
    """The same with the store that workers have."""
    with TemporaryDirectory() as directory:
        assert run(shape, events, merges=True, stores=Path(directory)) == run(shape, events, merges=False)


# When things fail, and when they are used in another way


@pytest.mark.parametrize("failing", ["merge", "handler"])
def test_a_window_that_fails_goes_to_the_dead_letters_and_the_next_ones_close(failing: str, drive: Any) -> None:
    """Whether what it holds cannot be merged, or its handler raises: the key's windows go on behind it."""

    def merge(first: int, second: int) -> int:
        if failing == "merge" and first + second == 11:
            raise ValueError("no eleven")
        return first + second

    app = App("failing", error_retries=0)
    events = app.topic("events", key_type=str, value_type=int)
    closed = app.topic("closed", key_type=str, value_type=list, partitions=1)
    counts = app.Table("counts", key_type=str, default=int).hopping(10, 5, grace=0, merge=merge)

    @app.agent(events)
    async def count(stream: Any) -> None:
        async for key, number in stream.items():
            counts[key] += number

    @counts.on_close
    async def close(key: str, window: Window, number: int) -> None:
        if failing == "handler" and number == 11:
            raise ValueError("no eleven")
        await closed.send(key=key, value=[window.start, number])

    driver = drive(app)
    for number, at in [(1, 1), (10, 6), (100, 11), (1000, 14), (1, 100)]:
        driver.send("events", key="a", value=number, timestamp=at)
    assert [one.value for one in driver.output("closed")] == [[5, 1110], [10, 1100]]
    (letter,) = driver.dead_letters()
    assert b"no eleven" in letter.headers["dead-letter-error"]
    assert rows_in(driver, "counts-panes") == {'["a",[95.0,110.0]]'}


def rows_in(driver: Driver, table: str) -> set[str]:
    """The keys of the rows that a changelog leaves."""
    rows = {one.key: one.value for one in changes_of(driver, table)}
    return {key.decode() for key, value in rows.items() if value is not None}


def changes_of(driver: Driver, table: str) -> list[Any]:
    """The records of a changelog."""
    return [one for tp, log in driver.logs.logs.items() if tp.topic.endswith(f"-{table}-changelog") for one in log]


def test_an_event_writes_one_row_however_many_windows_it_is_in(drive: Any) -> None:
    """Of 360 windows: what several events of a step write is one row, and one mark of the window that closes next."""
    app, counts = make_app(Shape(3600, 10, grace=60), merges=True)
    driver = drive(app)
    for at in (3600, 3605, 3609, 3610):
        driver.send("events", key="a", value=1, timestamp=at)
    written = {name: len(changes_of(driver, name)) for name in ("counts", "counts-panes", "counts-next")}
    assert written == {"counts": 0, "counts-panes": 4, "counts-next": 2}
    assert len(counts) == 361


@pytest.mark.parametrize("merges", [False, True])
def test_windows_made_of_windows_lose_none(drive: Any, merges: bool) -> None:
    """The time of what closing writes waits for windows that are over and not merged yet, also far behind a jump."""
    app = App("chained", max_ahead=None)
    events = app.topic("events", key_type=str, value_type=int)
    sums = app.topic("sums", key_type=str, value_type=list, partitions=1)
    merge = operator.add if merges else None
    small = app.Table("small", key_type=str, default=int).hopping(10, 2, grace=0, merge=merge)
    large = app.Table("large", key_type=str, default=int).tumbling(20, grace=10)

    @app.agent(events)
    async def count(stream: Any) -> None:
        async for key, number in stream.items():
            small[key] += number

    @small.on_close
    async def close(_key: str, _window: Window, number: int) -> None:
        large["all"] += number

    @large.on_close
    async def sum_up(key: str, window: Window, number: int) -> None:
        await sums.send(key=key, value=[window.start, number])

    driver = drive(app)
    for key, at in [("a", 11), ("b", 13), ("a", 33), ("c", 58), ("a", 1000), ("a", 1100)]:
        driver.send("events", key=key, value=1, timestamp=at)
    assert large.late_total == 0
    assert [one.value for one in driver.output("sums")] == [[0, 10], [20, 5], [40, 5], [1000, 5]]


@pytest.mark.parametrize(
    ("default", "merge", "says"),
    [
        (lambda: 100, operator.add, "gives 200"),
        (lambda: None, max, "raised TypeError"),
        (None, max, "needs default="),
        (int, 3, "merge"),
        (lambda: [0], operator.add, "gives [0, 0]"),
    ],
)
def test_a_default_that_is_not_neutral_is_refused(default: Any, merge: Any, says: str) -> None:
    """Each part of a window begins with it, so it would count as often as the window has parts."""
    table = App("neutral").Table("counts", default=default)
    with pytest.raises(AppError) as refused:
        table.hopping(10, 5, merge=merge)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ((True, True), (False, True), "now the app says size=10 s, step=2 s, offset=0 s, grace=0 s. Put that back"),
        ((False, True), (True, True), "kept='panes (merge=), given out (on_close)'. Put that back"),
        (
            (True, False),
            (True, True),
            "has windows of size=10 s, step=2 s, offset=0 s, grace=0 s, kept='panes (merge=)'",
        ),
        (
            (True, True),
            (True, False),
            "now the app says size=10 s, step=2 s, offset=0 s, grace=0 s, kept='panes (merge=)'",
        ),
        ((True, True), (True, True), None),
    ],
)
def test_rows_that_are_there_are_not_read_in_another_form(
    before: tuple[bool, bool], after: tuple[bool, bool], says: str | None
) -> None:
    """With merge= and without, with on_close and without: refused at the start, with what to do."""
    old, _ = make_app(Shape(is_given_out=before[1]), merges=before[0])
    new, counts = make_app(Shape(is_given_out=after[1]), merges=after[0])
    with Driver(old) as first, Driver(new) as second:
        first.send("events", key="a", value=1, timestamp=3)
        second.logs.logs.update(first.logs.logs)
        second.worker.committed.update(first.worker.committed)
        if says is None:
            second.crash(lose_stores=True)
            assert dict(counts.items()) == {("a", (0.0, 10.0)): 1, ("a", (2.0, 12.0)): 1}
            return
        with pytest.raises(StateIncompatible) as refused:
            second.crash(lose_stores=True)
        assert says in str(refused.value)


def test_what_would_need_windows_of_their_own_is_refused() -> None:
    """Setting and deleting, which would be of windows that others share."""
    _, counts = make_app(Shape(), merges=True)
    with pytest.raises(TypeError, match=r"add to it with \+="):
        counts["a"] = 3
    with pytest.raises(TypeError, match="leave merge= out"):
        del counts["a"]


def test_windows_are_read_from_outside(drive: Any) -> None:
    """By `streamcluster table NAME KEY --window`: open ones, and those that are over and kept, as the app has them."""
    app, counts = make_app(Shape(10, 2, expires=6), merges=True)
    driver = drive(app)
    for at in (1, 7, 9, 12, 14, 8):
        driver.send("events", key="a", value=1, timestamp=at)
    assert dict(counts.items()) == read_outside(driver, "counts", [(start, start + 10) for start in range(-10, 20)])


def test_windows_are_listed_from_outside(drive: Any) -> None:
    """By `streamcluster table NAME`, page by page: those that are over and kept, and then the open ones of each key."""
    app, counts = make_app(Shape(10, 2, expires=6), merges=True)
    driver = drive(app)
    for key, at in [("b", 1), ("a", 7), ("a", 9), ("c", 12), ("a,[", 14), ("a", 8), ("b", 13)]:
        driver.send("events", key=key, value=at, timestamp=at)
    expected = dict(counts.items())
    assert len(expected) == 20
    for rows_max in (1, 3, 7, 100):
        found, after = [], None
        while True:
            question = ReadTable(request=1, table="counts", rows_max=rows_max, after=after)
            rows, after = driver.run(ask(driver, question, "rows", "after"))
            assert len(rows) <= rows_max
            found += [(json.loads(key), int(value)) for key, value in rows]
            if after is None:
                break
        assert len(found) == len(expected)
        assert {(key, tuple(span)): value for (key, span), value in found} == expected


def read_outside(driver: Driver, table: str, spans: list[tuple[int, int]]) -> dict[Any, int]:
    """Of key a, what those windows hold that there are."""
    found: dict[Any, int] = {}
    for start, end in spans:
        question = ReadTable(request=1, table=table, key=f'["a", [{start}, {end}]]')
        for rows in driver.run(ask(driver, question, "rows")):
            found |= {("a", (float(start), float(end))): int(value) for _, value in rows}
    return found


async def ask(driver: Driver, question: ReadTable, *parts: str) -> list[Any]:
    """Those parts of the answer of a worker which has the driver's stores."""
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    engine, stores = driver.worker.engine, driver.worker._stores
    queries = Queries(engine.plan, engine.topology, driver.app.conf, answer.set_result, lambda *_: None)
    queries.ask(question, dict.fromkeys(stores, "running"), stores, None)
    try:
        found = await answer
        return [getattr(found, part) for part in parts]
    finally:
        queries.end()


# What is added up otherwise than merge= allows (docs/windows.md).
NOT_MERGED = {
    "hopping: late for some of its windows only": "a list has the order of the steps, not that of arrival",
    "random cogroups 66": "what it begins with is not neutral: it is there once for each part",
}
HOPPING = [
    case
    for case in PLAYED
    if any(node.get("window") == "hopping" for node in case["nodes"].values()) and case["id"] not in NOT_MERGED
]


@pytest.mark.parametrize("store", ["memory", "rocks"])
@pytest.mark.parametrize("case", HOPPING, ids=[case["id"] for case in HOPPING])
def test_case_with_merge(case: dict[str, Any], store: str, tmp_path: Path) -> None:
    """What is known of hopping windows is so of those that are merged."""
    play = Play(case, make_rocks(tmp_path) if store == "rocks" else None, merges=True)
    with play.driver:
        assert play.play() == []
