"""Bytes from outside to a value: the one way in for what others may have written.

Whatever decoding can raise becomes `Unreadable` here, so nobody behind it lists exceptions of decoders. It knows no
format: the decoder comes in, and checks ids, names, ranges and lengths by its types and hooks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from .codecs.surrogates import lone_surrogate
from .printable import text_of

T = TypeVar("T")
# What an explanation of somebody else's bytes may take of a line.
_WHY_CHARS_MAX = 300


class Unreadable(ValueError):
    """These bytes are not such a value; the text says why, in one line."""


def parse(decode: Callable[[bytes], T], data: bytes, bytes_max: int) -> T:
    """What `decode` makes of `data`, at most bytes_max long.

    Raises:
        Unreadable: too long, or `decode` raised, whatever it was: msgspec's errors, UnicodeDecodeError,
            RecursionError (decoders bound the depth by the interpreter's limit), ValueError and OverflowError of hooks,
            zlib's, EOFError, MemoryError.
    """
    if len(data) > bytes_max:
        raise Unreadable(f"{len(data)} bytes, and at most {bytes_max} are taken")
    try:
        return decode(data)
    except Unreadable:
        raise
    except Exception as error:
        # No list: a decoder's error that nobody foresaw ended threads.
        # Rows of tables are among what others have written.
        said = lone_surrogate(error, data) or text_of(error)
        raise Unreadable(f"{type(error).__name__}: {said:.{_WHY_CHARS_MAX}}") from error
