"""What a process knows of its children, from the kernel alone.

It is /proc/self, which is this process in whatever namespace: who asks by its number, as psutil does, is told of
another one where /proc is that of another namespace; and what is found here may be killed.
"""

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
