"""ttl=: entries go so long after their last write by event time, however they are written, through crashes."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcluster import App, Stream
from streamcluster.batch import KafkaRecord
from streamcluster.engine.ports import Reads, Writes
from streamcluster.errors import AppError
from streamcluster.ids import TP
from streamcluster.testing import Driver
from streamcluster.testing.brokers import SimulatedReads, SimulatedWrites
from tests.engine.hostile import ScheduledWrites

TTL = 100
DOINGS = ("set", "append", "setdefault", "pop", "del", "read", "clear")


def expiring(is_over: Callable[[], bool] = lambda: True) -> App:
    """An app that does with lists in `tokens` what its events say. In the middle of `wait` it waits until is_over."""
    app = App("expiring", max_ahead=None)
    doings = app.topic("doings", key_type=str, value_type=str, partitions=1)
    tokens = app.Table("tokens", default=list, key_type=str, ttl=TTL / 1000)

    @app.agent(doings, name="do")
    async def do(stream: Stream[str]) -> None:
        async for key, doing in stream.items():
            match doing:
                case "set":
                    tokens[key] = [doing]
                case "append":
                    tokens[key].append(doing)
                case "setdefault":
                    tokens.setdefault(key, [doing])
                case "pop":
                    tokens.pop(key, None)
                case "del" if key in tokens:
                    del tokens[key]
                case "clear":
                    tokens.clear()
                case "wait":
                    held = tokens[key]
                    while not is_over():  # noqa: ASYNC110 (the moment itself is wanted)
                        await asyncio.sleep(0)
                    held.append(doing)
                case _:
                    tokens.get(key)

    return app


def changelog(driver: Driver, table: str) -> dict[bytes, bytes]:
    """The rows that a changelog has."""
    rows: dict[bytes, bytes | None] = {}
    for tp, log in driver.logs.logs.items():
        if tp.topic == f"expiring-{table}-changelog":
            rows |= {record.key or b"": record.value for record in log}
    return {key: value for key, value in rows.items() if value is not None}


class Model:
    """What is there, and when it was written."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[list[str], int]] = {}
        self.now = 0

    def do(self, key: str, doing: str, time: int) -> None:
        """An event, and then what is over is deleted."""
        self.now = max(self.now, time)
        before = self.entries.get(key, ([], 0))[0]
        if doing == "set" or (doing == "setdefault" and key not in self.entries):
            self.entries[key] = [doing], self.now
        elif doing == "append":
            self.entries[key] = [*before, doing], self.now
        elif doing in ("pop", "del"):
            self.entries.pop(key, None)
        elif doing == "clear":
            self.entries.clear()
        self.entries = {key: one for key, one in self.entries.items() if self.now - one[1] < TTL}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(DOINGS), st.integers(1, 400)), max_size=20),
    st.sets(st.integers(0, 19)),
)
def test_random_doings_leave_what_the_model_has(events: list[tuple[str, str, int]], crashes: set[int]) -> None:
    """After each commit, whatever crashes; the times of what is gone are gone too."""
    model = Model()
    with Driver(expiring()) as driver:
        for number, (key, doing, time) in enumerate(events):
            driver.send("doings", key=key, value=doing, timestamp=time / 1000)
            model.do(key, doing, time)
            assert driver.table("tokens") == {key: value for key, (value, _) in model.entries.items()}
            if number in crashes:
                driver.crash(lose_stores=number % 2 == 0)
        assert changelog(driver, "tokens").keys() == changelog(driver, "tokens-ttl").keys()
        assert len(changelog(driver, "tokens")) == len(model.entries)
        assert not driver.dead_letters()


def test_on_each_store(drive: Any) -> None:
    """A crash, a lost store, and thousands of entries at once."""
    driver = drive(expiring())
    for number in range(1500):
        driver.send("doings", key=str(number), value="append", timestamp=1, commit=number == 1499)
    driver.crash(lose_stores=True)
    driver.send("doings", key="3", value="append", timestamp=1.05)
    driver.crash()
    assert len(driver.table("tokens")) == 1500
    driver.send("doings", key="new", value="set", timestamp=1.1)
    assert driver.table("tokens") == {"3": ["append", "append"], "new": ["set"]}
    assert len(changelog(driver, "tokens")) == len(changelog(driver, "tokens-ttl")) == 2


def test_an_entry_that_is_written_when_it_was_found_due_stays() -> None:
    """The agent writes it in the moment between the commit that ends its time and its deletion."""

    def is_due() -> bool:
        (time,) = driver.worker.engine.times.tasks.values()
        return all(operator.committed == 1100 for operator in time.operators.values())

    app = expiring(is_due)
    with Driver(app) as driver:
        driver.send("doings", key="a", value="append", timestamp=1)
        log = driver.logs.logs[TP("doings", 0)]
        for key, doing in (("x", "set"), ("z", "wait"), ("a", "set")):
            coders = app.topics[0].coders
            log.append(KafkaRecord(len(log), 1100, coders.encode_key(key), coders.encode_value(doing), None))
        driver.run(driver.worker.process(commit=True))
        assert driver.table("tokens") == {"a": ["set"], "x": ["set"], "z": ["wait"]}
        driver.crash(lose_stores=True)
        driver.send("doings", key="y", value="set", timestamp=1.2)
        assert set(driver.table("tokens")) == {"y"}


def test_an_entry_whose_write_is_cut_before_its_end_is_handled_stays() -> None:
    """It is found due by its last write, and the cut of the next one comes in between: its time is no more the old one.

    So it is when a commit has just landed and the next one cannot wait.
    """
    app = expiring()
    with Driver(app) as driver:
        driver.send("doings", key="a", value="set", timestamp=1)
        worker = driver.worker
        commits: list[ScheduledWrites] = []

        def through(reads: SimulatedReads, writes: SimulatedWrites) -> tuple[Reads, Writes]:
            commits.append(ScheduledWrites(writes, random.Random(0)))
            # The first commits are played by hand.
            commits[-1].calm = len(commits) > 1
            return reads, commits[-1]

        def append(key: str, doing: str) -> None:
            log, coders = driver.logs.logs[TP("doings", 0)], app.topics[0].coders
            log.append(KafkaRecord(len(log), 1100, coders.encode_key(key), coders.encode_value(doing), None))

        async def play() -> None:
            worker.through = through
            await worker.stop()
            await worker.open()
            append("x", "set")
            while commits[0].waiting is None:
                worker.move_clock(1)
                await worker.pump.step()
            # The commit that ends the time of `a` is on its way, and `a` is written again.
            append("a", "append")
            await worker.pump.step()
            commits[0].play(0)
            worker.pump._urgent = True
            commits[0].calm = True
            await worker.process(commit=True)

        driver.run(play())
        assert driver.table("tokens") == {"a": ["set", "append"], "x": ["set"]}
        driver.crash(lose_stores=True)
        driver.send("doings", key="y", value="set", timestamp=1.2)
        assert set(driver.table("tokens")) == {"y"}


def test_entries_that_windows_write_when_they_are_over_go_by_the_time_of_these(drive: Any) -> None:
    """No agent names the table; also after a crash, before anything is over anew."""
    app = App("expiring", max_ahead=None)
    views = app.topic("views", key_type=str, value_type=int, partitions=1)
    counts = app.Table("counts", key_type=str, default=int).tumbling(10, grace=0)
    finals = app.Table("finals", ttl=100)

    @app.agent(views)
    async def count(stream: Stream[int]) -> None:
        async for key, number in stream.items():
            counts[key] += number

    @counts.on_close
    async def closed(key: str, window: Any, number: int) -> None:
        finals[key, window.start] = number

    driver = drive(app)
    for at in (101, 111, 121):
        driver.send("views", key="a", value=1, timestamp=at)
    driver.crash(lose_stores=True)
    assert driver.table("finals") == {("a", 100.0): 1, ("a", 110.0): 1}
    driver.send("views", key="a", value=1, timestamp=209)
    assert driver.table("finals") == {("a", 100.0): 1, ("a", 110.0): 1, ("a", 120.0): 1}
    driver.send("views", key="a", value=1, timestamp=213)
    assert driver.table("finals") == {("a", 110.0): 1, ("a", 120.0): 1, ("a", 200.0): 1}


def test_a_list_that_an_agent_has_in_hand_stays() -> None:
    """What is changed in place later counts as written when it would have gone."""

    def is_handled() -> bool:
        (time,) = driver.worker.engine.times.tasks.values()
        return all(reader.position(tp) for tp, due in time.sources.items() for reader in due.partition.readers)

    app = expiring(is_handled)
    with Driver(app) as driver:
        driver.send("doings", key="a", value="append", timestamp=1)
        log = driver.logs.logs[TP("doings", 0)]
        for key, doing, time in (("x", "set", 1100), ("a", "wait", 1100)):
            coders = app.topics[0].coders
            log.append(KafkaRecord(len(log), time, coders.encode_key(key), coders.encode_value(doing), None))
        driver.run(driver.worker.process(commit=True))
        assert driver.table("tokens")["a"] == ["append", "wait"]
        driver.send("doings", key="y", value="set", timestamp=1.199)
        assert set(driver.table("tokens")) == {"a", "x", "y"}
        driver.send("doings", key="y", value="set", timestamp=1.2)
        assert set(driver.table("tokens")) == {"y"}


def test_a_quiet_topic_lets_entries_go() -> None:
    """Time runs on with the clock."""
    with Driver(expiring()) as driver:
        driver.send("doings", key="a", value="set")
        driver.advance(59)
        assert driver.table("tokens") == {"a": ["set"]}
        driver.advance(2)
        assert driver.table("tokens") == {}


@pytest.mark.parametrize("lose_stores", [False, True])
def test_entries_expire_by_the_time_of_day(lose_stores: bool) -> None:
    """Whatever the records' timestamps are, also when nothing comes, and behind a crash."""
    app = App("expiring", max_ahead=None, close_idle_after=None)
    events = app.topic("events", key_type=str, value_type=int, partitions=1)
    kept = app.Table("kept", ttl=100, wall_clock=True)

    @app.agent(events, name="keep")
    async def keep(stream: Stream[int]) -> None:
        async for key, value in stream.items():
            kept[key] = value

    with Driver(app, start_time=1_000_000) as driver:
        for key, timestamp in (("old", 5), ("new", 1_000_000), ("future", 9_000_000)):
            driver.send("events", key=key, value=1, timestamp=timestamp)
        driver.advance(60)
        driver.send("events", key="later", value=1, timestamp=7)
        driver.crash(lose_stores=lose_stores)
        driver.advance(39)
        assert set(driver.table("kept")) == {"old", "new", "future", "later"}
        driver.advance(2)
        assert set(driver.table("kept")) == {"later"}
        assert len(changelog(driver, "kept")) == len(changelog(driver, "kept-ttl")) == 1
        driver.advance(60)
        assert driver.table("kept") == {}
        (time,) = driver.worker.engine.times.tasks.values()
        assert time.said() == ("time of kept: that of the clock",)
    with pytest.raises(AppError, match="give ttl="):
        app.Table("none", wall_clock=True)


def test_what_would_never_expire_is_refused() -> None:
    """At the start."""
    app = App("refused")
    app.Table("tokens", ttl=1)
    with pytest.raises(AppError, match="no agent is seen to use it"):
        Driver(app)
    for ttl in (-1, "day"):
        with pytest.raises(AppError, match=r"ttl.*no duration"):
            app.Table("others", ttl=ttl)
    app = expiring()
    app.tables["tokens"].tumbling(10)
    with pytest.raises(AppError, match="leave ttl= out"):
        Driver(app)


def test_the_program_of_the_page() -> None:
    """What docs/event-time.md shows."""
    page = (Path(__file__).parents[2] / "docs" / "event-time.md").read_text()
    program = re.search(r"<!-- ttl -->\n```python\n(.*?)```", page, re.DOTALL)
    assert program is not None
    app = App("page")
    logins = app.topic("logins", key_type=str, value_type=str, partitions=1)
    exec(program[1], {"app": app, "logins": logins})
    with Driver(app) as driver:
        for user, time in (("ann", 1), ("bob", 3600), ("ann", 7200), ("cid", 90000)):
            driver.send("logins", key=user, value=f"token of {time}", timestamp=time)
        assert driver.table("tokens") == {"ann": "token of 7200", "cid": "token of 90000"}
