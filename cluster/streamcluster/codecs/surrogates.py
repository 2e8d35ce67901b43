"""Half of a character in what others have written: found, and called what it is.

Java and JavaScript count characters outside of the first 65,536 as two halves, and cutting a text there leaves one,
as `\\ud83d` in JSON or as three bytes. No text in Unicode has that; decoders say that the data was cut.
"""

from __future__ import annotations

import re

from ..printable import text_of

# An escape of JSON; a backslash that is escaped itself begins none.
_ESCAPES = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_BYTES = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
# Of decoders of JSON, for a half at the end of the data and elsewhere.
_WORDS = ("surrogate", "truncated")
_HIGH = range(0xD800, 0xDC00)
_LOW = range(0xDC00, 0xE000)


def lone_surrogate(error: BaseException, data: bytes) -> str | None:
    """Which half a decoder has failed on, where, and what it is; None: it was something else."""
    if isinstance(error, UnicodeDecodeError):
        # Other bytes than those may look the same by chance.
        found = _raw(data) if _BYTES.match(error.object, error.start) else None
    else:
        text = text_of(error)
        found = _escaped(data) if any(word in text for word in _WORDS) else None
    if found is None:
        return None
    at, half = found
    what = "half of a character, which no text can have (an emoji that was cut in two?)"
    return f"{half} at byte {at} is a lone surrogate: {what}"


def _raw(data: bytes) -> tuple[int, str] | None:
    """The first half that is three bytes."""
    found = _BYTES.search(data)
    if found is None:
        return None
    half = found[0].decode(errors="surrogatepass")
    return found.start(), half.encode("ascii", "backslashreplace").decode()


def _escaped(data: bytes) -> tuple[int, str] | None:
    """The first half that is written as an escape, and where."""
    # The first half of a pair: where it is, and where its second must be.
    open_at, expected_at = -1, -1
    for escape in _ESCAPES.finditer(data):
        code = int(escape[1], 16) if escape[1] else 0
        if open_at >= 0 and (code not in _LOW or escape.start() != expected_at):
            break
        if code in _LOW and open_at < 0:
            return escape.start(), escape[0].decode()
        is_high = code in _HIGH
        open_at, expected_at = (escape.start(), escape.end()) if is_high else (-1, -1)
    return (open_at, data[open_at : open_at + 6].decode()) if open_at >= 0 else None
