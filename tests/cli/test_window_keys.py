"""`streamcluster table NAME KEY --window`: which row that is."""

from __future__ import annotations

from typing import Any

import pytest

from streamcluster import App
from streamcluster.codecs.table_coding import make_table_coder
from streamcluster.errors import ConfigurationError
from streamcluster.shown import key_reader, key_texts
from streamcluster.tables import Table
from streamcluster.windows.keys import shown
from streamcluster_coordinator.cli.read import row_keys
from streamcluster_coordinator.cli.window_keys import moment_of


def tables() -> dict[str, Table[Any, Any]]:
    app = App("shop")
    minutes = app.Table("minutes", key_type=str, default=int).tumbling(60)
    minutes.join(app.Table("more", key_type=str, default=int).tumbling(60), name="joined")
    app.Table("numbers", key_type=int, default=int).hopping(10, 2.5)
    app.Table("visits", key_type=str, default=int).session(30)
    app.Table("days", key_type=str, default=int).tumbling(86400, tz="Europe/Berlin")
    app.Table("plain", key_type=str, default=int)
    return dict(app.tables)


@pytest.mark.parametrize(
    ("name", "key", "window", "row"),
    [
        ("minutes", "home", "60", b'["home",[60.0,120.0]]'),
        ("minutes", 'a"b', "1970-01-01T00:01", b'["a\\"b",[60.0,120.0]]'),
        ("minutes", "home", "1970-01-01T01:01:00+01:00", b'["home",[60.0,120.0]]'),
        ("joined", "home", "60", b'["home",[60.0,120.0]]'),
        ("numbers", "5", "2.5", b"[5,[2.5,12.5]]"),
        ("visits", "home", "3,4.25", b'["home",[3.0,4.25]]'),
        ("days", "home", "2026-03-28T23:00,2026-03-29T22:00", b'["home",[1774738800.0,1774821600.0]]'),
        ("minutes", '["home",[60,120]]', None, b'["home",[60.0,120.0]]'),
    ],
)
def test_the_row_is_that_of_the_key_and_the_window(name: str, key: str, window: str | None, row: bytes) -> None:
    """As a worker finds it by the text that is sent to it."""
    table = tables()[name]
    encode, _ = shown(make_table_coder(table.key_type, None, is_key=True, allow_pickle=False))
    (text,) = row_keys(table, key, window)
    assert [encode(one) for one in key_reader(None, None)(text.encode())] == [row]


def test_a_moment_is_of_a_table_with_history() -> None:
    """As --window takes it."""
    kept = App("shop").Table("kept", history=60)
    assert [moment_of(kept, text) for text in ("60", "1970-01-01T00:01", "1970-01-01T01:01:00.5+01:00")] == [
        60_000,
        60_000,
        60_500,
    ]
    for text in ("noon", "nan", "1e300"):
        with pytest.raises(ConfigurationError, match=r"--as-of .*: give seconds since 1970"):
            moment_of(kept, text)
    with pytest.raises(ConfigurationError, match="keeps no versions"):
        moment_of(tables()["plain"], "60")


@pytest.mark.parametrize(
    ("name", "key", "window", "says"),
    [
        ("plain", "home", "60", "has no windows"),
        ("minutes", "home", "noon", "give seconds since 1970"),
        ("minutes", "home", "nan", "give seconds since 1970"),
        ("visits", "home", "3", "--window START,END"),
        ("days", "home", "3", "--window START,END"),
        ("minutes", "home", None, "add --window START"),
        ("numbers", "five", "0", "is no key of type int"),
    ],
)
def test_what_is_no_window_is_refused(name: str, key: str, window: str | None, says: str) -> None:
    """With what to write."""
    with pytest.raises(ConfigurationError) as refused:
        row_keys(tables()[name], key, window)
    assert says in str(refused.value)


def test_other_tables_are_asked_as_before() -> None:
    """Their keys are as they are typed."""
    assert row_keys(tables()["plain"], "home", None) == key_texts(str, None, "home")
