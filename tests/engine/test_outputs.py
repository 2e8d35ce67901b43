"""Output as columns: the same records in the same order as a list of them has, whatever way they came."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcluster import App, Stream
from streamcluster.engine.intake import SINGLE_EVENTS
from streamcluster.engine.outbox import Outbox, Outputs, merge
from streamcluster.output import OutputColumns, OutputRecord
from streamcluster.testing import Driver
from tests.columns import columns_of

SOME = st.binary(max_size=3)
HEADERS = st.sampled_from([None, None, None, [("h", b"v")]])
RECORDS = st.tuples(st.none() | SOME, st.none() | SOME, st.sampled_from([-1, -1, -1, 0, 3]), st.integers(0, 9), HEADERS)


@given(st.lists(st.tuples(st.sampled_from(["append", "add", "merge", "settle"]), st.lists(RECORDS, max_size=4))))
def test_columns_are_a_list_of_records(steps: list[tuple[str, list[OutputRecord]]]) -> None:
    """The twin is a list: one by one, common ones, whole columns, and from one outbox into another."""
    hand, task = Outbox(10**6, lambda: None), Outbox(10**6, lambda: None)
    twin_hand: list[OutputRecord] = []
    twin_task: list[OutputRecord] = []
    for way, records in steps:
        if way == "append":
            for record in records:
                hand.append("out", record)
            twin_hand += records
        elif way == "add":
            for key, value, _, timestamp, _ in records:
                hand.add("out", key, value, timestamp)
                twin_hand.append((key, value, -1, timestamp, None))
        elif way == "merge":
            hand.extend("out", columns_of(records))
            twin_hand += records
        else:
            merge(task.topics, hand.swap())
            twin_task, twin_hand = twin_task + twin_hand, []
    assert hand.count() == len(twin_hand)
    for outbox, twin in ((hand, twin_hand), (task, twin_task)):
        columns = outbox.swap().get("out", OutputColumns())
        assert [*columns.records()] == twin
        assert [*columns.part(1, 3).records()] == twin[1:3]


def test_merging_leaves_what_is_merged_as_it_was() -> None:
    """The driver keeps copies; a second merge of the same columns adds the same records."""
    one = columns_of([(b"k", b"v", 2, 5, [("h", b"")])])
    into: Outputs = {"out": columns_of([(None, None, -1, 0, None)])}
    for _ in range(2):
        merge(into, {"out": one})
    records = [(None, None, -1, 0, None), *[(b"k", b"v", 2, 5, [("h", b"")])] * 2]
    assert [*into["out"].records()] == records
    assert len(one) == 1


def feed(driver: Driver, numbers: range) -> None:
    """Numbers in one batch, each of its own second; enough of them before to be handed out in long runs."""
    for number in [*[0] * SINGLE_EVENTS, *numbers]:
        record = {"key": None, "value": b"%d" % number, "timestamp": 1000 * number + 1}
        driver.logs.append("numbers", record, 0.0)
    driver.advance(0.0)


def test_a_value_is_sent_as_it_was_when_it_was_yielded() -> None:
    """An agent may change it afterwards, and yield it again; each record has the time of its own event."""
    app = App("shop")
    numbers, out = app.topic("numbers", value_type=int), app.topic("out", partitions=1)

    @app.agent(numbers, sink=[out])
    async def running(stream: Stream[int]) -> AsyncIterator[object]:
        seen: list[int] = []
        async for number in stream:
            if number:
                seen.append(number)
                yield {"seen": seen}
                if number == 2:
                    await out.send(value="between")
                    yield {"again": number}
                seen.append(-number)

    with Driver(app) as driver:
        feed(driver, range(1, 4))
        found = [(output.value, output.timestamp) for output in driver.output(out)]
        assert found == [
            ({"seen": [1]}, 1.001),
            ({"seen": [1, -1, 2]}, 2.001),
            ("between", 2.001),
            ({"again": 2}, 2.001),
            ({"seen": [1, -1, 2, -2, 3]}, 3.001),
        ]


@pytest.mark.parametrize("bad", [object(), "x" * 2_000_000], ids=["not encodable", "too large"])
def test_what_a_sink_does_not_take_fails_its_own_event(bad: object) -> None:
    """In the middle of a run, behind events whose values are sent, and before others that are."""
    app = App("shop")
    numbers, out = app.topic("numbers", value_type=int), app.topic("out", partitions=1)

    @app.agent(numbers, sink=[out])
    async def chosen(stream: Stream[int]) -> AsyncIterator[object]:
        async for number in stream:
            if number:
                yield bad if number == 3 else number

    with Driver(app) as driver:
        feed(driver, range(1, 6))
        assert [output.value for output in driver.output(out)] == [1, 2, 4, 5]
        assert [letter.value for letter in driver.dead_letters()] == [b"3"]
