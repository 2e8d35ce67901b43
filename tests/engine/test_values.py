"""Values of tables and topics in a running app: after a crash they are what they were, or the event failed."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamcluster import App, Stream
from streamcluster.codecs.sameness import difference
from streamcluster.codecs.table_coding import make_table_coder
from streamcluster.engine.rows import RowCoder
from streamcluster.engine.shard_view import ShardView
from streamcluster.engine.shards import CachedShard
from streamcluster.stores import MemoryStore
from streamcluster.testing import Driver
from tests.codecs import kinds
from tests.codecs.kinds import BERLIN, TYPED, Account, Last, Level, Point, Thing, Word
from tests.engine.conftest import Drive

MOMENT = datetime(2026, 1, 2, tzinfo=UTC)


def writing(values: list[Any], keys: list[Any] | None = None, **table_arguments: Any) -> App:
    """An app whose event n stores value n under "k", or under key n."""
    app = App("a", allow_pickle=True)
    table: Any = app.Table("t", **table_arguments)

    @app.agent(app.topic("steps", value_type=int), name="write")
    async def write(stream: Stream[int]) -> None:
        async for number in stream:
            table["k" if keys is None else keys[number]] = values[number]

    return app


def errors(driver: Driver) -> list[str]:
    return [letter.headers["dead-letter-error"].decode() for letter in driver.dead_letters()]


def run(driver: Driver, count: int) -> None:
    for number in range(count):
        driver.send("steps", value=number)


@pytest.mark.parametrize("typed", [True, False])
@pytest.mark.parametrize("lose_stores", [True, False])
def test_values_are_after_a_crash_what_they_were(drive: Drive, *, typed: bool, lose_stores: bool) -> None:
    """Every kind of value, each in a table of its type or all in one without; from the store and from the changelog."""
    app = App("a")
    if typed:
        tables: list[Any] = [app.Table(f"t{number}", value_type=type_) for number, (type_, _) in enumerate(TYPED)]
    else:
        tables = [app.Table("t")] * len(TYPED)

    @app.agent(app.topic("steps", value_type=int))
    async def write(stream: Stream[int]) -> None:
        async for number in stream:
            tables[number][number] = TYPED[number][1]

    driver = drive(app)
    run(driver, len(TYPED))
    assert errors(driver) == []
    driver.crash(lose_stores=lose_stores)
    for number, (_, value) in enumerate(TYPED):
        rows = driver.table(f"t{number}" if typed else "t")
        assert difference(value, rows[number]) is None
        assert len(rows) == (1 if typed else len(TYPED))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pairs=st.lists(st.tuples(kinds.KEYS, kinds.VALUES), min_size=1, max_size=5),
    codec=st.sampled_from([None, "json|gzip", "pickle"]),
)
def test_whatever_is_written_is_the_same_after_a_crash_or_was_refused(
    drive: Drive, pairs: list[tuple[Any, Any]], codec: str | None
) -> None:
    """Keys and values of all kinds: what the table shows before is what it shows after, from either source."""
    app = writing([value for _, value in pairs], [key for key, _ in pairs], value_serializer=codec)
    driver = drive(app)
    run(driver, len(pairs))
    before = list(driver.app.tables["t"].items())
    assert len(before) + len(driver.dead_letters()) <= len(pairs)
    for lose_stores in (False, True):
        driver.crash(lose_stores=lose_stores)
        after = list(driver.app.tables["t"].items())
        assert difference(sorted(before, key=repr), sorted(after, key=repr)) is None


def test_keys_that_python_takes_for_one_are_several(drive: Drive) -> None:
    """In memory as in the store: each is read, counted, deleted and found on its own."""
    keys = [1, 1.0, True, Decimal(1), Level.LOW, MOMENT, MOMENT.astimezone(BERLIN), (1, 2), (1.0, 2), Point(1, "2")]
    keys += ["yes", Word.YES, 0.0, -0.0, math.nan, b"yes", None]
    app = App("a")
    counts: Any = app.Table("t", default=int)
    seen: list[int] = []

    @app.agent(app.topic("steps", value_type=int))
    async def count(stream: Stream[int]) -> None:
        async for number in stream:
            key = keys[number % len(keys)]
            assert (key in counts) == (number >= len(keys))
            counts[key] += 1
            seen.append(counts.get(key))
            if number >= 2 * len(keys):
                del counts[key]
                assert key not in counts

    driver = drive(app)
    for number in range(2 * len(keys)):
        driver.send("steps", value=number, commit=number % 2 == 0)
        if number % 5 == 0:
            driver.rebalance()
    assert seen == [1] * len(keys) + [2] * len(keys)
    before = driver.table("t").items()
    driver.crash()
    assert difference(sorted(before, key=repr), sorted(driver.table("t").items(), key=repr)) is None
    assert len(list(driver.app.tables["t"])) == len(keys)
    for number in range(2 * len(keys), 3 * len(keys)):
        driver.send("steps", value=number)
    assert driver.table("t") == {}
    assert errors(driver) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Thing(), "value of type Thing: a Thing does not come back"),
        ({"a": [Thing()]}, "value of type dict: a Thing does not come back"),
        (kinds.Text("x"), "value of type Text: a Text does not come back"),
        ({kinds.Whole(1): 1}, "value of type dict: a Whole does not come back"),
    ],
)
def test_what_would_not_come_back_fails_its_event_alone(drive: Drive, value: Any, text: str) -> None:
    """However many events it shares a commit with; table, key and types are named."""
    app = writing([1, value, 3], ["a", "b", "c"])
    driver = drive(app)
    for number in range(3):
        driver.send("steps", value=number, commit=number == 2)
    assert driver.table("t") == {"a": 1, "c": 3}
    [error] = errors(driver)
    assert f"table 't', key 'b' of type str, {text}" in error


def test_a_key_that_would_not_come_back_fails_its_event(drive: Drive) -> None:
    """The real type of the key is named."""
    driver = drive(writing([1, 2, 3], [Thing(), kinds.Text("x"), [1]]))
    run(driver, 3)
    assert driver.table("t") == {}
    first, second, third = errors(driver)
    assert "table 't', key <tests.codecs.kinds.Thing object" in first
    assert "of type Thing: a Thing does not come back" in first
    assert "table 't', key 'x' of type Text: a Text does not come back" in second
    assert "unhashable type: 'list'" in third


def test_a_value_that_is_not_of_the_declared_type_is_refused(drive: Drive) -> None:
    """Where it is written, not where it is read a month later."""
    driver = drive(writing(["x", 1, Account(3)], value_type=Account))  # type: ignore[arg-type]
    run(driver, 3)
    assert driver.table("t") == {}
    assert [error.split(": ")[1].split(", ")[-1] for error in errors(driver)] == [
        "value of type str",
        "value of type int",
        "value of type Account",
    ]


@pytest.mark.parametrize(
    ("default", "change", "expected"),
    [
        (list, lambda value: value.append((1, 2)), [(1, 2), (1, 2)]),
        (dict, lambda value: value.update({1: value.get(1, 0) + 1}), {1: 2}),
        (set, lambda value: value.add(len(value)), {0, 1}),
        (Counter, lambda value: value.update("ab"), Counter(a=2, b=2)),
        (lambda: Last(1), lambda value: setattr(value, "seen", value.seen + 1), Last(1, 2)),
        (lambda: {"in": Last(1)}, lambda value: value["in"].tags.append("x"), {"in": Last(1, 0, ["x", "x"])}),
        (lambda: [math.inf], lambda value: value.append(min(value)), [math.inf] * 3),
        (bytearray, lambda value: value.extend(b"a"), bytearray(b"aa")),
        (lambda: Account("a"), lambda value: setattr(value, "low", math.inf), Account("a", math.inf)),
    ],
)
@pytest.mark.parametrize("assigned", [True, False])
def test_changes_in_place_are_kept(drive: Drive, default: Any, change: Any, expected: Any, *, assigned: bool) -> None:
    """With `table[key] = value` behind them and without; over a crash in the middle."""
    app = App("a")
    table: Any = app.Table("t", default=default)

    @app.agent(app.topic("steps", value_type=int))
    async def run_it(stream: Stream[int]) -> None:
        async for _ in stream:
            value = table["k"]
            change(value)
            if assigned:
                table["k"] = value

    driver = drive(app)
    for number in range(2):
        driver.send("steps", value=number)
        driver.crash(lose_stores=number == 1)
    assert errors(driver) == []
    assert difference(expected, driver.table("t")["k"]) is None


def test_a_change_in_place_that_cannot_be_kept_fails_the_event_that_made_it(drive: Drive) -> None:
    """Not the next one, and what was there before stays."""
    app = App("a")
    table: Any = app.Table("t", default=list)

    @app.agent(app.topic("steps", value_type=int))
    async def run_it(stream: Stream[int]) -> None:
        async for number in stream:
            table["k"].append(Thing() if number == 1 else number)

    driver = drive(app)
    for number in range(3):
        driver.send("steps", value=number, commit=number == 2)
    driver.crash()
    assert driver.table("t") == {"k": [0, 2]}
    [error] = errors(driver)
    assert "table 't', key 'k' of type str, value of type list: a Thing does not come back" in error


def test_an_object_that_cannot_be_kept_for_a_moment_harms_nothing() -> None:
    """A commit of others asks in the middle of an event, which may put things right before its end."""
    coders = (
        make_table_coder(None, None, allow_pickle=False, is_key=True),
        make_table_coder(None, None, allow_pickle=False),
    )
    shard = CachedShard(MemoryStore(["t"]).shard("t"), RowCoder("t", *coders), 1000, lambda size: None)
    view = ShardView(shard)
    value: dict[str, Any] = {}
    view.lend("k", value)
    assert not view.has_written()
    value["x"] = Thing()
    assert view.has_written()
    value["x"] = 1
    view.check()
    view.settle()
    assert shard.encoded_changes() == {b'"k"': b'{"x":1}'}
