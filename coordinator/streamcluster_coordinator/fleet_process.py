"""The first lines that run in a process of the fleet: find the entry by name and call it.

It is imported by every worker, so it imports nothing but the standard library.
"""

from __future__ import annotations

import importlib
import signal
import socket

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
    if sock.recv(1) != GO:
        # The coordinator is gone.
        return
    module, _, function = entry.partition(":")
    getattr(importlib.import_module(module), function)(*before, sock, *after)
