"""Text for people: no key, name or traceback moves a cursor, forges a line or ends an encoder."""

from __future__ import annotations

import json
import unicodedata

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcluster.printable import encodable, printable, printable_json, printable_lines, printable_message

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;PWNED\x07", r"\x1b]0;PWNED\x07"),
        ("a\n09:00:00 app is running fine", r"a\x0a09:00:00 app is running fine"),
        ("\x9b2J", r"\x9b2J"),
        ("\x7f", r"\x7f"),
        ("abc\u202edcba", r"abc\u202edcba"),
        ("one\u2028two", r"one\u2028two"),
        ("\ud800", r"\ud800"),
        ("Zürich 東京 🚀", "Zürich 東京 🚀"),
    ],
)
def test_what_acts_is_escaped_and_all_else_is_kept(text: str, shown: str) -> None:
    """Controls, direction marks, separators and lone surrogates; not letters."""
    assert printable(text) == shown


@given(ANY_TEXT)
def test_nothing_acts(text: str) -> None:
    """Of any text comes one line that can be encoded and holds no control."""
    shown = printable(text)
    shown.encode()
    assert len(shown.splitlines()) <= 1
    assert not any(unicodedata.category(one) in ("Cc", "Zl", "Zp", "Cs") for one in shown)


@given(ANY_TEXT)
def test_lines_are_indented(text: str) -> None:
    """A traceback keeps its lines, and none begins where a line of the log does."""
    shown = printable_lines(text)
    shown.encode()
    assert all(line.startswith("  ") for line in shown.split("\n"))
    assert shown.count("\n") == text.count("\n")


@given(ANY_TEXT)
def test_a_message_begins_where_it_stands(text: str) -> None:
    """A line of the log goes on with it; what follows the first line is indented."""
    first, *others = printable_message(text).split("\n")
    assert first == printable_lines(text).split("\n")[0][2:]
    assert all(line.startswith("  ") for line in others)


@given(st.text(max_size=60))
def test_json_means_what_it_meant(text: str) -> None:
    """DEL, C1 and marks are written as JSON writes them, so whoever reads it gets the same text."""
    line = printable_json(msgspec.json.encode({"text": text}).decode())
    assert json.loads(line) == {"text": text}
    assert not any(unicodedata.category(one) in ("Cc", "Zl", "Zp") for one in line)


@given(ANY_TEXT)
def test_encodable_changes_lone_surrogates_only(text: str) -> None:
    """What UTF-8 has stays as it is."""
    shown = encodable(text)
    shown.encode()
    if not any("\ud800" <= one <= "\udfff" for one in text):
        assert shown == text
