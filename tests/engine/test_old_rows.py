"""Rows that do not decode any more: named with their bytes, or made new by the table's migrate function."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from streamcluster import App, Record, Stream
from streamcluster.errors import AppError
from streamcluster.testing import Driver
from tests.engine.conftest import Drive
from tests.engine.test_values import errors


class Old(Record):
    name: str


class New(Record):
    name: str
    age: int


def with_rows(drive: Drive, rows: dict[bytes, bytes], **table_arguments: Any) -> tuple[Driver, list[Any]]:
    """A driver of an app whose table has these rows from before; and what its agent reads of key n, or its error."""
    app = App("a")
    table: Any = app.Table("t", **table_arguments)
    read: list[Any] = []

    @app.agent(app.topic("steps", key_type=str, value_type=int))
    async def look(stream: Stream[int]) -> None:
        async for key, number in stream.items():
            value = table[key]
            read.append(copy.deepcopy(value))
            if number:
                value.age += 1

    driver = drive(app)
    for key, value in rows.items():
        driver.logs.append("a-t-changelog", {"key": key, "value": value, "partition": 0}, 0)
    driver.crash(lose_stores=True)
    return driver, read


def test_a_row_that_does_not_decode_any_more_is_named_with_its_bytes(drive: Drive) -> None:
    """Table, key, what is wrong and the row's bytes; the event's are in the dead letter anyway. Others are read."""
    driver, read = with_rows(drive, {b'"old"': b'{"name":"ann"}', b'"new"': b'{"name":"bo","age":3}'}, value_type=New)
    driver.send("steps", key="old", value=0)
    driver.send("steps", key="new", value=0)
    assert read == [New("bo", 3)]
    [error] = errors(driver)
    assert "UndecodableRow: table 't', key 'old': its row cannot be read: " in error
    assert "missing required field `age`" in error
    assert """the bytes are b'{"name":"ann"}'""" in error
    assert "migrate=" in error
    assert "b'0'" not in error


def test_old_rows_are_migrated_when_they_are_read_and_written_when_they_change(drive: Drive) -> None:
    """The function gets plain data; a row that is only read stays as it is in the changelog."""
    got: list[Any] = []

    def migrate(row: Any) -> New:
        got.append(row)
        return New(row["name"], 0)

    rows = {b'"old"': b'{"name":"ann"}', b'"new"': b'{"name":"bo","age":3}'}
    driver, read = with_rows(drive, rows, value_type=New, migrate=migrate)
    written = len(driver.output("a-t-changelog"))
    assert driver.table("t") == {"old": New("ann", 0), "new": New("bo", 3)}
    driver.send("steps", key="old", value=0)
    assert read == [New("ann", 0)]
    assert len(driver.output("a-t-changelog")) == written
    driver.send("steps", key="old", value=1)
    assert [one.value for one in driver.output("a-t-changelog")][written:] == [b'{"name":"ann","age":1}']
    driver.crash(lose_stores=True)
    got.clear()
    assert driver.table("t") == {"old": New("ann", 1), "new": New("bo", 3)}
    assert got == []
    assert errors(driver) == []


def test_migrate_gets_the_fields_of_a_class_that_is_gone_and_bytes_that_are_no_json(drive: Drive) -> None:
    """Whatever is in the row: what it can be read as without its class."""
    got: list[Any] = []

    def migrate(row: Any) -> Any:
        got.append(row)
        return len(row)

    rows = {b'"gone"': b'{"py/object":["app:Gone",{"at":{"py/tuple":[1,2]}}]}', b'"bytes"': b"\xff\xfe"}
    driver, read = with_rows(drive, rows, migrate=migrate)
    driver.send("steps", key="gone", value=0)
    driver.send("steps", key="bytes", value=0)
    assert got[-2:] == [{"at": (1, 2)}, b"\xff\xfe"]
    assert read == [1, 2]


@pytest.mark.parametrize(
    ("migrate", "text"),
    [
        (lambda row: row["nothing"], "KeyError: 'nothing'"),
        (lambda row: row, "a dict is not New"),
        (lambda row: Old("x"), "a Old is not New"),
    ],
)
def test_a_migration_that_fails_is_named_with_the_row(drive: Drive, migrate: Any, text: str) -> None:
    """The event that reads the row fails, and the row stays for a better function."""
    rows = {b'"old"': b'{"name":"ann"}'}
    driver, read = with_rows(drive, rows, value_type=New, migrate=migrate)
    driver.send("steps", key="old", value=0)
    assert read == []
    [error] = errors(driver)
    assert "table 't', key 'old'" in error
    assert "missing required field `age`" in error
    assert text in error
    assert """b'{"name":"ann"}'""" in error


def test_migrate_must_be_a_function_of_one_row() -> None:
    """Said where it is declared."""

    async def slow(row: Any) -> Any:
        return row

    for wrong in (3, slow, lambda: None, lambda first, second: None):
        with pytest.raises(AppError, match="table 't': migrate"):
            App("a").Table("t", migrate=wrong)
