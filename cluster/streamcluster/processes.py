"""What a process knows of its children, from the kernel alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


def own_children() -> Iterator[int]:
    """The process ids of this process's children, also of those that have ended. None on a kernel without the list."""
    for thread in Path("/proc/self/task").iterdir():
        # A thread that has just ended is not there either.
        with contextlib.suppress(OSError):
            yield from map(int, (thread / "children").read_text(encoding="ascii").split())
