"""The first lines that run in a process of the fleet: find the entry by name and call it.

It is imported by every worker, so it imports nothing but the standard library.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
from multiprocessing import forkserver

WORKER_ENTRY = "streamcluster_worker.main:run"
PROBE_ENTRY = "streamcluster_worker.main:probe"
FIRST_PRELOAD = "streamcluster_coordinator.fleet_preload"
PRELOAD = "streamcluster_worker.preload"
GO = b"\x01"
# Those that a terminal or a service manager sends to every process.
GROUP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU)


def enter(entry: str, sock: socket.socket, before: tuple[object, ...], after: tuple[object, ...]) -> None:
    """Call `module:function(*before, sock, *after)`, once the coordinator has a hold on this process.

    A process that ended before that could be mistaken for another one with its number.
    """
    _let_go_of_fork_server()
    if sock.recv(1) != GO:
        # The coordinator is gone.
        return
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
