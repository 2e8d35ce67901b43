"""What is said of bytes that do not decode: half a character by its name, and plain text where JSON was declared."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcluster import App, Stream
from streamcluster.codecs.coding import explain
from streamcluster.codecs.plain import loads
from streamcluster.errors import DecodeError
from streamcluster.outside import Unreadable, parse
from streamcluster.testing import Driver


def error_of(data: bytes) -> Exception:
    """What the decoder of JSON raises."""
    try:
        loads(data)
    except Exception as error:  # noqa: BLE001 (it is the subject)
        return error
    raise AssertionError(f"{data!r} decodes")


@pytest.mark.parametrize(
    ("data", "half", "at"),
    [
        (rb'"\ud83d"', r"\ud83d", 1),
        (rb'{"name": "Ann \uD83D"}', r"\uD83D", 14),
        (rb'"\ud83d\ud83d\ude00"', r"\ud83d", 1),
        (rb'"\ud83d\ude00 \ud83d"', r"\ud83d", 14),
        (rb'"\ud83dx"', r"\ud83d", 1),
        (rb'"\\ud83d \ud83d"', r"\ud83d", 9),
        (b'"ab\xed\xa0\xbd"', r"\ud83d", 3),
    ],
)
def test_lone_surrogate_is_called_what_it_is(data: bytes, half: str, at: int) -> None:
    """msgspec says that the data was truncated."""
    said = explain(error_of(data), data)
    assert f"{half} at byte {at} is a lone surrogate" in said
    assert "truncated" not in said
    with pytest.raises(Unreadable, match="lone surrogate"):
        parse(loads, data, 1000)


@pytest.mark.parametrize(
    "data", [b'"abc', rb'"\\ud83d', b'"\xff\xfe"', b"hello", b'{"a": 1', b"\x1f\x8b\xed\xa0\x80\xff"]
)
def test_other_errors_keep_their_words(data: bytes) -> None:
    """What is truncated is truncated."""
    assert "surrogate" not in explain(error_of(data), data)


@given(st.text())
def test_whole_characters_are_no_halves(text: str) -> None:
    """Pairs of escapes, whatever stands around them."""
    data = json.dumps(text).encode() + b"x"
    assert "surrogate" not in explain(ValueError("truncated"), data)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"value_type": str}, 'declare app.topic(..., value_serializer="raw")'),
        ({}, 'declare app.topic(..., value_type=str, value_serializer="raw")'),
        ({"value_type": int}, None),
        ({"value_type": str, "value_serializer": "json|gzip"}, None),
    ],
)
def test_plain_text_in_place_of_json_is_said_once_with_the_fix(
    caplog: pytest.LogCaptureFixture, options: dict[str, Any], said: str | None
) -> None:
    """The first record says what to declare; every one goes to the dead letters."""
    app = App("a")
    lines = app.topic("lines", **options)

    @app.agent(lines)
    async def read(stream: Stream[object]) -> None:
        async for _ in stream:
            continue

    with Driver(app) as driver, caplog.at_level(logging.WARNING):
        for _ in range(3):
            driver.send("lines", value=b"hello world")
        assert len(driver.dead_letters()) == 3
    hints = [record.getMessage() for record in caplog.records if "app.topic(" in record.getMessage()]
    assert len(hints) == (said is not None)
    if said is not None:
        assert said in hints[0]
        assert "topic lines: " in hints[0]
        assert "b'hello world'" in hints[0]


def test_decode_error_of_gzip_has_no_halves() -> None:
    """Compressed bytes may look like anything."""
    assert "surrogate" not in explain(DecodeError("5 bytes of gzip"), b"\xed\xa0\x80\\ud83d")
