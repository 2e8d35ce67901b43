"""deduplicate: random events against a slow model, with crashes; what stays, where it may stand, what it refuses."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcluster import App, Record, Stream
from streamcluster.batch import KafkaRecord
from streamcluster.errors import AppError, NotOffered
from streamcluster.ids import TP
from streamcluster.testing import Driver

from .stores import make_rocks

WITHIN = 100
Event = tuple[str | None, str | None, int]


class Order(Record):
    """id: None is no id."""

    id: str | None
    number: int


def deduplicating(is_over: Callable[[], bool] = lambda: True, **options: Any) -> App:
    """An app that sends the numbers of what goes on to `firsts`. At an event without an id it waits until is_over."""
    app = App("deduplicating", max_ahead=None, **options)
    orders = app.topic("orders", key_type=str, value_type=Order, partitions=1)
    firsts = app.topic("firsts", key_type=str, value_type=int, partitions=1)

    @app.agent(orders, name="forward")
    async def forward(stream: Stream[Order]) -> None:
        async for order in stream.deduplicate(by=Order.id, within=WITHIN / 1000):
            while order.id is None and not is_over():  # noqa: ASYNC110 (the moment itself is wanted)
                await asyncio.sleep(0)
            await firsts.send(value=order.number)

    return app


def gone_on(driver: Driver) -> list[int]:
    """The numbers of what went on."""
    assert not driver.dead_letters()
    return [one.value for one in driver.output("firsts")]


def rows_of(driver: Driver) -> dict[bytes, bytes]:
    """What the changelog has of what was seen."""
    rows: dict[bytes, bytes | None] = {}
    for tp, log in driver.logs.logs.items():
        if tp.topic.endswith("forward-deduplicate-changelog"):
            rows |= {record.key or b"": record.value for record in log}
    return {key: value for key, value in rows.items() if value is not None}


def by_model(events: list[Event]) -> list[int]:
    """The rule of Kafka's KIP-655, slowly."""
    first: dict[Any, int] = {}
    now, found = 0, []
    for number, (key, name, time) in enumerate(events):
        now = max(now, time)
        then = first.get((key, name))
        if key is not None and name is not None and then is not None and now - then <= WITHIN >= then - time:
            continue
        found.append(number)
        if time >= now - WITHIN:
            first[key, name] = time
    return found


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["k", "l", None]), st.sampled_from(["a", "b", None]), st.integers(1, 600)),
        max_size=25,
    ),
    st.sets(st.integers(0, 24)),
    st.sets(st.integers(0, 24)),
)
def test_random_events_are_those_of_the_model(events: list[Event], uncommitted: set[int], crashes: set[int]) -> None:
    """The same go on, each once, wherever commits, crashes and lost stores fall; what is over is deleted."""
    with Driver(deduplicating()) as driver:
        for number, (key, name, time) in enumerate(events):
            order = Order(id=name, number=number)
            driver.send("orders", key=key, value=order, timestamp=time / 1000, commit=number not in uncommitted)
            if number in crashes:
                driver.crash(lose_stores=number % 2 == 0)
        driver.advance(0)
        assert gone_on(driver) == by_model(events)
        driver.send("orders", key=None, value=Order(id=None, number=99), timestamp=10)
        assert rows_of(driver) == {}


@pytest.mark.parametrize("store", ["memory", "rocks"])
def test_what_is_seen_again_later_is_kept_longer(store: str, tmp_path: Path) -> None:
    """A row that is due in the commit in which it is written again stays, and a crash changes nothing."""
    app = deduplicating()
    with Driver(app, make_store=make_rocks(tmp_path)(app) if store == "rocks" else None) as driver:
        for number, (name, time) in enumerate([("a", 1000), ("x", 1101), ("a", 1102), ("x", 1500)]):
            driver.send("orders", key="k", value=Order(id=name, number=number), timestamp=time / 1000, commit=False)
            if number == 2:
                driver.advance(0)
                driver.crash()
                # A duplicate of the second "a", not of the first one.
                driver.send("orders", key="k", value=Order(id="a", number=9), timestamp=1.202)
        driver.advance(0)
        assert gone_on(driver) == [0, 1, 2, 3]
        assert len(rows_of(driver)) == 1


def test_while_time_lags_each_event_counts() -> None:
    """Events whose times are far apart all count, as long as something before them may still come."""
    with Driver(deduplicating(max_out_of_orderness=10)) as driver:
        for number, time in enumerate([5000, 5500, 5050, 5450, 5200, 5499]):
            driver.send("orders", key="k", value=Order(id="a", number=number), timestamp=time / 1000)
        assert gone_on(driver) == [0, 1, 4]


def test_by_key_over_a_group_by_and_two_streams() -> None:
    """Without `by` the key is the id; streams that are combined before it share what was seen, two operators do not."""
    app = App("combined")
    web, shop = (app.topic(name, key_type=str, value_type=Order, partitions=2) for name in ("web", "shop"))
    firsts = app.topic("firsts", value_type=int, partitions=1)

    @app.agent(app.stream(web) & shop, name="forward")
    async def forward(stream: Stream[Order]) -> None:
        async for order in stream.group_by(Order.id).deduplicate(within=timedelta(hours=1)):
            await firsts.send(value=order.number)

    with Driver(app) as driver:
        for number, (topic, key) in enumerate([("web", "a"), ("shop", "b"), ("web", "b"), ("shop", "c")]):
            driver.send(topic, key=key, value=Order(id="o1", number=number), timestamp=100 + number)
        driver.send("web", key="c", value=Order(id="o2", number=7), timestamp=200)
        assert sorted(gone_on(driver)) == [0, 7]


def test_a_duplicate_finds_no_partner() -> None:
    """A deduplicated stream may be a side of a join."""
    app = App("joined")
    orders, payments = (app.topic(name, key_type=str, value_type=Order, partitions=1) for name in ("orders", "paid"))
    firsts = app.topic("firsts", value_type=int, partitions=1)

    @app.agent(orders, name="join")
    async def join(stream: Stream[Order]) -> None:
        unique = app.stream(payments).deduplicate(by=Order.id, within=60)
        async for order, paid in stream.deduplicate(by=Order.id, within=60).join(unique, within=10):
            await firsts.send(value=10 * order.number + paid.number)

    with Driver(app) as driver:
        for number, topic in enumerate(["orders", "paid", "orders", "paid", "paid"]):
            driver.send(topic, key="k", value=Order(id="o", number=number), timestamp=100 + number)
        assert gone_on(driver) == [1]


def test_where_it_cannot_stand_is_said() -> None:
    """At the start, with what to do instead."""
    app = App("refused")
    a = app.topic("a", key_type=str, partitions=1)

    @app.agent(a, name="read")
    async def read(stream: Stream[Any]) -> None:
        first = stream.deduplicate(within=1)
        async for _ in first.join(first, within=1):
            raise AssertionError

    with pytest.raises(NotOffered, match="once for each side"):
        Driver(app)
    app.agents.clear()
    wrongs: tuple[tuple[dict[str, Any], str], ...] = (
        ({"within": -1}, "no duration"),
        ({"by": "id", "within": 1}, "not a function"),
    )
    for arguments, message in wrongs:
        with pytest.raises(AppError, match=message):
            app.stream(a).deduplicate(**arguments)


def test_a_row_that_is_written_again_when_it_was_found_due_stays() -> None:
    """The agent writes it in the moment between the commit that makes it due and its closing."""

    def is_due() -> bool:
        times = driver.worker.engine.times.tasks.values()
        return any(operator.committed == 1101 for task in times for operator in task.operators.values())

    app = deduplicating(is_due)
    with Driver(app) as driver:
        log = driver.logs.logs.setdefault(TP("orders", 0), [])
        for number, (name, time) in enumerate([("a", 1000), ("x", 1101), (None, 1101), ("a", 1101), ("a", 1201)]):
            value = app.topics[0].coders.encode_value(Order(id=name, number=number))
            log.append(KafkaRecord(len(log), time, b"k", value, None))
            if number == 3:
                driver.run(driver.worker.process(commit=True))
        driver.run(driver.worker.process(commit=True))
        assert gone_on(driver) == [0, 1, 2, 3]


def test_the_program_of_the_page() -> None:
    """What docs/event-time.md shows."""
    page = (Path(__file__).parents[2] / "docs" / "event-time.md").read_text()
    program = re.search(r"<!-- deduplicate -->\n```python\n(.*?)```", page, re.DOTALL)
    assert program is not None

    class Sale(Record):
        id: str
        shop: str

    app = App("page")
    sales = app.topic("orders", key_type=str, value_type=Sale, partitions=1)
    unique = app.topic("unique", key_type=str, value_type=Sale, partitions=1)
    exec(program[1], {"app": app, "Order": Sale, "orders": sales, "unique_orders": unique})
    with Driver(app) as driver:
        for time, name in [(0, "a"), (3600, "a"), (3601, "b"), (3601, "a")]:
            driver.send("orders", key="s", value=Sale(id=name, shop="s"), timestamp=5 + time)
        assert [(one.key, one.value.id) for one in driver.output("unique")] == [("s", "a"), ("s", "b"), ("s", "a")]
