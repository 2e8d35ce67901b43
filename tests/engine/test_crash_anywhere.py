"""The property that everything else serves: whatever crashes when, results are those of a fold that never crashes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcluster import App, Stream
from streamcluster.ids import TP
from streamcluster.testing import Driver
from streamcluster.topology.murmur2 import partition_for

PARTITIONS = 2
KEYS = ["a", "b", "c", "d"]
BAD = 13  # The plain agent fails at it.

SEND = st.tuples(st.just("send"), st.sampled_from(KEYS), st.integers(0, 20), st.booleans())
GARBAGE = st.tuples(st.just("garbage"), st.sampled_from(KEYS))
DISTURB = st.sampled_from([("crash",), ("lose_stores",), ("rebalance",), ("advance", 1.5)])
PROGRAMS = st.lists(st.one_of(SEND, SEND, SEND, SEND, GARBAGE, DISTURB), min_size=1, max_size=40)


@dataclass
class Fold:
    """What the app must come to, computed by a loop that knows nothing of streams."""

    sums: dict[str, int] = field(default_factory=dict)
    lists: dict[str, list[int]] = field(default_factory=dict)
    grouped: dict[str, int] = field(default_factory=dict)
    batched: list[int] = field(default_factory=lambda: [0] * PARTITIONS)
    outputs: list[list[tuple[str, int]]] = field(default_factory=lambda: [[] for _ in range(PARTITIONS)])
    letters: list[bytes] = field(default_factory=list)

    def send(self, key: str, value: int) -> None:
        """One event."""
        partition = partition_for(key.encode(), PARTITIONS)
        parity = str(value % 2)
        self.grouped[parity] = self.grouped.get(parity, 0) + value
        self.batched[partition] += value
        if value == BAD:
            self.letters.append(str(value).encode())
            return
        self.sums[key] = self.sums.get(key, 0) + value
        self.lists.setdefault(key, []).append(value)
        self.outputs[partition].append((key, self.sums[key]))


def make_app() -> App:
    """Agents that sum, collect in place, regroup and batch over one topic, and one of which fails at times."""
    # A cache for a few entries, so that those which are not committed stay beside others that come and go.
    app = App("fold", table_cache_bytes=1500)
    numbers = app.topic("numbers", key_type=str, value_type=int)
    out = app.topic("out", key_type=str, value_type=int, partitions=PARTITIONS)
    sums = app.Table("sums", default=int)
    lists = app.Table("lists", default=list)
    grouped = app.Table("grouped", default=int)
    batched = app.Table("batched", default=int)

    @app.agent(numbers, name="plain", concurrency=1)
    async def plain(stream: Stream[int]) -> None:
        async for key, value in stream.items():
            sums[key] += value
            lists[key].append(value)
            await out.send(key=key, value=sums[key])
            if value == BAD:
                raise ValueError("unlucky")

    @app.agent(numbers, name="regroup")
    async def regroup(stream: Stream[int]) -> None:
        async for key, value in stream.group_by(lambda value: str(value % 2), name="parity").items():
            grouped[key] += value

    @app.agent(numbers, name="batch", concurrency=2)
    async def batch(stream: Stream[int]) -> None:
        async for values in stream.take_events(3, within=1.0):
            for event in values:
                batched[str(event.message.partition)] += event.value

    return app


def play(driver: Driver, program: list[tuple[Any, ...]]) -> Fold:
    """Send and disturb; returns what must have come out."""
    fold = Fold()
    for step in program:
        match step:
            case ("send", key, value, commit):
                fold.send(key, value)
                driver.send("numbers", key=key, value=value, commit=commit)
            case ("garbage", key):
                fold.letters.append(b"garbage")
                driver.send("numbers", key=key, value=b"garbage", commit=False)
            case ("crash",):
                driver.crash()
            case ("lose_stores",):
                driver.crash(lose_stores=True)
            case ("rebalance",):
                driver.rebalance()
            case ("advance", seconds):
                driver.advance(seconds)
    driver.advance(5.0)
    return fold


def check(driver: Driver, fold: Fold) -> None:
    """Compare everything that was committed with the fold."""
    outputs: list[list[tuple[str, int]]] = [[] for _ in range(PARTITIONS)]
    for one in driver.output("out"):
        outputs[one.partition].append((one.key, one.value))
    assert outputs == fold.outputs
    assert driver.table("sums") == fold.sums
    assert driver.table("lists") == fold.lists
    assert driver.table("grouped") == fold.grouped
    assert driver.table("batched") == {str(p): total for p, total in enumerate(fold.batched) if _has(driver, p)}
    assert sorted(letter.value for letter in driver.dead_letters()) == sorted(fold.letters)
    logs = driver.logs.logs
    ends = {tp: len(logs.get(tp, ())) for tp in driver.positions()}
    assert driver.positions() == ends


def _has(driver: Driver, partition: int) -> bool:
    records = driver.logs.logs.get(TP("numbers", partition), ())
    return any(record.value != b"garbage" for record in records)


@settings(max_examples=60, derandomize=True)
@given(PROGRAMS)
def test_results_are_those_of_a_fold_whatever_happens(program: list[tuple[Any, ...]]) -> None:
    """Outputs per partition element by element, tables, dead letters and positions equal a fold; so does a rebuild."""
    with Driver(make_app(), partitions=PARTITIONS) as driver:
        fold = play(driver, program)
        check(driver, fold)
        driver.crash(lose_stores=True)
        check(driver, fold)


@pytest.mark.parametrize("seeded", ["lost output", "doubled output", "wrong table", "lost letter"])
def test_check_sees_what_it_is_there_for(seeded: str) -> None:
    """The comparison fails when a result is lost, doubled or wrong: it is no empty test."""
    with Driver(make_app(), partitions=PARTITIONS) as driver:
        fold = play(driver, [("send", "a", 1, True), ("send", "a", BAD, True), ("send", "b", 2, True)])
        check(driver, fold)
        if seeded == "lost output":
            fold.outputs[0].append(("a", 5))
        elif seeded == "doubled output":
            fold.outputs = [values[:-1] for values in fold.outputs]
        elif seeded == "wrong table":
            fold.sums["a"] += 1
        else:
            fold.letters.clear()
        with pytest.raises(AssertionError):
            check(driver, fold)
