"""Text for people: what a terminal or a log would act on, written as escapes.

Keys, reasons, names and tracebacks hold what others have written; all of it passes here before it is shown.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable

# C0, DEL, C1, lone surrogates, the line and paragraph separators, and marks that turn the direction of text.
_ACTING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_ACTING_IN_LINES = re.compile(_ACTING.pattern.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))
_INDENT = "  "
# Of one value or error of others: a page of text. It may say anything, also 100 MB.
SHOWN_CHARS_MAX = 10_000
TRACEBACK_CHARS_MAX = 100_000
# So many errors of a chain or group are shown; nobody reads more.
CAUSES_MAX = 100


def printable(text: str) -> str:
    """One line that no terminal acts on, and that every encoding of Unicode takes."""
    return _ACTING.sub(_escape, text)


def printable_lines(text: str) -> str:
    """The same of several lines (a traceback): each is indented, so that none looks like a line of the log."""
    lines = _ACTING_IN_LINES.sub(_escape, text).split("\n")
    return "\n".join(_INDENT + line for line in lines)


def printable_message(text: str) -> str:
    """The same of a message: its first line where it stands, those that follow indented."""
    return printable_lines(text).removeprefix(_INDENT)


def printable_json(text: str) -> str:
    """JSON that no terminal acts on, and that means what it meant: encoders write none but C0 as escapes."""
    return _ACTING_IN_LINES.sub(_escape_in_json, text)


def encodable(text: str) -> str:
    """The same text in a form that UTF-8 has: for messages and files, where nothing but lone surrogates does harm."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="backslashreplace").decode()
    return text


def text_of(value: object) -> str:
    """str(value), whatever that does: errors and values may be of others' classes."""
    return _said(str, value)


def repr_of(value: object) -> str:
    """repr(value), whatever that does."""
    return _said(repr, value)


def _said(of: Callable[[object], str], value: object) -> str:
    try:
        text = of(value)
    except BaseException as error:  # noqa: BLE001 (others' code)
        return f"<a {type(value).__name__} that cannot be shown: {type(error).__name__}>"
    if len(text) > SHOWN_CHARS_MAX:
        return f"{text[:SHOWN_CHARS_MAX]}... ({len(text)} characters)"
    return text


def showable(error: BaseException) -> BaseException:
    """The error, or what stands for it where anybody's log handler shows it: its text or its causes do harm."""
    if _is_showable(error):
        return error
    return RuntimeError(f"{type(error).__name__}: {text_of(error)}").with_traceback(error.__traceback__)


def traceback_of(error: BaseException, chars_max: int = TRACEBACK_CHARS_MAX) -> str:
    """The traceback, whatever the error and its causes do; of one that is too long, the end."""
    return "".join(traceback.format_exception(showable(error)))[-chars_max:].rstrip("\n")


def _is_showable(error: BaseException) -> bool:
    """The error, its causes and its parts have texts that are short, and there are few of them."""
    waiting: list[BaseException] = [error]
    seen: set[int] = set()
    try:
        while waiting and len(seen) <= CAUSES_MAX:
            one = waiting.pop()
            if id(one) not in seen and len(str(one)) <= SHOWN_CHARS_MAX:
                parts = one.exceptions if isinstance(one, BaseExceptionGroup) else ()
                waiting += [other for other in (one.__cause__, one.__context__, *parts) if other is not None]
            elif id(one) not in seen:
                return False
            seen.add(id(one))
    except BaseException:  # noqa: BLE001 (others' code)
        return False
    return not waiting


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _escape_in_json(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
