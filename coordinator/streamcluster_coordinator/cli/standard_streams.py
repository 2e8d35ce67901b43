"""Standard input, output and error, whatever the parent has made of them: closed, a full disk, an old encoding.

A closed one is opened on /dev/null: its number would go to the next socket, and what libraries print into that.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import TextIO

_NUMBERS = (0, 1, 2)


def prepare_streams() -> None:
    """Open what is closed, and show what an encoding does not have as an escape. At the start of a process."""
    for number in _NUMBERS:
        _open_closed(number)
    sys.stdin = sys.stdin or _stream(0)
    sys.stdout = sys.stdout or _stream(1)
    sys.stderr = sys.stderr or _stream(2)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _open_closed(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
        os.set_inheritable(number, True)


def _stream(number: int) -> TextIO:
    return open(number, "w" if number else "r", encoding="utf-8", closefd=False)


def drop_output() -> None:
    """Write no more: what could not be written is tried again at the end of the process, and Python would complain."""
    for number in (1, 2):
        with contextlib.suppress(OSError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, number)
            os.close(null)
