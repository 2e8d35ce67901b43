"""Rows of an older version of the app, as `table` shows them: migrated, or with the reason and their bytes."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import pytest

from streamcluster import Record
from streamcluster.codecs.table_coding import make_table_coder
from streamcluster.protocol.messages import UNREADABLE
from tests.codecs.kinds import Account, Last, Order, Place
from tests.worker.test_odd_rows import answers

OLD = {b'"ann"': b'{"name":"ann"}', b'"zoe"': b'{"name":"zoe","age":3}'}


class Person(Record):
    name: str
    age: int


def test_a_row_that_does_not_decode_is_shown_as_its_bytes_beside_the_others() -> None:
    """By page and by key."""
    page, one = answers(OLD, [{}, {"key": '"ann"'}], value_type=Person)
    for shown in (page.rows[0], *one.rows):
        assert shown[0] == '"ann"'
        assert shown[1].startswith(UNREADABLE)
        assert "missing required field `age`" in shown[1]
        assert """the bytes are b'{"name":"ann"}'""" in shown[1]
    assert page.rows[1] == ('"zoe"', '{"name":"zoe","age":3}')


def test_old_rows_are_shown_as_what_they_become() -> None:
    """With the table's migrate function."""
    migrate = lambda row: Person(row["name"], 0)  # noqa: E731
    page, one = answers(OLD, [{}, {"key": '"ann"'}], value_type=Person, migrate=migrate)
    assert [*page.rows] == [('"ann"', '{"name":"ann","age":0}'), ('"zoe"', '{"name":"zoe","age":3}')]
    assert one.rows == page.rows[:1]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Counter(a=1), {"a": 1}),
        ({1: {(1, 2): {3}}}, {"1": {"[1,2]": [3]}}),
        ({1: "a", "1": "b"}, [[1, "a"], ["1", "b"]]),
        (Last(1, 2, ["x"]), {"hour": 1, "seen": 2, "tags": ["x"]}),
        (Place(math.inf, math.nan), {"x": "inf", "y": "nan"}),
        (Account("a", -math.inf), {"name": "a", "low": "-inf", "at": None}),
        (Order(accountId="a", unitPrice=2.5), {"accountId": "a", "unitPrice": 2.5}),  # type: ignore[call-arg]
        ((1 + 2j, b"a"), ["(1+2j)", "a"]),
    ],
)
def test_values_with_named_types_are_shown_as_plain_json(value: Any, shown: Any) -> None:
    """As people would write them, and whole."""
    encode, _ = make_table_coder(None, None, allow_pickle=False)
    [page] = answers({b'"k"': encode(value)}, [{}])
    assert [(key, json.loads(text)) for key, text in page.rows] == [('"k"', shown)]


@pytest.mark.parametrize("key", [math.inf, b"a", frozenset({1}), Place(1.0, math.inf), 1 + 2j, (1, math.nan)])
def test_keys_with_named_types_are_found_as_they_are_shown(key: Any) -> None:
    """The text of the page is the text to ask with."""
    encode, _ = make_table_coder(None, None, allow_pickle=False, is_key=True)
    [page] = answers({encode(key): b"7"}, [{}])
    [again] = answers({encode(key): b"7"}, [{"key": page.rows[0][0]}])
    assert again.rows == page.rows
