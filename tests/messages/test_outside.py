"""The one way in: whatever a decoder raises is one error, and the value is never half read."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import msgspec
import pytest

from streamcluster.ids import TaskId
from streamcluster.outside import Unreadable, parse
from streamcluster.protocol.wire import FrameError, FrameReader

DEEP = b"[" * 200_000
json_of = msgspec.json.Decoder().decode


def text_id(data: bytes) -> TaskId:
    """A decoder whose hook raises ValueError."""
    return TaskId.parse(data.decode())


@pytest.mark.parametrize(
    ("decode", "data"),
    [
        (json_of, b'{"host":"\xff\xfe"}'),
        (json_of, DEEP),
        (json_of, b"{"),
        (text_id, b"nonsense"),
        (text_id, b"1_" + b"9" * 5_000),
        (gzip.decompress, b"\x1f\x8b\x08\x00short"),
        (msgspec.json.Decoder(int).decode, b"1e400"),
    ],
)
def test_whatever_a_decoder_raises_is_unreadable(decode: Callable[[bytes], object], data: bytes) -> None:
    """UTF-8, depth, hooks, too short, too large: one error, whose text is one short line."""
    with pytest.raises(Unreadable) as caught:
        parse(decode, data, 1_000_000)
    assert len(str(caught.value)) < 400


def test_too_long_is_refused() -> None:
    """The bound comes before the decoder, which would have taken it."""
    assert parse(json_of, b"17", 2) == 17
    with pytest.raises(Unreadable, match="at most 2"):
        parse(json_of, b"170", 2)


@pytest.mark.parametrize("body", [b"\xa2\xff\xfe", b"\x82\xa4type\xa4Ask1\xa1x" + b"\x91" * 200_000])
def test_frames_that_a_decoder_chokes_on_are_frame_errors(body: bytes) -> None:
    """Bad UTF-8 and depth in a field nobody knows come out as FrameError, as the reader promises."""
    frames: FrameReader[object] = FrameReader(msgspec.msgpack.Decoder())
    with pytest.raises(FrameError):
        list(frames.feed(len(body).to_bytes(4, "big") + body))
