"""A network of its own for a test run: hosts as network namespaces on one bridge, and the processes in them.

Everything is made inside of namespaces that carry this process's id in their names, so that runs beside each other
never meet, no interface of the machine is touched, and what a killed run left behind is known by its dead id. The test
itself goes into the namespace of a client (`entered`). Knows nothing of Kafka and of apps; what goes wrong on the wires
is in faults.py.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil

from tests.hosts.namespace import NAMESPACES, end_all, pids_in, signal_all
from tests.hosts.tools import NetworkMissing, check_tools, path_of, run
from tests.process.waiting import eventually

PREFIX = "streamcluster-"
BRIDGE = "bridge"
# Those of the namespaces: no packet leaves them, so that no address of the machine or of another run is in the way.
SUBNET = "10.77.0"
_NUMBERS = itertools.count(1)
_CLONE_NEWNET = 0x40000000
_END_SECONDS = 20


@dataclass(slots=True)
class Network:
    """Namespaces on a bridge while this context manager is open.

    Args:
        names: of the hosts and whatever else has an address; short ones, they name interfaces.
        begin: begins the names of our namespaces.
    """

    names: Sequence[str]
    begin: str = field(default_factory=lambda: f"{PREFIX}{os.getpid()}-{next(_NUMBERS)}-")

    def __enter__(self) -> Self:
        check_tools()
        remove_leftovers()
        try:
            self._make()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def address(self, name: str) -> str:
        """The address of a name."""
        return f"{SUBNET}.{list(self.names).index(name) + 1}"

    def within(self, name: str) -> tuple[str, ...]:
        """What a command begins with to run at `name`; the process is the command itself, not its parent."""
        # Not `ip netns exec`, which also hides /sys with its cgroups behind a new mount.
        return (path_of("nsenter"), f"--net={NAMESPACES / self.begin}{name}", "--")

    @contextlib.contextmanager
    def entered(self, name: str) -> Iterator[None]:
        """Sockets that this thread opens, and threads and processes that it starts, are at `name` meanwhile."""
        with Path("/proc/thread-self/ns/net").open() as home, (NAMESPACES / f"{self.begin}{name}").open() as there:
            _set_namespace(there.fileno())
            try:
                yield
            finally:
                _set_namespace(home.fileno())

    def freeze(self, name: str) -> None:
        """Stop every process at `name`, as a paused machine does: its connections stay open."""
        signal_all(self.begin + name, signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """Let them go on."""
        signal_all(self.begin + name, signal.SIGCONT)

    def kill(self, *names: str) -> float:
        """kill -9 of every process at these names, all at once; the seconds between the first signal and the last."""
        return end_all([self.begin + name for name in names])

    def pids(self, name: str) -> list[int]:
        """The processes at `name`."""
        return pids_in(self.begin + name)

    def remove(self) -> None:
        """End what runs in our namespaces, and take them away."""
        _remove([name for name in _namespaces() if name.startswith(self.begin)])

    def _make(self) -> None:
        bridge = self.begin + BRIDGE
        self._ip("netns", "add", bridge)
        self._ip("-n", bridge, "link", "add", "br0", "type", "bridge")
        self._ip("-n", bridge, "link", "set", "br0", "up")
        for name in self.names:
            own = self.begin + name
            self._ip("netns", "add", own)
            # Made where they belong, so that the machine never sees them.
            pair = ("type", "veth", "peer", "name", name, "netns", bridge)
            self._ip("link", "add", "eth0", "netns", own, *pair)
            self._ip("-n", bridge, "link", "set", "dev", name, "master", "br0", "up")
            self._ip("-n", own, "address", "add", f"{self.address(name)}/24", "dev", "eth0")
            self._ip("-n", own, "link", "set", "lo", "up")
            self._ip("-n", own, "link", "set", "eth0", "up")

    def _ip(self, *arguments: str) -> None:
        run([path_of("ip"), *arguments])


def remove_leftovers() -> None:
    """Take away what runs of ours left behind that were killed: their process id is in the name, and dead."""
    left = [name for name in _namespaces() if name.startswith(PREFIX)]
    _remove([name for name in left if not psutil.pid_exists(_owner(name))])


def _owner(name: str) -> int:
    number = name.removeprefix(PREFIX).partition("-")[0]
    # A name that is not ours in spite of its beginning counts as that of a living process.
    return int(number) if number.isdecimal() else os.getpid()


def _namespaces() -> list[str]:
    return sorted(path.name for path in NAMESPACES.iterdir()) if NAMESPACES.exists() else []


def _remove(names: Sequence[str]) -> None:
    end_all(names)
    for name in names:
        eventually(lambda name=name: not pids_in(name), _END_SECONDS, f"{name} is empty")  # type: ignore[misc]
        # Another run may have come first.
        if (NAMESPACES / name).exists():
            run([path_of("ip"), "netns", "del", name])


def _set_namespace(descriptor: int) -> None:
    # os.setns is there from Python 3.12 on.
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET) != 0:
        raise NetworkMissing(f"setns is not permitted: {os.strerror(ctypes.get_errno())}")
