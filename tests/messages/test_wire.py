"""Framing: what goes in comes out whole, however the bytes are cut, and garbage is refused instead of guessed at."""

from __future__ import annotations

import contextlib
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcluster.ids import TaskId
from streamcluster.protocol.messages import (
    Drain,
    Failed,
    Grant,
    Lead,
    ReadTable,
    Report,
    Revoke,
    Rows,
    TaskFigures,
    TaskReport,
    ToCoordinator,
    ToWorker,
    WorkerFigures,
)
from streamcluster.protocol.wire import FRAME_BYTES_MAX, FrameError, FrameReader, encode_frame

EPOCHS = st.integers(0, 2**40)
TASKS = st.lists(st.builds(TaskId, st.integers(1, 999), st.integers(0, 998)), max_size=20).map(tuple)
MESSAGES = st.one_of(
    st.builds(Grant, epoch=EPOCHS, tasks=TASKS),
    st.builds(Revoke, epoch=EPOCHS, tasks=TASKS),
    st.builds(Lead, epoch=EPOCHS, leader=st.booleans()),
    st.builds(Drain),
    st.builds(ReadTable, request=EPOCHS, table=st.text(max_size=20), key=st.none() | st.text(max_size=20)),
)


def reader() -> FrameReader[ToWorker]:
    """A reader of what a worker gets."""
    return FrameReader(msgspec.msgpack.Decoder(ToWorker))


@given(st.lists(MESSAGES, max_size=8), st.lists(st.integers(1, 40), min_size=1, max_size=10))
def test_messages_survive_any_cutting_of_the_bytes(messages: list[ToWorker], sizes: list[int]) -> None:
    """Whole messages come out in order whatever pieces the socket makes of them, and nothing stays behind."""
    data = b"".join(encode_frame(message) for message in messages)
    frames = reader()
    received: list[ToWorker] = []
    at = turn = 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        received += frames.feed(data[at : at + size])
        at, turn = at + size, turn + 1
    assert received == messages
    assert list(frames.feed(b"")) == []


@given(st.binary(max_size=200))
def test_garbage_is_a_frame_error_or_waits_for_more(data: bytes) -> None:
    """No bytes make the reader raise anything but FrameError, and what it yields are messages."""
    frames = reader()
    with contextlib.suppress(FrameError):
        for message in frames.feed(data):
            assert isinstance(message, Grant | Revoke | Lead | Drain | ReadTable)


def test_frame_above_the_bound_is_refused_at_its_length() -> None:
    """A length that no message has is refused before its bytes are waited for, and never sent."""
    with pytest.raises(FrameError, match=str(FRAME_BYTES_MAX)):
        list(reader().feed((FRAME_BYTES_MAX + 1).to_bytes(4, "big")))
    with pytest.raises(FrameError, match=str(FRAME_BYTES_MAX)):
        encode_frame(b"x" * (FRAME_BYTES_MAX + 1))


def test_unknown_message_is_refused() -> None:
    """A frame of another version's message is an error that says so."""
    with pytest.raises(FrameError, match="not a message"):
        list(reader().feed(encode_frame({"type": "FromTheFuture"})))


@pytest.mark.parametrize(
    "message",
    [
        Failed(exit_code=1, text="it is \ud800", traceback="\udfff"),
        Report(
            slot=1,
            tasks=(TaskReport(task=TaskId(4, 1), state="failing", figures=TaskFigures(error="\ud800")),),
            figures=WorkerFigures(note="\udcff"),
        ),
        Rows(request=7, rows=(("1", "2"),), error="\ud800"),
    ],
)
def test_texts_that_utf8_does_not_have_are_sent_as_escapes(message: ToCoordinator) -> None:
    """A lone surrogate, out of a repr or of JSON, costs a message nothing but that character."""
    [received] = FrameReader(msgspec.msgpack.Decoder(ToCoordinator)).feed(encode_frame(message))
    escaped = re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", repr(msgspec.to_builtins(message)))
    assert repr(msgspec.to_builtins(received)).replace("\\\\", "\\") == escaped


def test_an_array_that_says_to_be_endless_is_refused_at_its_length() -> None:
    """Its members are not waited for."""
    frame = encode_frame(Grant(epoch=1, tasks=()))
    assert frame.count(b"\xa5tasks\x90") == 1
    body = frame[4:].replace(b"\xa5tasks\x90", b"\xa5tasks\xdd\x00\x10\x00\x00")
    with pytest.raises(FrameError, match=r"array.*of length <= 100000"):
        list(reader().feed(len(body).to_bytes(4, "big") + body))


def test_what_is_behind_a_bad_message_comes_with_the_next_call() -> None:
    """Without any more bytes: a message must not wait for what may never come."""
    frames = reader()
    with pytest.raises(FrameError, match="not a message"):
        list(frames.feed(encode_frame({"type": "FromTheFuture"}) + encode_frame(Drain())))
    assert list(frames.feed(b"")) == [Drain()]
    assert not frames.is_lost


def test_a_number_that_64_bits_do_not_hold_is_a_frame_error() -> None:
    """And no other error."""
    with pytest.raises(FrameError, match="cannot be written"):
        encode_frame(ReadTable(request=1 << 70, table="t"))
