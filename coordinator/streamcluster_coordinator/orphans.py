"""What process 1 of a container owes the others: it takes note of the end of those whose parent is gone.

Nobody else does, and each that is left is a process number less. It ends nobody, and leaves our own children alone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path

INIT = 1
# An orphan that has ended costs nothing but its number meanwhile.
REAP_SECONDS = 1.0


def is_init() -> bool:
    """Whether orphans of this machine or container become our children."""
    return os.getpid() == INIT


def reap_orphans(ours: Collection[int]) -> None:
    """Take note of every child that has ended, but for `ours`, whose ends others wait for."""
    for pid in set(_children()) - set(ours):
        # It is gone when a library of ours has waited for it meanwhile.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def _children() -> Iterator[int]:
    """By number: to ask for any child would find the same one of ours first, again and again."""
    for thread in Path("/proc/self/task").iterdir():
        # A thread that has just ended; a kernel without this list has whoever starts containers add an init.
        with contextlib.suppress(OSError):
            yield from map(int, (thread / "children").read_text(encoding="ascii").split())
