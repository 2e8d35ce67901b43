"""Tables: the whole mapping, in-place changes, what is read from where, and the wrong places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streamcluster import App, Record, Stream, Table
from streamcluster.errors import AppError
from streamcluster.ids import TP
from streamcluster.testing import Driver
from tests.engine.conftest import Drive


class Profile(Record):
    name: str
    visits: int = 0
    tags: list[str] = []  # noqa: RUF012 (a Record copies its defaults)


def steps(drive: Drive, *functions: Callable[[Any], Any], **table_arguments: Any) -> Driver:
    """Runs each function with a table, inside an event of its own, with a crash after each; returns the driver."""
    app = App("a")
    table: Any = app.Table("t", **table_arguments)

    @app.agent(app.topic("steps", value_type=int))
    async def run(stream: Stream[int]) -> None:
        async for number in stream:
            functions[number](table)

    driver = drive(app)
    for number in range(len(functions)):
        driver.send("steps", value=number)
        assert driver.dead_letters() == []
        before = driver.table("t")
        driver.crash(lose_stores=number % 2 == 1)
        assert driver.table("t") == before
    return driver


def expect(value: Any, of: Callable[[Any], Any]) -> Callable[[Any], None]:
    """A step that compares what `of` gives with `value`."""

    def check(table: Any) -> None:
        assert of(table) == value

    return check


def set_some(table: Any) -> None:
    table.update({"a": 1, "b": 2}, c=3)


def test_table_is_a_whole_mapping(drive: Drive) -> None:
    """Every method of a dict does in a table what it does in a dict, before and after commits and crashes."""

    def change(table: Any) -> None:
        assert table.pop("a") == 1
        assert table.pop("a", None) is None
        with pytest.raises(KeyError):
            table.pop("a")
        with pytest.raises(KeyError):
            table["a"]
        with pytest.raises(KeyError):
            del table["a"]
        assert table.setdefault("b", 9) == 2
        assert table.setdefault("d", 4) == 4
        del table["b"]
        assert "b" not in table

    def pop_all(table: Any) -> None:
        found = {}
        while table:
            key, value = table.popitem()
            found[key] = value
        assert found == {"c": 3, "d": 4}
        with pytest.raises(KeyError):
            table.popitem()

    def clear(table: Any) -> None:
        table.clear()
        assert dict(table) == {}
        table["z"] = None

    driver = steps(
        drive,
        set_some,
        expect({"a": 1, "b": 2, "c": 3}, dict),
        expect([("a", 1), ("b", 2), ("c", 3)], lambda table: sorted(table.items())),
        expect((3, {"a", "b", "c"}, [1, 2, 3]), lambda t: (len(t), set(t.keys()), sorted(t.values()))),
        expect((True, False, 5), lambda table: ("a" in table, "x" in table, table.get("x", 5))),
        expect((True, False), lambda table: (("a", 1) in table.items(), ("a", 2) in table.items())),
        expect({"a": 1, "b": 2, "c": 3}, lambda table: table.copy()),
        change,
        expect({"c": 3, "d": 4}, dict),
        pop_all,
        expect({}, dict),
        set_some,
        clear,
    )
    assert driver.table("t") == {"z": None}


def test_default_is_stored_once_it_is_changed(drive: Drive) -> None:
    """A default that is only looked at leaves no entry; one that is changed in place or assigned does."""

    def look(table: Any) -> None:
        assert table["seen"] == []
        assert "seen" not in table
        assert len(table) == 0

    def change(table: Any) -> None:
        table["a"].append(1)
        table["a"].append(2)
        table["b"] += [3]
        assert "a" in table
        assert sorted(table) == ["a", "b"]

    driver = steps(
        drive,
        look,
        change,
        lambda table: table["a"].append(4),
        lambda table: table.get("b").append(5),
        expect((None, []), lambda table: (table.get("none"), table.setdefault("made"))),
        default=list,
    )
    assert driver.table("t") == {"a": [1, 2, 4], "b": [3, 5], "made": []}


@pytest.mark.parametrize("reading", ["items", "values"])
def test_changes_in_place_of_what_iteration_gives_are_kept(drive: Drive, reading: str) -> None:
    """A list that came out of items() or values() may be changed like one that was looked up."""

    def fill(table: Any) -> None:
        table["a"], table["b"] = [1], [2]

    def change(table: Any) -> None:
        if reading == "items":
            for _, value in table.items():
                value.append(9)
        else:
            for value in table.values():
                value.append(9)

    driver = steps(drive, fill, change)
    assert driver.table("t") == {"a": [1, 9], "b": [2, 9]}


def test_entries_may_be_deleted_while_iterating_over_a_copy(drive: Drive) -> None:
    """`for key in list(table): del table[key]` works, over committed and new entries alike."""

    def delete(table: Any) -> None:
        table["new"] = 4
        for key in list(table):
            if key != "b":
                del table[key]

    assert steps(drive, set_some, delete).table("t") == {"b": 2}


def test_records_sets_and_dicts_may_be_changed_in_place(drive: Drive) -> None:
    """Typed values come back as their type, and changes in place are kept through commits and crashes."""

    def make(table: Any) -> None:
        table["x"] = Profile("Ann")

    def visit(table: Any) -> None:
        table["x"].visits += 1
        table["x"].tags.append(f"visit {table['x'].visits}")

    driver = steps(drive, make, visit, visit, key_type=str, value_type=Profile)
    assert driver.table("t") == {"x": Profile("Ann", 2, ["visit 1", "visit 2"])}
    driver = steps(drive, *[lambda table: table["s"].update({1, 2}), lambda table: table["s"].discard(1)], default=set)
    assert driver.table("t") == {"s": {2}}
    driver = steps(drive, lambda t: t["d"].update(a=1), lambda t: t["d"].setdefault("b", []).append(2), default=dict)
    assert driver.table("t") == {"d": {"a": 1, "b": [2]}}


def test_unchanged_values_are_not_written_again(drive: Drive) -> None:
    """Reading a list writes nothing to the changelog, and deleting writes a tombstone."""

    def fill(table: Any) -> None:
        table["a"] = [1]

    driver = steps(drive, fill, lambda table: table["a"], lambda table: table.pop("a"))
    log = driver.logs.logs[TP("a-t-changelog", 0)]
    assert [(record.key, record.value) for record in log] == [(b'"a"', b"[1]"), (b'"a"', None)]


def test_many_changes_of_one_key_are_one_changelog_record(drive: Drive) -> None:
    """Only the last value of a key in a commit goes to the changelog."""

    def count(table: Any) -> None:
        for _ in range(100):
            table["n"] += 1

    driver = steps(drive, count, default=int)
    assert [record.value for record in driver.logs.logs[TP("a-t-changelog", 0)]] == [b"100"]


@pytest.mark.parametrize(
    "key", ["text", "", 5, -1, 2.5, True, None, ("a", 1), ("a", ("b", 2)), "\x00\U0001f600"], ids=repr
)
def test_keys_come_back_as_they_were(drive: Drive, key: Any) -> None:
    """Untyped keys of each kind are found again after a crash, and iteration gives them as they were."""

    def put(table: Any) -> None:
        table[key] = "value"

    def check(table: Any) -> None:
        assert table[key] == "value"
        assert list(table) == [key]
        assert type(next(iter(table))) is type(key)

    steps(drive, put, check, check)


def test_tables_are_read_outside_of_events(drive: Drive) -> None:
    """A timer sees all entries of the worker's partitions; writing there is refused with a reason."""
    app = App("a")
    counts = app.Table("counts", default=int)
    seen: list[Any] = []

    @app.agent(app.topic("words", key_type=str))
    async def count(stream: Stream[Any]) -> None:
        async for key, _ in stream.items():
            counts[key] += 1

    @app.timer(1.0)
    async def look() -> None:
        seen.append((dict(counts.items()), counts["a"], counts.get("none"), "a" in counts, counts["none"], len(counts)))
        with pytest.raises(AppError, match="can be written only while"):
            counts["a"] = 5

    driver = drive(app, partitions=3)
    for key in "aabbc":
        driver.send("words", key=key)
    driver.advance(1.0)
    assert seen == [({"a": 2, "b": 2, "c": 1}, 2, None, True, 0, 3)]
    assert driver.table("counts") == {"a": 2, "b": 2, "c": 1}


def test_change_in_place_outside_of_events_is_not_taken_along(drive: Drive) -> None:
    """What a timer reads is its own: changing it writes nothing with somebody else's event."""
    app = App("a")
    lists = app.Table("lists", default=list)

    @app.agent(app.topic("words", key_type=str))
    async def collect(stream: Stream[Any]) -> None:
        async for key, value in stream.items():
            lists[key].append(value)

    @app.timer(1.0)
    async def spoil() -> None:
        lists["a"].append("from outside")

    driver = drive(app)
    driver.send("words", key="a", value=1)
    driver.advance(1.0)
    driver.send("words", key="a", value=2)
    driver.crash(lose_stores=True)
    assert driver.table("lists") == {"a": [1, 2]}


def test_table_outside_of_a_running_app_says_so() -> None:
    """A table that nothing runs has nothing to read, and says that instead of looking empty."""
    table: Table[Any, Any] = App("a").Table("t")
    for use in (lambda: table["k"], lambda: table.get("k"), lambda: list(table), lambda: "k" in table):
        with pytest.raises(AppError, match="t"):
            use()
    with pytest.raises(AppError):
        table["k"] = 1


def test_table_used_from_topics_of_another_count_is_refused(drive: Drive) -> None:
    """An agent whose topics have another partition count has no shard of the table: an AppError names both."""
    app = App("a")
    table = app.Table("t", default=int, partitions=2)

    @app.agent(app.topic("two", value_type=int, partitions=2))
    async def owner(stream: Stream[int]) -> None:
        async for value in stream:
            table["n"] += value

    @app.agent(app.topic("three", value_type=int, partitions=3), name="stranger")
    async def stranger(stream: Stream[int]) -> None:
        async for value in stream:
            app.tables["t"]["n"] += value

    driver = drive(app)
    with pytest.raises(AppError, match=r"'t'.*'stranger'.*3 partitions"):
        driver.send("three", value=1)


def test_on_recover_is_called_after_a_restore(drive: Drive) -> None:
    """Callbacks run when a shard was restored, sync and async, given by keyword or by decorator."""
    app = App("a")
    calls: list[str] = []
    table = app.Table("t", default=int, on_recover=lambda: calls.append("keyword"))

    @table.on_recover
    async def recovered() -> None:
        calls.append("decorator")

    @app.agent(app.topic("words", key_type=str))
    async def count(stream: Stream[Any]) -> None:
        async for key, _ in stream.items():
            table[key] += 1

    driver = drive(app)
    driver.send("words", key="a")
    calls.clear()
    driver.crash(lose_stores=True)
    assert calls == ["keyword", "decorator"]


def test_changelog_topic_is_named_as_asked(drive: Drive) -> None:
    """`changelog_topic` may be a name or a topic; the default is Faust's."""
    app = App("a")
    tables = {
        "one": app.Table("one", default=int),
        "two": app.Table("two", default=int, changelog_topic="mine"),
        "three": app.Table("three", default=int, changelog_topic=app.topic("ours")),
    }

    @app.agent(app.topic("words", key_type=str))
    async def count(stream: Stream[Any]) -> None:
        async for key, _ in stream.items():
            for table in tables.values():
                table[key] += 1

    driver = drive(app)
    driver.send("words", key="k")
    assert {table.changelog for table in driver.topology.tables} == {"a-one-changelog", "mine", "ours"}
    driver.crash(lose_stores=True)
    driver.send("words", key="k")
    assert [driver.table(name) for name in tables] == [{"k": 2}] * 3


def test_small_cache_gives_the_same_results(drive: Drive) -> None:
    """With a cache that keeps next to nothing every value is read back from the store: nothing else changes."""
    app = App("a", table_cache_bytes=1)
    counts = app.Table("counts", default=int)
    lists = app.Table("lists", default=list)

    @app.agent(app.topic("words", key_type=str, value_type=int))
    async def count(stream: Stream[int]) -> None:
        async for key, value in stream.items():
            counts[key] += 1
            lists[key].append(value)

    driver = drive(app)
    for value in range(30):
        driver.send("words", key=f"k{value % 7}", value=value)
    assert driver.table("counts") == {f"k{n}": len(range(n, 30, 7)) for n in range(7)}
    assert driver.table("lists") == {f"k{n}": list(range(n, 30, 7)) for n in range(7)}
