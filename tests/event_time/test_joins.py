"""Joins by event time: the facts that others' tests assert, and random events against a slow model, with crashes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcluster import App, Stream
from streamcluster.errors import AppError
from streamcluster.ids import TaskId
from streamcluster.stores import MemoryStore, TaskStore
from streamcluster.testing import Driver
from streamcluster.topology.declare import freeze
from streamcluster_worker.state.memory import Memory
from streamcluster_worker.state.rocks import RocksStore

MIB = 1024 * 1024


@pytest.fixture(params=["memory", "rocksdb"])
def drive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Drivers on the store under test."""
    drivers: list[Driver] = []

    def make(app: App) -> Driver:
        numbers = iter(range(1000))
        plan, _ = asyncio.run(freeze(app))
        indexes = {table.name: table.indexes for table in plan.tables}

        def make_store(_task: TaskId, tables: list[str]) -> TaskStore:
            if request.param == "memory":
                return MemoryStore(tables, indexes)
            path = tmp_path / f"{len(drivers)}-{next(numbers)}"
            return RocksStore.open(path, tables, Memory(MIB, MIB), indexes=indexes)

        driver = Driver(app, make_store=make_store)
        drivers.append(driver)
        return driver

    yield make
    for driver in drivers:
        driver.close()


LEFT, RIGHT = "left", "right"
Event = tuple[str, str, int]
Sent = tuple[str, tuple[int | None, int | None], int]


def joined_by_model(events: list[Event], before: int, after: int, grace: int, keeps: set[str]) -> list[Sent]:
    """Key, pair of numbers and time of all that comes out: slowly, and in no order that counts."""
    reach = {LEFT: after, RIGHT: before}
    kept: list[tuple[str, str, int, int]] = []
    matched: set[int] = set()
    found: list[Sent] = []
    now = 0
    for number, (side, key, time) in enumerate(events):
        now = max(now, time)
        partners = []
        for row in kept:
            left, right = (time, row[2]) if side == LEFT else (row[2], time)
            is_open = now <= row[2] + reach[row[0]] + grace
            if row[0] != side and row[1] == key and is_open and -before <= right - left <= after:
                partners.append(row)
        for _, _, then, other in partners:
            pair = (number, other) if side == LEFT else (other, number)
            found.append((key, pair, max(time, then)))
            matched |= {number, other}
        is_late = now > time + reach[side] + grace
        if not is_late:
            kept.append((side, key, time, number))
        elif not partners and side in keeps:
            found.append((key, (number, None) if side == LEFT else (None, number), time))
    for side, key, time, number in kept:
        if side in keeps and number not in matched and now > time + reach[side] + grace:
            found.append((key, (number, None) if side == LEFT else (None, number), time))
    return found


def joining(how: str, before: int, after: int, grace: int) -> App:
    """An app of one join, which sends its pairs to `pairs`."""
    app = App("joining")
    left, right = (app.topic(side, key_type=str, value_type=int, partitions=1) for side in (LEFT, RIGHT))
    pairs = app.topic("pairs", key_type=str, value_type=list, partitions=1)
    late = app.topic("late", key_type=str, value_type=int, partitions=1)

    @app.agent(left, name="join")
    async def join(stream: Stream[int]) -> None:
        method = {
            "inner": stream.join,
            "left": stream.left_join,
            "right": stream.right_join,
            "outer": stream.outer_join,
        }[how]
        pairs_of_both = method(right, before=before / 1000, after=after / 1000, grace=grace / 1000, late=late)
        async for event in pairs_of_both.events():
            await pairs.send(key=event.key, value=[*event.value])

    return app


events_of_two = st.lists(
    st.tuples(st.sampled_from([LEFT, RIGHT]), st.sampled_from("ab"), st.integers(1, 60)), min_size=1, max_size=14
)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["inner", "left", "right", "outer"]),
    st.sampled_from([(0, 10), (5, 5), (10, 0), (0, 0), (-3, 10), (10, -3)]),
    st.sampled_from([0, 7]),
    events_of_two,
    st.sets(st.integers(0, 13)),
    st.sets(st.integers(0, 13)),
)
def test_random_events_make_the_pairs_of_the_model(
    how: str, bounds: tuple[int, int], grace: int, events: list[Event], uncommitted: set[int], crashes: set[int]
) -> None:
    """Each pair once, each unmatched event once or not at all, wherever commits and crashes fall.

    Of what is not committed at a crash, another order of the two topics decides who is late: that is tested by itself.
    """
    keeps = {"inner": set[str](), "left": {LEFT}, "right": {RIGHT}, "outer": {LEFT, RIGHT}}[how]
    with Driver(joining(how, *bounds, grace)) as driver:
        for number, (side, key, time) in enumerate(events):
            commit = number in crashes or number not in uncommitted
            driver.send(side, key=key, value=number, timestamp=time / 1000, commit=commit)
            if number in crashes:
                driver.crash(lose_stores=number % 2 == 0)
        driver.advance(0)
        found = [(one.key, tuple(one.value), round(one.timestamp * 1000)) for one in driver.output("pairs")]
        assert sorted(found, key=repr) == sorted(joined_by_model(events, *bounds, grace, keeps), key=repr)
        assert not driver.dead_letters()


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([(0, 10), (5, 5), (-3, 10)]),
    events_of_two,
    st.sets(st.integers(0, 13)),
    st.sets(st.integers(0, 13)),
)
def test_no_event_is_alone_and_matched_whatever_a_crash_takes_back(
    bounds: tuple[int, int], events: list[Event], uncommitted: set[int], crashes: set[int]
) -> None:
    """Each pair is one, and comes once; each event is in a pair or alone, at most once."""
    before, after = bounds
    with Driver(joining("outer", before, after, 7)) as driver:
        for number, (side, key, time) in enumerate(events):
            driver.send(side, key=key, value=number, timestamp=time / 1000, commit=number not in uncommitted)
            if number in crashes:
                driver.crash(lose_stores=number % 2 == 0)
        for side in (LEFT, RIGHT):
            driver.send(side, key="end", value=-1, timestamp=10)
        found = [tuple(one.value) for one in driver.output("pairs")]
        pairs = [pair for pair in found if None not in pair and -1 not in pair]
        alone = [number for pair in found if None in pair for number in pair if number is not None]
        assert len(set(pairs)) == len(pairs)
        for left, right in pairs:
            assert (events[left][0], events[right][0], events[left][1]) == (LEFT, RIGHT, events[right][1])
            assert -before <= events[right][2] - events[left][2] <= after
        matched = {number for pair in pairs for number in pair}
        assert sorted([*matched, *alone]) == [*range(len(events))]
        assert not driver.dead_letters()


def test_a_stream_is_joined_with_itself(drive: Any) -> None:
    """Each event with itself, each pair in both directions."""
    app = App("self")
    numbers = app.topic("numbers", key_type=str, value_type=int)
    pairs = app.topic("pairs", value_type=list, partitions=1)

    @app.agent(numbers, name="join")
    async def join(stream: Stream[int]) -> None:
        async for pair in stream.join(stream, within=5):
            await pairs.send(value=[*pair])

    driver = drive(app)
    for value in (1, 2):
        driver.send("numbers", key="k", value=value, timestamp=value)
    assert sorted(one.value for one in driver.output("pairs")) == [[1, 1], [1, 2], [2, 1], [2, 2]]


def test_operators_and_repartitions_stand_before_and_behind_a_join(drive: Any) -> None:
    """Values that a processor made are kept as it made them; both sides come by their new keys."""
    app = App("operators")
    orders, payments = app.topic("orders", value_type=dict), app.topic("payments", value_type=dict)
    texts = app.topic("texts", value_type=str, partitions=1)

    async def amount(payment: dict[str, Any]) -> tuple[int, str]:
        return payment["amount"], "paid"

    paid = app.stream(payments).group_by(lambda payment: payment["order"], name="order")
    paid.add_processor(amount)

    @app.agent(orders, name="join")
    async def join(stream: Stream[dict[str, Any]]) -> None:
        joined = stream.group_by(lambda order: order["id"], name="id").left_join(paid, before=0, after=10, grace=0)
        async for order, payment in joined.filter(lambda pair: pair[0]["id"] != 3):
            await texts.send(value=f"{order['id']}: {payment}")

    driver = drive(app)
    for number in (1, 2, 3):
        driver.send("orders", value={"id": number}, timestamp=number)
    driver.send("payments", value={"order": 2, "amount": 7}, timestamp=5)
    driver.send("payments", value={"order": 9, "amount": 7}, timestamp=30)
    driver.send("orders", value={"id": 9}, timestamp=30)
    assert [one.value for one in driver.output("texts")] == ["2: (7, 'paid')", "1: None", "9: (7, 'paid')"]


def test_an_unmatched_event_that_fails_goes_to_the_dead_letters_once(drive: Any) -> None:
    """Its row is gone then, and others come out all the same."""
    app = App("failing")
    left, right = (app.topic(side, key_type=str, value_type=int) for side in (LEFT, RIGHT))
    out = app.topic("out", value_type=int, partitions=1)

    @app.agent(left, name="join", on_error="dead_letter")
    async def join(stream: Stream[int]) -> None:
        async for number, _ in stream.left_join(right, before=0, after=1, grace=0):
            if number == 2:
                raise ValueError(number)
            await out.send(value=number)

    driver = drive(app)
    for number in (1, 2, 3):
        driver.send(LEFT, key="k", value=number, timestamp=number)
    driver.send(LEFT, key="k", value=9, timestamp=100)
    driver.crash(lose_stores=True)
    driver.advance(10)
    assert [one.value for one in driver.output("out")] == [1, 3]
    [letter] = driver.dead_letters()
    # It is the record that was sent, not the row in which it waited.
    assert (letter.key, letter.value) == (b"k", b"2")
    where = [letter.headers[f"dead-letter-{name}"] for name in ("topic", "partition", "offset", "timestamp")]
    assert where == [LEFT.encode(), b"0", b"1", b"2000"]


def test_rows_are_deleted_when_no_partner_can_come(drive: Any) -> None:
    """Also those that have met one, and of inner joins."""
    driver = drive(joining("inner", 5, 5, 0))
    for time in range(1, 200):
        driver.send((LEFT, RIGHT)[time % 2], key="k", value=time, timestamp=time / 1000)
    (log,) = (log for tp, log in driver.logs.logs.items() if tp.topic.endswith("join-join-changelog"))
    rows = {record.key: record.value for record in log}
    assert len(rows) == 199
    assert sum(value is not None for value in rows.values()) <= 7


@pytest.mark.parametrize("how", ["inner", "outer"])
def test_late_events_go_to_their_topic_and_meet_who_is_there(drive: Any, how: str) -> None:
    """An event that comes after its deadline: it is not kept, counted, and sent on with what it was too late for."""
    driver = drive(joining(how, 2000, 2000, 1000))
    driver.send(RIGHT, key="k", value=1, timestamp=104)
    for side in (LEFT, RIGHT):
        driver.send(side, key="end", value=2, timestamp=106)
    driver.send(LEFT, key="k", value=3, timestamp=102.5, headers={"of": b"mine"})
    driver.send(LEFT, key="k", value=4, timestamp=103.5)
    driver.send(RIGHT, key="k", value=5, timestamp=102.5)
    late = driver.output("late")
    assert [(one.key, one.value, one.timestamp) for one in late] == [("k", 3, 102.5), ("k", 5, 102.5)]
    headers = dict(late[0].headers)
    told = {"late-table": b"join-join", "late-time": b"106.0", "late-by": b"0.5", "late-timestamp": b"102.5"}
    assert headers == {"of": b"mine", **told}
    # Each met who was there; the second is not late.
    assert [one.value for one in driver.output("pairs")] == [[2, 2], [3, 1], [4, 1], [4, 5]]


def test_who_was_late_is_counted_through_a_crash() -> None:
    """Also where nothing else has changed: of two with one timestamp the second moves nothing."""
    with Driver(joining("left", 0, 0, 0)) as driver:
        for at in (12, 6, 6):
            driver.send(LEFT, key="a", value=1, timestamp=at / 1000)
        driver.crash()
        assert late_totals(driver) == [2]


def late_totals(driver: Driver) -> list[int]:
    """Events that were late, of each operator by time."""
    (time,) = driver.worker.engine.times.tasks.values()
    return [operator.late_total for operator in time.operators.values()]


@pytest.mark.parametrize("how", ["inner", "outer"])
def test_an_event_in_time_is_not_late_where_all_of_its_partners_are_older(how: str) -> None:
    """Its deadline is before its own time then; what comes when the first of them may be gone is late."""
    with Driver(joining(how, -2000, 6000, 1000)) as driver:
        for second in range(100, 120):
            driver.send(LEFT, key="k", value=second, timestamp=second)
            driver.send(RIGHT, key="k", value=second, timestamp=second)
        assert (late_totals(driver), driver.output("late")) == ([0], [])
        driver.send(RIGHT, key="k", value=1, timestamp=117.999)
        assert late_totals(driver) == [1]
        (late,) = driver.output("late")
        assert (late.value, late.headers["late-by"]) == (1, b"0.001")


@pytest.mark.parametrize("within", [1000, 60_000])
def test_bounds_may_be_changed(drive: Any, within: int) -> None:
    """What waits goes by the new ones then: shorter or longer, it comes out once."""
    before = drive(joining("outer", 10_000, 10_000, 0))
    for number in (1, 2, 3):
        before.send(LEFT, key=str(number), value=number, timestamp=number)
    before.send(RIGHT, key="x", value=4, timestamp=12.5)
    assert [one.value for one in before.output("pairs")] == [[1, None], [2, None]]
    after = drive(joining("outer", within, within, 0))
    after.worker.logs.logs.update(before.worker.logs.logs)
    after.worker.committed.update(before.worker.committed)
    after.crash(lose_stores=True)
    after.send(RIGHT, key="3", value=5, timestamp=14)
    after.send(LEFT, key="x", value=6, timestamp=200)
    late = [[3, 5], [None, 4]] if within == 60_000 else [[3, None], [None, 4], [None, 5]]
    assert sorted((one.value for one in after.output("pairs")[2:]), key=repr) == sorted(late, key=repr)


def test_what_does_not_go_together_is_refused() -> None:
    """With what to do, where it is written or at the start."""
    app = App("refused")
    a, b = app.topic("a", key_type=str, partitions=2), app.topic("b", key_type=int, partitions=2)
    stream: Any = app.stream(a)
    wrongs: tuple[tuple[Callable[[], Any], str], ...] = (
        (lambda: stream.join(b), "say how far apart"),
        (lambda: stream.join(b, within=1, after=2), "within=, or before= and after="),
        (lambda: stream.join(b, before=-3, after=2), "nothing is between"),
        (lambda: stream.left_join(b, within=1), "how late an event may come"),
        (lambda: stream.outer_join(b, within=1, grace=-1), "negative"),
        (lambda: stream.join(b, within="5"), "is no duration"),
    )
    for wrong, message in wrongs:
        with pytest.raises(AppError, match=message):
            wrong()
    for joined, message in (
        (lambda stream: stream.join(b, within=1), "joins a.*raw.*with b.*int.*no key is ever the same"),
        (lambda stream: stream.join(app.topic("c", key_type=str, partitions=3), within=1), "'a' has 2.*'c' has 3"),
    ):
        refused = app
        refused.agents.clear()

        async def read(stream: Stream[Any], joined: Any = joined) -> None:
            async for _ in joined(stream):
                raise AssertionError

        app.agent(a, name="read")(read)
        with pytest.raises(AppError, match=message):
            Driver(app)
