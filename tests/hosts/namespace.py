"""The processes in a network namespace: found, and signalled all at once. Never the process that asks."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection, Sequence
from pathlib import Path

NAMESPACES = Path("/run/netns")
# A process that is forking while we look shows up in the next look; one that never stops to fork is an error.
_LOOKS_MAX = 20


def pids_in(namespace: str) -> list[int]:
    """The processes in a namespace; those that are dead and not yet reaped do not count."""
    return sorted(_pids([namespace]))


def signal_all(namespace: str, number: signal.Signals) -> None:
    """Send a signal to every process, also to those that are born meanwhile, once each."""
    told: set[int] = set()
    for _ in range(_LOOKS_MAX):
        new = _pids([namespace]) - told
        if not new:
            return
        _send(new, number)
        told |= new
    raise AssertionError(f"processes are born in {namespace} faster than they can be signalled")


def end_all(namespaces: Sequence[str]) -> float:
    """kill -9 of every process in all of these; return the seconds between the first signal and the last."""
    pids = _pids(namespaces)
    begin = time.monotonic()
    _send(pids, signal.SIGKILL)
    taken = time.monotonic() - begin
    for namespace in namespaces:
        signal_all(namespace, signal.SIGKILL)
    return taken


def _pids(namespaces: Sequence[str]) -> set[int]:
    wanted = set()
    for name in namespaces:
        with contextlib.suppress(FileNotFoundError):
            there = (NAMESPACES / name).stat()
            wanted.add((there.st_dev, there.st_ino))
    found = set()
    for path in Path("/proc").iterdir():
        if not path.name.isdecimal() or int(path.name) == os.getpid():
            continue
        # Gone meanwhile, or a zombie, which is in no namespace any more.
        with contextlib.suppress(OSError):
            its = (path / "ns" / "net").stat()
            if (its.st_dev, its.st_ino) in wanted:
                found.add(int(path.name))
    return found


def _send(pids: Collection[int], number: signal.Signals) -> None:
    for pid in sorted(pids):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
