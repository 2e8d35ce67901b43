"""What process 1 of a container owes the others: it takes note of the end of those whose parent is gone.

Nobody else does, and each that is left is a process number less. It ends nobody, and leaves our own children alone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection

from streamcluster.processes import own_children

INIT = 1
# An orphan that has ended costs nothing but its number meanwhile.
REAP_SECONDS = 1.0


def is_init() -> bool:
    """Whether orphans of this machine or container become our children."""
    return os.getpid() == INIT


def reap_orphans(ours: Collection[int]) -> None:
    """Take note of every child that has ended, but for `ours`, whose ends others wait for.

    By number: to ask for any child would find the same one of ours first, again and again. Where the kernel has no list
    of children, whoever starts containers adds an init.
    """
    for pid in set(own_children()) - set(ours):
        # It is gone when a library of ours has waited for it meanwhile.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
