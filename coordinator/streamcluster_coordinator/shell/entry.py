"""The first lines that run in a process of the fleet: find the entry by name and call it.

It is imported by every worker, so it imports nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import socket
from multiprocessing import forkserver
from types import FrameType

WORKER_ENTRY = "streamcluster_worker.main:run"
PROBE_ENTRY = "streamcluster_worker.main:probe"
FIRST_PRELOAD = "streamcluster_coordinator.shell.preload"
PRELOAD = "streamcluster_worker.preload"
GO = b"\x01"
# Those that a terminal or a service manager sends to every process.
GROUP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU)


def pass_over(_number: int, _frame: FrameType | None) -> None:
    """What a process of the fleet does about a group's signal: nothing. What it executes has the default again."""


def end_groups(owner: int) -> None:
    """The fork server ends, for its coordinator is gone: kill what is left of it, with all that users' code started.

    owner: its number. Programs that users' code forks come here too when they end.
    """
    if os.getpid() != owner:
        return
    with contextlib.suppress(FileNotFoundError):
        with open(f"/proc/self/task/{owner}/children") as children:
            workers = [int(pid) for pid in children.read().split()]
        # It has not reaped them, so their numbers are theirs.
        for pid in workers:
            end_group(pid)
    end_group(owner)


def end_group(pid: int) -> None:
    """Kill every process of the group that this one leads, or led."""
    # Who has changed its user is not ours to end.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def enter(entry: str, sock: socket.socket, before: tuple[object, ...], after: tuple[object, ...]) -> None:
    """Call `module:function(*before, sock, *after)`, once the coordinator has a hold on this process.

    A process that ended before that could be mistaken for another one with its number.
    """
    _let_go_of_fork_server()
    if sock.recv(1) != GO:
        # The coordinator is gone.
        return
    # A group of its own, with whatever users' code starts here, that ends with it.
    os.setpgid(0, 0)
    module, _, function = entry.partition(":")
    getattr(importlib.import_module(module), function)(*before, sock, *after)


def _let_go_of_fork_server() -> None:
    """Close our copy of the pipe by which the fork server knows that somebody needs it.

    It ends with the coordinator then, also when that is killed while a worker blocks its loop and hears nothing; and
    with the fork server the kernel ends every worker (PR_SET_PDEATHSIG).
    """
    server = forkserver._forkserver
    if (copy := getattr(server, "_forkserver_alive_fd", None)) is not None:
        os.close(copy)
        # For user code that starts a fork server of its own.
        server._forkserver_alive_fd = None  # type: ignore[attr-defined]
