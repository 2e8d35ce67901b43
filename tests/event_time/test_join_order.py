"""Two inputs of a join, which are read in steps of time: what comes out depends on the logs alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from streamcluster import App, Stream
from streamcluster.batch import Batch
from streamcluster.stream_joins import rows as join_rows
from streamcluster.testing import Driver
from streamcluster.testing.brokers import SimulatedReads

Sent = tuple[Any, tuple[int | None, int | None], int]


def in_pieces(count: int) -> Callable[[SimulatedReads, Callable[[int], int]], list[Batch]]:
    """How a consumer polls that gets so few records of a partition at once."""
    poll_all = SimulatedReads.poll

    def poll(reads: SimulatedReads, room: Callable[[int], int]) -> list[Batch]:
        found: list[Batch] = []
        kept = reads.positions
        for tp, position in kept.items():
            whole = reads._logs.logs.get(tp, [])
            reads._logs.logs[tp] = whole[: position + count]
            reads.positions = {tp: position}
            found += poll_all(reads, room)
            kept[tp], reads._logs.logs[tp] = reads.positions[tp], whole
            if kept[tp] < len(whole):
                # There is more.
                reads.ended.pop(tp, None)
        reads.positions = kept
        return found

    return poll


def outer_join() -> App:
    """Pairs within 2 s, and what has none a second later."""
    app = App("ordered")
    left, right = (app.topic(side, key_type=str, value_type=int, partitions=1) for side in ("left", "right"))
    pairs = app.topic("pairs", key_type=str, value_type=list, partitions=1)

    @app.agent(left)
    async def join(stream: Stream[int]) -> None:
        async for event in stream.outer_join(right, within=2, grace=1).events():
            await pairs.send(key=event.key, value=[*event.value])

    return app


def sent(seed: int, played: Callable[[Driver], None]) -> list[Sent]:
    """What comes out of two logs that are there from the start, some of whose records are late."""
    chosen = random.Random(seed)
    with Driver(outer_join()) as driver:
        for number in range(400):
            at = number * 40 - chosen.choice([0, 0, 0, chosen.randint(0, 6000)]) + 10_000
            side, key = chosen.choice(["left", "right"]), chosen.choice("abcdefgh")
            message = {"key": key.encode(), "value": b"%d" % number, "timestamp": at, "partition": 0}
            driver.logs.append(side, message, driver.worker.time())
        played(driver)
        driver.advance(0)
        found = [(one.key, tuple(one.value), round(one.timestamp * 1000)) for one in driver.output("pairs")]
        assert not driver.dead_letters()
    return sorted(found, key=repr)


def at_once(driver: Driver) -> None:
    """Everything is read, and committed in the end."""
    driver.run(driver.worker.process(commit=True))


@pytest.mark.parametrize("seed", range(2))
def test_what_comes_out_does_not_depend_on_what_is_read_at_once(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of one record, of a hundred, and of all make the same pairs, and the same that have none."""
    expected = sent(seed, at_once)
    assert any(None in pair for _, pair, _ in expected)
    assert any(None not in pair for _, pair, _ in expected)
    for count in (1, 100):
        with monkeypatch.context() as patched:
            patched.setattr(SimulatedReads, "poll", in_pieces(count))
            assert sent(seed, at_once) == expected


@pytest.mark.parametrize("lose_stores", [False, True])
def test_what_comes_out_does_not_depend_on_commits(lose_stores: bool) -> None:
    """Nothing was committed at a crash: it is all done again, in the same order."""

    def crashed(driver: Driver) -> None:
        driver.run(driver.worker.process(commit=False))
        driver.crash(lose_stores=lose_stores)

    assert sent(7, crashed) == sent(7, at_once)


def test_more_rows_than_memory_knows_are_read_from_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are too many to know them all, none is missed."""
    expected = sent(8, at_once)
    monkeypatch.setattr(join_rows, "KNOWN_MAX", 5)
    assert sent(8, at_once) == expected


@pytest.mark.parametrize("crashes", [False, True])
def test_rows_that_have_met_are_never_written_once_no_partner_can_come(crashes: bool) -> None:
    """A commit that covers more time than rows live: the changelog has those that live on, and those that wait."""
    with Driver(outer_join(), start_time=1000) as driver:
        for number in range(2000):
            for side in ("left", "right")[: 1 if number % 100 == 99 else 2]:
                message = {"key": b"%d" % number, "value": b"1", "timestamp": 10_000 + 10 * number, "partition": 0}
                driver.logs.append(side, message, driver.worker.time())
        if crashes:
            driver.run(driver.worker.process(commit=False))
            driver.crash(lose_stores=True)
        at_once(driver)
        driver.time(100)
        assert len(driver.output("pairs")) == 2000
        assert sum(None in one.value for one in driver.output("pairs")) == 20
        (log,) = (log for tp, log in driver.logs.logs.items() if tp.topic.endswith("join-changelog"))
        rows = {record.key: record.value for record in log}
        # 3 s of 100 a second and side, and 20 that waited.
        assert len(rows) < 700
        assert set(rows.values()) == {None}


def test_rows_from_before_a_start_are_found_up_to_the_last_deadline() -> None:
    """Rows of several deadlines are there when the join starts: none of them is taken for closed before it is."""
    with Driver(outer_join()) as driver:
        for number, at in enumerate((10, 11)):
            driver.send("left", key="a", value=number, timestamp=at)
        driver.crash()
        # T is 13.5, beyond the first one's deadline.
        driver.send("left", key="b", value=2, timestamp=13.5)
        driver.send("right", key="a", value=3, timestamp=12)
        assert [0, None] in [one.value for one in driver.output("pairs")]
        assert [1, 3] in [one.value for one in driver.output("pairs")]


def test_a_row_that_is_over_in_the_commit_that_has_it_comes_out_with_that() -> None:
    """It was not late when it came, and time has passed it before anything was committed."""
    app = App("shop", max_ahead=None, close_idle_after=None)
    left, right = (app.topic(name, key_type=str, value_type=int, partitions=1) for name in ("left", "right"))
    out = app.topic("out", key_type=str, value_type=list, partitions=1)

    @app.agent(left, name="join")
    async def join(stream: Stream[int]) -> None:
        async for event in stream.left_join(right, before=0, after=0.01, grace=0.007).events():
            await out.send(key=event.key, value=[*event.value])

    with Driver(app) as driver:
        driver.send("left", key="a", value=1, timestamp=0.020)
        driver.send("left", key="a", value=2, timestamp=0.003, commit=False)
        driver.send("left", key="a", value=3, timestamp=0.021)
        assert [one.value for one in driver.output("out")] == [[2, None]]
