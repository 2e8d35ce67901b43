"""Tables with history=: `table.as_of(time)`, in agents and outside, whoever writes them, through crashes."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcluster import App, Record, Stream
from streamcluster.errors import AppError
from streamcluster.testing import Driver

HISTORY = 50
DOINGS = ("set", "append", "assign", "pop", "then", "gone", "clear", "twice")
Doing = tuple[str, str, int]


def versioned() -> App:
    """An app that does with lists in `kept` what its events say, and sends what was there ten ms before each."""
    app = App("versioned", max_ahead=None)
    doings = app.topic("doings", key_type=str, value_type=str, partitions=1)
    before = app.topic("before", key_type=str, value_type=list, partitions=1)
    kept = app.Table("kept", default=list, key_type=str, history=HISTORY / 1000)

    @app.agent(doings, name="do")
    async def do(stream: Stream[str]) -> None:
        async for event in stream.events():
            key, at = event.key, event.message.timestamp
            number, doing = event.value.split(":")
            match doing:
                case "set":
                    kept[key] = [number]
                case "append":
                    kept[key].append(number)
                case "assign":
                    kept[key] = [*kept.get(key, []), number]
                case "pop":
                    kept.pop(key, None)
                case "then":
                    kept.as_of(at - 0.02)[key] = [number]
                case "gone":
                    del kept.as_of()[key]
                case "clear":
                    kept.clear()
                case "twice":
                    kept[key] = [number]
                    kept[key].append(number)
            await before.send(key=key, value=kept.as_of(at - 0.01).get(key, ["nothing"]))

    return app


class Model:
    """The versions of each key, never deleted but when nothing is left of a key."""

    def __init__(self) -> None:
        self.versions: dict[str, dict[int, list[str] | None]] = {}
        self.now = 0

    def newest(self, key: str) -> list[str] | None:
        """What the table itself has."""
        own = self.versions.get(key)
        return own[max(own)] if own else None

    def as_of(self, key: str, time: int) -> list[str] | None:
        """The newest version not later than that; what was replaced before history is forgotten."""
        own = self.versions.get(key, {})
        found = max([at for at in own if at <= time], default=None)
        if found is None or (time < self.now - HISTORY and found != max(own)):
            return None
        return own[found]

    def do(self, key: str, doing: str, number: str, time: int) -> None:
        """An event, and then what is over is deleted."""
        self.now = max(self.now, time)
        own, value = self.versions.setdefault(key, {}), self.newest(key)
        after = max([time, self.now - HISTORY, *own])
        match doing:
            case "append" | "assign":
                own[after] = [*(value or []), number]
            case "pop" if value is not None:
                own[after] = None
            case "clear":
                for one, versions in self.versions.items():
                    if self.newest(one) is not None:
                        versions[max([time, self.now - HISTORY, *versions])] = None
            case "then" if time - 20 >= self.now - HISTORY:
                own[time - 20] = [number]
            case "set" | "gone" | "twice" if time >= self.now - HISTORY:
                is_newest = time >= max(own, default=0)
                own[time] = None if doing == "gone" else [number]
                if doing == "twice":
                    if is_newest:
                        own[time] = [number, number]
                    else:
                        own[max(own)] = [*(own[max(own)] or []), number]
            case "twice":
                own[after] = [*(value or []), number]

    def forget(self) -> None:
        """Commit: deletions that are past history say nothing any more."""
        for own in self.versions.values():
            if own and own[max(own)] is None and max(own) < self.now - HISTORY:
                own.clear()

    def count(self) -> int:
        """How many versions somebody can ask for."""
        count = 0
        for own in self.versions.values():
            times = sorted(own)
            for at, following in zip(times, [*times[1:], None], strict=False):
                replaced = following is not None and following < self.now - HISTORY
                count += not replaced and not (own[at] is None and at < self.now - HISTORY)
        return count


def rows_of(driver: Driver) -> int:
    """How many rows the changelog of the versions has."""
    rows: dict[bytes, bytes | None] = {}
    for tp, log in driver.logs.logs.items():
        if tp.topic == "versioned-kept-history-changelog":
            rows |= {record.key or b"": record.value for record in log}
    return sum(value is not None for value in rows.values())


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(DOINGS), st.integers(25, 200)), max_size=20),
    st.sets(st.integers(0, 19)),
    st.sets(st.integers(0, 19)),
)
def test_random_doings_leave_what_the_model_has(events: list[Doing], uncommitted: set[int], crashes: set[int]) -> None:
    """At each event and outside, for each time, whatever is committed when and whatever crashes."""
    model, expected = Model(), list[list[str]]()
    with Driver(versioned()) as driver:
        for number, (key, doing, time) in enumerate(events):
            driver.send(
                "doings",
                key=key,
                value=f"{number}:{doing}",
                timestamp=time / 1000,
                commit=number not in uncommitted,
            )
            model.do(key, doing, str(number), time)
            expected.append(model.as_of(key, time - 10) or ["nothing"])
            if number not in uncommitted:
                model.forget()
            if number in crashes:
                driver.crash(lose_stores=number % 2 == 0)
        driver.run(driver.worker.process(commit=True))
        model.forget()
        kept = driver.app.tables["kept"]
        for key in "ab":
            assert kept.get(key) == model.newest(key)
            for time in range(0, 200, 23):
                assert kept.as_of(time / 1000).get(key) == model.as_of(key, time), f"{key} at {time}"
        assert [one.value for one in driver.output("before")] == expected
        assert rows_of(driver) == model.count()
        assert not driver.dead_letters()


def test_outside_and_in_agents_on_each_store(drive: Any) -> None:
    """Reads by moments and numbers, what is refused and counted, and all of it behind a lost store."""
    driver = drive(versioned())
    kept = driver.app.tables["kept"]
    for number, time in enumerate((100, 110, 105, 1000, 985, 900)):
        driver.send("doings", key="a", value=f"{number}:set", timestamp=time)
    driver.send("doings", key="b", value="6:append", timestamp=1001)
    assert kept["a"] == ["3"]
    driver.crash(lose_stores=True)
    kept = driver.app.tables["kept"]
    assert kept.as_of(1000)["a"] == ["3"]
    assert kept.as_of(datetime.fromtimestamp(1000, UTC)).get("a") == ["3"]
    assert kept.as_of(999).get("a", "gone") == "gone"
    assert "a" in kept.as_of(1000)
    assert "a" not in kept.as_of(999)
    assert kept.as_of(999)["a"] == []
    assert kept.as_of(1001)["b"] == ["6"]
    (time,) = driver.worker.engine.times.tasks.values()
    # 105, 985 and 900 came later than 50 ms; what was replaced before is gone.
    assert time.operators["kept"].late_committed == 3
    assert rows_of(driver) == 2


def test_counts_lose_no_event_that_comes_out_of_order() -> None:
    """`+=` goes on from the newest, a plain assignment is put at its time."""
    app = App("counts")
    events = app.topic("events", key_type=str, value_type=int, partitions=1)
    counts = app.Table("counts", default=int, history=3600)
    latest = app.Table("latest", history=3600)

    @app.agent(events, name="count")
    async def count(stream: Stream[int]) -> None:
        async for key, value in stream.items():
            counts[key] += 1
            latest[key] = value

    with Driver(app) as driver:
        for value, time in enumerate((10, 30, 20, 40)):
            driver.send("events", key="a", value=value, timestamp=time)
        assert (counts["a"], latest["a"]) == (4, 3)
        assert [counts.as_of(time).get("a") for time in (5, 15, 25, 35, 45)] == [None, 1, 1, 3, 4]
        assert [latest.as_of(time).get("a") for time in (5, 15, 25, 35, 45)] == [None, 0, 2, 1, 3]
        assert counts.as_of(5)["a"] == 0


def test_a_commit_goes_by_beside_an_event_that_has_read_an_entry() -> None:
    """What it has read is noted where joins note what they know of rows, and a commit looks at how much that is."""
    app = App("beside")
    events = app.topic("events", key_type=str, value_type=float, partitions=2)
    counts = app.Table("counts", default=int, key_type=str, history=3600)

    @app.agent(events, name="count")
    async def count(stream: Stream[float]) -> None:
        async for key, seconds in stream.items():
            counts[key] += 1
            await asyncio.sleep(seconds)
            counts[key] += 1

    with Driver(app) as driver:
        driver.send("events", key="slow", value=0.1, partition=0, timestamp=10)
        driver.send("events", key="fast", value=0.0, partition=1, timestamp=10)
        assert counts["fast"] == 2
        driver.advance(1)
        assert counts["slow"] == 2


def test_a_table_that_gets_a_history_later() -> None:
    """What was written before is what it was, until it is written again."""
    with Driver(late_app(history=None)) as before, Driver(late_app(history=50)) as driver:
        before.send("events", key="a", value=1, timestamp=100)
        for tp, log in before.logs.logs.items():
            driver.logs.logs[tp] = [*log] if tp.topic.endswith("kept-changelog") else []
        driver.crash(lose_stores=True)
        kept = driver.app.tables["kept"]
        assert kept.as_of(10).get("a") == kept.get("a") == 1
        driver.send("events", key="a", value=2, timestamp=200)
        assert (kept.as_of(199).get("a"), kept.as_of(200).get("a")) == (None, 2)


def late_app(history: int | None) -> App:
    """Keeps the newest value."""
    app = App("late")
    events = app.topic("events", key_type=str, value_type=int, partitions=1)
    kept = app.Table("kept", history=history)

    @app.agent(events, name="keep")
    async def keep(stream: Stream[int]) -> None:
        async for key, value in stream.items():
            kept[key] = value

    return app


def test_what_makes_no_sense_is_refused() -> None:
    """With what to declare."""
    app = App("refused")
    with pytest.raises(AppError, match="keeps no versions: declare it with history="):
        app.Table("plain").as_of(3)
    with pytest.raises(AppError, match="do not go together"):
        app.Table("both", history=3, ttl=4)
    kept = app.Table("kept", history=3)
    for moment in ("yesterday", float("nan"), None.__class__):
        with pytest.raises(ValueError, match="give seconds since 1970"):
            kept.as_of(moment)  # type: ignore[arg-type]
    with pytest.raises(AppError, match="nothing runs the app here"):
        kept.as_of(3).get("a")
    with pytest.raises(AppError, match="only while an agent"):
        kept.as_of(3)["a"] = 1
    with pytest.raises(AppError, match="no agent is seen to use it"):
        Driver(app)


def test_the_program_of_the_page() -> None:
    """What docs/event-time.md shows."""
    page = (Path(__file__).parents[2] / "docs" / "event-time.md").read_text()
    program = re.search(r"<!-- versions -->\n```python\n(.*?)```", page, re.DOTALL)
    assert program is not None
    app = App("page")
    offers = app.topic("offers", key_type=str, value_type=float, partitions=1)
    orders = app.topic("orders", key_type=str, value_type=Order, partitions=1)
    payments = app.topic("payments", key_type=str, value_type=list, partitions=1)
    exec(program[1], {"app": app, "offers": offers, "orders": orders, "payments": payments})
    with Driver(app) as driver:
        for price, time in ((1.5, 100), (2.5, 300), (2.0, 200)):
            driver.send("offers", key="tea", value=price, timestamp=time)
        for number, time in enumerate((250, 350, 50)):
            order = Order(number=number, product="tea", time=float(time))
            driver.send("orders", key="tea", value=order, timestamp=400)
        assert [one.value for one in driver.output("payments")] == [[0, 2.0], [1, 2.5], [2, None]]


class Order(Record):
    """What is bought."""

    number: int
    product: str
    time: float
