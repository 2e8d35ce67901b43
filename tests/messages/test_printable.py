"""Text for people: no key, name or traceback moves a cursor, forges a line or ends an encoder."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcluster.printable import printable, printable_lines

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
