"""Framing: a 4-byte big-endian length, then msgpack. Bytes in, messages out; it knows no socket."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

from ..outside import Unreadable, parse
from ..printable import encodable

M = TypeVar("M")
FRAME_BYTES_MAX = 64 * 1024 * 1024
_encoder = msgspec.msgpack.Encoder()


class FrameError(ValueError):
    """The peer sent bytes that are not frames of this protocol."""


def encode_frame(message: object) -> bytes:
    """One message as one frame. Texts of others that UTF-8 does not have (lone surrogates) are sent as escapes.

    Raises:
        FrameError: it is too large, or has a number that 64 bits do not hold.
    """
    try:
        try:
            body = _encoder.encode(message)
        except UnicodeEncodeError:
            body = _encoder.encode(_encodable(msgspec.to_builtins(message, builtin_types=(bytes,))))
    except (OverflowError, RecursionError) as error:
        raise FrameError(f"a message cannot be written: {error!s:.300}") from error
    if len(body) > FRAME_BYTES_MAX:
        raise FrameError(f"a frame of {len(body)} bytes is larger than {FRAME_BYTES_MAX}")
    return len(body).to_bytes(4, "big") + body


def _encodable(value: object) -> object:
    """Plain data whose texts all have a form in UTF-8."""
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, dict):
        return {_encodable(key): _encodable(one) for key, one in value.items()}
    return [_encodable(one) for one in value] if isinstance(value, list | tuple) else value


class FrameReader(Generic[M]):
    """Collects received bytes and yields whole messages, in order."""

    __slots__ = ("_buffer", "_decoder", "is_lost")

    def __init__(self, decoder: msgspec.msgpack.Decoder[M]) -> None:
        self._buffer = bytearray()
        self._decoder = decoder
        # After a length above the bound: where the next frame begins is not known.
        self.is_lost = False

    def feed(self, data: bytes) -> Iterator[M]:
        """Add `data` and yield each message that is complete now.

        Raises:
            FrameError: a length above the bound, or a body that is not a known message; what is behind that one
                comes with the next call, if only of b"".
        """
        self._buffer += data
        while len(self._buffer) >= 4:
            size = int.from_bytes(self._buffer[:4], "big")
            if size > FRAME_BYTES_MAX:
                self.is_lost = True
                raise FrameError(f"a frame of {size} bytes is larger than {FRAME_BYTES_MAX}")
            if len(self._buffer) < 4 + size:
                return
            body = bytes(self._buffer[4 : 4 + size])
            del self._buffer[: 4 + size]
            try:
                message = parse(self._decoder.decode, body, FRAME_BYTES_MAX)
            except Unreadable as error:
                raise FrameError(f"not a message of this protocol: {error}") from error
            yield message
