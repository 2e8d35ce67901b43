"""`table[key]` and `table[key] = value` in C and in Python: the same values, errors and rows, whatever a table is."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamcluster import App, loops
from streamcluster.engine import intake
from streamcluster.engine.shard_view import ShardView
from streamcluster.ids import TP
from streamcluster.tables import Table
from streamcluster.testing import Driver

pytestmark = pytest.mark.skipif(not loops.is_in_c(), reason="the loops were not built")


# Of a class of its own, and equal to a text.
Text: Any = type("Text", (str,), {})
# Equal ones that have other rows, and what is no key at all.
KEYS = ["a", "b", "", "é", Text("a"), 1, 0, True, 1.0, -(1 << 70), b"a", None, (1, "a"), (True,), [1]]
VALUES = [0, 1, -5, 1 << 70, True, 1.5, 2j, "x", b"x", None, [1], {"a": [2]}, (1,), Text("t"), object]
# Parameters of tables: of plain values, of such as are changed in place, dated ones, those with versions.
TABLES: list[dict[str, Any]] = [
    {"default": int},
    {"default": list},
    {},
    {"key_type": str, "value_type": int, "default": int},
    {"default": int, "ttl": 20},
    {"default": int, "history": 60},
]


def read(table: Any, key: Any, _value: Any) -> Any:
    return table[key]


def put(table: Any, key: Any, value: Any) -> Any:
    table[key] = value
    return table[key]


def add(table: Any, key: Any, value: Any) -> Any:
    table[key] += value
    return table[key]


def grow(table: Any, key: Any, value: Any) -> Any:
    table[key].append(value)
    return table[key]


def take_out(table: Any, key: Any, _value: Any) -> Any:
    del table[key]


def look(table: Any, key: Any, _value: Any) -> Any:
    return key in table, table.get(key), list(table)


DOES = [read, put, put, add, add, add, grow, take_out, look]
EVENT = st.tuples(st.sampled_from(KEYS[:3] * 3 + KEYS), st.sampled_from(DOES), st.sampled_from(VALUES[:3] * 3 + VALUES))
SAME = [("a", add, 1)] * 5


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Whatever a test has chosen, the next ones have it in C."""
    yield
    loops.do_items_in_c(Table, ShardView)


def choose(*, is_in_c: bool) -> None:
    """Have the items of tables in C, or in Python."""
    from streamcluster import _table

    if is_in_c:
        _table.attach(Table, ShardView)
    else:
        _table.detach()
    assert hasattr(vars(Table)["__getitem__"], "__code__") is not is_in_c


def played(events: list[Any], parameters: dict[str, Any], *, at_once: int, is_in_c: bool) -> Any:
    """What each of these events saw or raised, and what is left of them. at_once: so many before each commit."""
    choose(is_in_c=is_in_c)
    before, intake.SINGLE_EVENTS = intake.SINGLE_EVENTS, 0
    app = App("both")
    source = app.topic("events", key_type=str, value_type=int, partitions=1)
    table = app.Table("kept", **parameters)
    seen: list[Any] = []

    @app.agent(source)
    async def handle(stream: Any) -> None:
        async for number in stream:
            key, do, value = events[number]
            try:
                found = do(table, key, copy.deepcopy(value))
                seen.append((repr(found), type(found)))
            except Exception as error:  # noqa: BLE001 (it is compared)
                seen.append((type(error), str(error)))

    try:
        with Driver(app) as driver:
            for number in range(len(events)):
                # The keys of the table, where they are texts: what the store lacks of those to come is looked up then.
                key = str(events[number][0]).encode()
                record = {"key": key, "value": b"%d" % number, "timestamp": 100_000 + 7_000 * number}
                driver.logs.append("events", record, 0.0)
                if number % at_once == 0:
                    driver.advance(1)
            driver.advance(1)
            rows = [(one.key, one.value) for one in driver.logs.logs.get(TP("both-kept-changelog", 0), [])]
            left = repr(sorted(driver.table("kept").items(), key=repr))
            return seen, rows, left, [one.headers for one in driver.dead_letters()]
    finally:
        intake.SINGLE_EVENTS = before


@given(st.lists(EVENT, max_size=40), st.sampled_from(TABLES), st.sampled_from([1, 7, 100]))
@example([*SAME, ("a", take_out, 0), ("b", add, 1), ("a", read, 0), ("a", add, 2)], TABLES[0], 100)
@example([*SAME, ("a", put, [1]), ("a", grow, 2), ("b", put, 1), ("a", put, 3)], TABLES[2], 7)
@example([("a", add, 1), (Text("a"), add, 1), (1, add, 1), (True, add, 1), (1.0, add, 1)], TABLES[0], 100)
@settings(max_examples=60, deadline=None)
def test_c_and_python_do_the_same(events: list[Any], parameters: dict[str, Any], at_once: int) -> None:
    """Also with keys that are equal and not the same, values that are refused, and what is changed in place."""
    in_c = played(events, parameters, at_once=at_once, is_in_c=True)
    assert in_c == played(events, parameters, at_once=at_once, is_in_c=False)


@pytest.mark.parametrize("is_in_c", [True, False])
def test_each_coroutine_has_its_own_shard(is_in_c: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tasks take turns between reading an entry and writing it, and two tables between two events."""
    choose(is_in_c=is_in_c)
    monkeypatch.setattr(intake, "SINGLE_EVENTS", 0)
    app = App("both")
    source = app.topic("events", key_type=str, value_type=int, partitions=2)
    tables = [app.Table(name, key_type=str, default=int) for name in ("even", "odd")]

    @app.agent(source)
    async def count(stream: Any) -> None:
        async for number in stream:
            table = tables[number % 2]
            before = table["key"]
            await asyncio.sleep(0)
            table["key"] = before + number

    with Driver(app) as driver:
        for number in range(40):
            for partition in range(2):
                record = {"key": b"k", "value": b"%d" % (number + 100 * partition), "partition": partition}
                driver.logs.append("events", record, 0.0)
        driver.advance(1)
        for name, first in (("even", 0), ("odd", 1)):
            rows = [driver.logs.logs[TP(f"both-{name}-changelog", partition)][-1].value for partition in range(2)]
            total = sum(range(first, 40, 2))
            assert rows == [b"%d" % total, b"%d" % (total + 20 * 100)]


@pytest.mark.parametrize("is_in_c", [True, False])
def test_what_runs_beside_the_events_reads_and_does_not_write(is_in_c: bool) -> None:
    """A task that an agent has started has the agent's table, and no event whose commit could carry what it writes."""
    choose(is_in_c=is_in_c)
    app = App("both")
    source = app.topic("events", key_type=str, value_type=int, partitions=1)
    table = app.Table("kept", key_type=str, default=int)
    seen: list[Any] = []
    started: set[asyncio.Task[None]] = set()

    async def beside() -> None:
        await asyncio.sleep(0.01)
        try:
            seen.append(table["a"])
            table["a"] = 5
        except Exception as error:  # noqa: BLE001 (it is compared)
            seen.append(type(error).__name__)

    @app.agent(source)
    async def handle(stream: Any) -> None:
        async for number in stream:
            table["a"] += number
            started.add(asyncio.get_running_loop().create_task(beside()))

    with Driver(app) as driver:
        driver.send(source, key="k", value=3)

        async def wait() -> None:
            await asyncio.gather(*started)

        driver.run(wait())
        assert seen == [3, "NoEventInHand"]
        assert driver.table("kept") == {"a": 3}
    with pytest.raises(Exception, match="only while an agent or stream is at an event"):
        table["a"] = 1


def test_another_class_is_refused_while_one_has_it() -> None:
    """As what is no class at all."""
    from streamcluster import _table

    with pytest.raises(RuntimeError, match="before"):
        _table.attach(App, ShardView)
    with pytest.raises(TypeError):
        _table.attach(Table)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        _table.attach(Table, 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Table.__setitem__({}, 1, 2)  # type: ignore[index]
