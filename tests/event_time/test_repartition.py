"""Event time behind group_by: each task that sends there says how far it is, and the slowest holds the time back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streamcluster import App, Record, Stream
from streamcluster.batch import Batch
from streamcluster.engine.event_time.marks import MARK_HEADER, ProducerMark, records_of, take_marks
from streamcluster.ids import TP
from streamcluster.output import Pairs
from streamcluster.testing import Driver

REPARTITION = "count-views-View.page-repartition"


class View(Record):
    """By page it is counted, and of a user it is."""

    page: str
    user: str = ""


def make_app(idle: float | None = None, group: Callable[[Stream[View]], Any] | None = None) -> App:
    """Counts views of ten seconds by page."""
    app = App("views", max_ahead=None)
    views = app.topic("views", value_type=View, idle_timeout=idle)
    totals = app.topic("totals", key_type=str, value_type=list[int], partitions=1)
    counts = app.Table("counts", key_type=str, default=int).tumbling(10, grace=0)

    async def count(stream: Stream[View]) -> None:
        async for view in stream.group_by(View.page) if group is None else group(stream):
            counts[view.page] += 1

    app.agent(views, name="count")(count)

    @counts.on_close
    async def closed(page: str, window: Any, count: int) -> None:
        await totals.send(key=page, value=[round(window.start), count])

    return app


def view(driver: Driver, partition: int, *times: float, page: str = "home") -> None:
    """Views from one task."""
    for at in times:
        driver.send("views", value=View(page), partition=partition, timestamp=at)


def totals(driver: Driver) -> list[list[int]]:
    """What was closed, in order."""
    return [one.value for one in driver.output("totals")]


def late(driver: Driver) -> int:
    """Events that were late."""
    return sum(time.operators["counts"].late_total for time in driver.worker.engine.times.tasks.values())


def said(driver: Driver, task: str) -> list[str]:
    """What status says of the time of the counts in a task."""
    times = {str(task): time for task, time in driver.worker.engine.times.tasks.items()}
    return [line for line in times[task].said() if line.startswith("event time of counts")]


def test_the_slow_task_holds_time_back_and_status_names_it() -> None:
    """One task is a minute ahead of the other: what that sends is not late, and comes out when both are beyond it."""
    with Driver(make_app(idle=30), partitions=2) as driver:
        view(driver, 0, *range(0, 60, 5))
        assert totals(driver) == []
        assert "task 2_1, which writes it, has not said yet how far it is" in said(driver, "2_0")[0]
        view(driver, 1, *range(0, 35, 5))
        assert totals(driver) == [[0, 4], [10, 4], [20, 4]]
        assert "where task 2_1, which writes it, is at 1970-01-01T00:00:30" in said(driver, "2_0")[0]
        assert late(driver) == 0
        # It says that it is idle, so nobody waits for it any more.
        driver.advance(31)
        assert totals(driver)[3:] == [[30, 3], [40, 2]]
        assert "at their ends" in said(driver, "2_0")[0]
        # When it comes back it counts again once it has caught up.
        view(driver, 1, 31)
        assert late(driver) == 1
        # Nobody else has records, so time stands still: it does not wait for what this one sends next.
        assert "one that was left out has caught up: count-views" in said(driver, "2_0")[0]
        assert "where task 2_1, which writes it, is at 1970-01-01T00:00:31" in said(driver, "2_0")[0]
        view(driver, 0, 55)
        assert "it waits for" in said(driver, "2_0")[0]
        assert "where task 2_0, which writes it, is at 1970-01-01T00:00:55" in said(driver, "2_0")[0]
        view(driver, 1, 56)
        view(driver, 0, 80)
        assert totals(driver)[5:] == []
        view(driver, 1, 57, 70)
        assert totals(driver)[5:] == [[50, 5]]
        assert late(driver) == 1


@pytest.mark.parametrize("lose_stores", [False, True])
def test_time_comes_back_with_what_each_task_has_said(*, lose_stores: bool) -> None:
    """After a crash the slow task is waited for as before, and what was not committed comes again."""
    with Driver(make_app(idle=30), partitions=2) as driver:
        view(driver, 0, 0, 12, 40)
        view(driver, 1, 0, 15)
        assert totals(driver) == [[0, 2]]
        driver.send("views", value=View("home"), partition=1, timestamp=25, commit=False)
        driver.crash(lose_stores=lose_stores)
        assert totals(driver) == [[0, 2], [10, 2]]
        view(driver, 0, 50)
        view(driver, 1, 24)
        assert (totals(driver), late(driver)) == ([[0, 2], [10, 2]], 0)
        driver.crash(lose_stores=lose_stores)
        view(driver, 1, 45)
        assert totals(driver)[2:] == [[20, 2]]


def test_what_fails_takes_its_time_back() -> None:
    """An agent that fails behind the group_by is tried again: marks that were read then are read again."""
    app = make_app(idle=30)
    failed: list[str] = []
    events = app.topic("events", value_type=View, idle_timeout=30)
    late_ones = app.Table("sums", key_type=str, default=int).tumbling(10, grace=0)

    @app.agent(events)
    async def add(stream: Stream[View]) -> None:
        async for event in stream.group_by(View.page):
            late_ones[event.page] += 1
            if event.user not in failed:
                failed.append(event.user)
                raise ValueError(event.user)

    with Driver(app, partitions=2) as driver:
        for at, partition in ((0, 0), (25, 0), (5, 1), (25, 1)):
            driver.send("events", value=View("home", f"{at}"), partition=partition, timestamp=at)
            driver.advance(1)
        rows = {(key, window.start): value for (key, window), value in driver.table("sums").items()}
        assert rows == {("home", 20): 2}
        assert failed == ["0", "25", "5"]


def test_a_quiet_topic_closes_its_windows_behind_a_group_by_too() -> None:
    """All tasks are idle behind live data: time runs on with the clock, a minute after the last record."""
    with Driver(make_app(), partitions=2) as driver:
        view(driver, 0, 1000)
        view(driver, 1, 1001)
        driver.advance(58)
        assert totals(driver) == []
        driver.advance(5)
        assert totals(driver) == [[1000, 2]]


def test_time_travels_through_two_group_bys_and_combined_streams() -> None:
    """Each repartition topic has its own producers."""
    app = App("views", max_ahead=None)
    views = app.topic("views", value_type=View, idle_timeout=30)
    more = app.stream(app.topic("more", value_type=View, idle_timeout=30))
    counts = app.Table("counts", key_type=str, default=int).tumbling(10, grace=0)
    totals_topic = app.topic("totals", key_type=str, value_type=list[int], partitions=1)

    @app.agent(views)
    async def count(stream: Stream[View]) -> None:
        async for one in (stream & more).group_by(View.user).group_by(View.page):
            counts[one.page] += 1

    @counts.on_close
    async def closed(page: str, window: Any, count: int) -> None:
        await totals_topic.send(key=page, value=[round(window.start), count])

    with Driver(app, partitions=2) as driver:
        for topic, partition, at in [("views", 0, 25), ("views", 1, 28), ("more", 0, 31), ("views", 0, 45)]:
            driver.send(topic, value=View("home", str(at)), partition=partition, timestamp=at)
        assert totals(driver) == []
        driver.send("more", value=View("home"), partition=1, timestamp=3)
        driver.send("more", value=View("home"), partition=1, timestamp=20)
        assert totals(driver) == [[0, 1]]
        assert late(driver) == 0


def test_who_knows_moves_time_behind_a_group_by_too() -> None:
    """driver.time: no earlier record is to come, of any partition."""
    with Driver(make_app(), partitions=2) as driver:
        view(driver, 0, 5)
        driver.time(30)
        assert totals(driver) == [[0, 1]]


def test_an_app_without_windows_sends_no_marks() -> None:
    """Neither has it a table for the time of its tasks."""
    app = App("plain")
    counts = app.Table("counts", key_type=str, default=int)

    @app.agent(app.topic("views", value_type=View), name="count")
    async def count(stream: Stream[View]) -> None:
        async for one in stream.group_by(View.page):
            counts[one.page] += 1

    with Driver(app, partitions=2) as driver:
        view(driver, 0, 1, 2, 3)
        assert len(driver.output(REPARTITION)) == 3
        assert [table.name for table in driver.topology.tables] == ["counts"]


def test_nothing_is_put_into_a_topic_of_somebody_else() -> None:
    """`through` names a topic that others may read: time behind it goes by its records, as in any topic."""
    app = App("through", max_ahead=None)
    views = app.topic("views", value_type=View)
    beside = app.topic("beside", value_type=View, partitions=2)
    counts = app.Table("counts", key_type=str, default=int).tumbling(10)

    @app.agent(views)
    async def count(stream: Stream[View]) -> None:
        async for one in stream.through(beside):
            counts[one.page] += 1

    with Driver(app, partitions=2) as driver:
        view(driver, 0, 1, 2, 3)
        assert len(driver.output("beside")) == 3


def page_of(value: View | None) -> str | None:
    """Of a mark that came through there would be none."""
    return None if value is None else value.page


def test_marks_that_are_left_come_to_no_agent() -> None:
    """An app that had windows behind its group_by, and has none now."""
    with Driver(make_app(), partitions=2) as driver:
        view(driver, 0, 1, 2)
        left = driver.worker.logs.logs
    seen: list[Any] = []
    app = App("views")

    @app.agent(app.topic("views", value_type=View), name="count")
    async def count(stream: Stream[View]) -> None:
        async for key, value in stream.group_by(View.page).items():
            seen.append((key, page_of(value)))

    with Driver(app, partitions=2) as driver:
        for tp, records in left.items():
            for one in records if tp.topic == REPARTITION else ():
                message = {"key": one.key, "value": one.value, "partition": tp.partition, "headers": one.headers}
                driver.worker.logs.append(REPARTITION, message, 0.0)
        driver.run(driver.worker.process(commit=True))
        assert seen == [("home", "home")] * 2
        ends = {tp: len(records) for tp, records in driver.worker.logs.logs.items() if tp.topic == REPARTITION}
        assert {tp: at for tp, at in driver.positions().items() if tp.topic == REPARTITION} == ends


@pytest.mark.parametrize(
    "headers",
    [[(MARK_HEADER, b"{")], [(MARK_HEADER, None)], [("other", b'["2_0",5,null]')], "cannot be read", None, []],
)
def test_what_is_no_mark_stays_a_record(headers: Pairs | str | None) -> None:
    """Whatever somebody else writes there."""
    batch = Batch(TP("r", 0), [5], [0], [None], [None], [headers])
    assert take_marks(batch) == (batch, [])


def test_marks_are_taken_out_of_the_records_around_them() -> None:
    """And what is left has the headers that it had."""
    columns = records_of(ProducerMark("2_0", 7, 0), 2)
    assert columns.partitions == [0, 1]
    assert columns.headers is not None
    mark = columns.headers[0]
    batch = Batch(TP("r", 0), [1, 3, 4], [0, 0, 0], [None, b"k", None], [None, b"v", None], [mark, None, mark])
    kept, marks = take_marks(batch)
    assert [(index, one.time) for index, one in marks] == [(0, 7), (2, 7)]
    assert (list(kept.offsets), list(kept.values), kept.headers) == ([3], [b"v"], None)
    # With a value it is a record, whatever its header says.
    batch.values = [None, b"v", b"w"]
    assert len(take_marks(batch)[0]) == 2
