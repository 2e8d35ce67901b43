"""Rows that are encoded at once are those that are encoded one by one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamcluster.codecs.table_coding import make_table_coder, types_as_json
from streamcluster.engine.rows import DELETED, RowCoder

TEXT = st.text(st.characters(exclude_categories=()), max_size=5)
KEYS = st.one_of(TEXT, st.integers(), st.binary(max_size=3), st.tuples(TEXT, st.integers()))
VALUES = st.one_of(
    TEXT, st.integers(), st.none(), st.booleans(), st.floats(), st.just(DELETED), st.lists(st.integers())
)


def coder(key_type: Any, value_type: Any, *, at_once: bool) -> RowCoder:
    """The coder of a table of these types."""
    key, value = (
        make_table_coder(type_, None, allow_pickle=False, is_key=is_key)
        for type_, is_key in ((key_type, True), (value_type, False))
    )
    if not at_once:
        return RowCoder("t", key, value)
    as_json = types_as_json(key_type, None), types_as_json(value_type, None)
    return RowCoder("t", key, value, keys_as_json=as_json[0], values_as_json=as_json[1])


def rows(of: RowCoder, entries: dict[Any, Any]) -> Any:
    """The rows of these entries, or what is raised."""
    try:
        return list(of.rows_of({of.identity(key): value for key, value in entries.items()}).items())
    except Exception as error:  # noqa: BLE001 (it is compared)
        return type(error)


@pytest.mark.parametrize(("key_type", "value_type"), [(None, None), (str, int), (int, str), (str, float), (bytes, int)])
@given(entries=st.dictionaries(KEYS, VALUES, max_size=5))
@example(entries={"a\n\r\u2028\x85": 1, "é": 1 << 70, "": -5})
@example(entries={"a": 1, "\ud83d": 2})
@example(entries={"a": 1, "b": DELETED})
@example(entries={1: True, 2: 1, "1": 1.0})
@example(entries={})
def test_rows_encoded_at_once_are_those_encoded_one_by_one(
    key_type: Any, value_type: Any, entries: dict[Any, Any]
) -> None:
    """Also where texts have ends of lines, numbers are long, and some of the entries are refused."""
    at_once, one_by_one = (coder(key_type, value_type, at_once=is_so) for is_so in (True, False))
    assert rows(at_once, entries) == rows(one_by_one, entries)
