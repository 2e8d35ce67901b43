"""The keys of windows that are over: of those that are only deleted, memory knows most."""

from __future__ import annotations

from typing import Any

import pytest

from streamcluster.codecs.table_coding import KeyPart, make_table_coder
from streamcluster.engine.rows import RowCoder
from streamcluster.errors import UndecodableRow
from streamcluster.windows.keys import windowed


def test_keys_that_memory_has_are_not_decoded_again() -> None:
    """Others are, and of those that nobody can read it is said."""
    key = make_table_coder(None, None, allow_pickle=False, is_key=True)
    value = make_table_coder(int, None, allow_pickle=False)
    of_json = RowCoder("t", windowed(key), value, part=KeyPart(key[0], frozenset({str})))
    decoded: list[bytes] = []
    decode = of_json._decode_key

    def noted(data: bytes) -> Any:
        decoded.append(data)
        return decode(data)

    of_json._decode_key = noted
    rows = [windowed(key)[0]((name, 0, 10_000)) for name in "abc"]
    assert of_json.read_identities(rows, dict.fromkeys(rows, 1)) == rows
    assert decoded == []
    assert of_json.read_identities(rows, dict.fromkeys(rows[1:], 1)) == rows
    assert decoded == rows
    with pytest.raises(UndecodableRow):
        of_json.read_identities([*rows, b"no window"], dict.fromkeys(rows, 1))
