"""What can go wrong on the wires of the test's network: cuts, also one-way, losses, delays, a link that is down.

Cuts are rules of nftables in the namespace that packets arrive at; delays are a process that carries frames, for netem
is missing in many kernels (CONFIG_NET_SCH_NETEM).
"""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.hosts.network import BRIDGE, Network
from tests.hosts.tools import path_of, run
from tests.process.waiting import eventually

_SLOW_WIRE = Path(__file__).with_name("slow_wire.py")
_WIRE_SECONDS = 30


@dataclass(slots=True)
class Faults:
    """The faults of a network. Each stays until `heal`."""

    network: Network
    # (from, to): packets that are dropped on arrival.
    _cuts: set[tuple[str, str]] = field(default_factory=set)
    # Name -> per cent of arriving packets that are dropped.
    _losses: dict[str, int] = field(default_factory=dict)
    # Name -> what carries its frames slowly.
    _slow: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _down: set[str] = field(default_factory=set)

    def cut(self, one: str | Iterable[str], other: str | Iterable[str]) -> None:
        """Nothing arrives between the two any more, in both directions; connections stay open and hear nothing."""
        self.cut_from(one, other)
        self.cut_from(other, one)

    def cut_from(self, sources: str | Iterable[str], targets: str | Iterable[str]) -> None:
        """Nothing arrives at the targets from the sources; the other way all is well."""
        pairs = itertools.product(_as_names(sources), _as_names(targets))
        self._cuts |= set(pairs)
        self._apply(_as_names(targets))

    def lose(self, name: str, percent: int) -> None:
        """Drop so many of a hundred packets that arrive at `name`."""
        self._losses[name] = percent
        self._apply([name])

    def delay(self, name: str, milliseconds: int, jitter: int = 0, loss: float = 0.0) -> None:
        """Packets from and to `name` take so much longer, more or less the jitter, and so many per cent are lost."""
        wire, near, far = self._wire(name)
        command = [sys.executable, str(_SLOW_WIRE), near, far, str(milliseconds), str(jitter), str(loss)]
        self._slow[name] = subprocess.Popen([*self.network.within(BRIDGE), *command], start_new_session=True)
        eventually(lambda: self._has_link(near) and self._has_link(far), _WIRE_SECONDS, "the slow wire is there")
        bridge = self._namespace(BRIDGE)
        self._ip("-n", bridge, "link", "add", wire, "type", "bridge")
        for link, master in ((wire, ""), (near, wire), (far, "br0"), (name, wire)):
            self._ip("-n", bridge, "link", "set", "dev", link, *(("master", master) if master else ()), "up")

    def down(self, name: str) -> None:
        """Its interface is gone: whoever sends from there is told so at once, unlike after a cut."""
        self._ip("-n", self._namespace(name), "link", "set", "eth0", "down")
        self._down.add(name)

    def heal(self) -> None:
        """Take every fault of the network back; frozen hosts stay frozen."""
        touched = {target for _, target in self._cuts} | set(self._losses)
        self._cuts.clear()
        self._losses.clear()
        self._apply(sorted(touched))
        while self._slow:
            name, process = self._slow.popitem()
            process.kill()
            process.wait(_WIRE_SECONDS)
            self._ip("-n", self._namespace(BRIDGE), "link", "set", "dev", name, "master", "br0")
            self._ip("-n", self._namespace(BRIDGE), "link", "del", self._wire(name)[0])
        while self._down:
            self._ip("-n", self._namespace(self._down.pop()), "link", "set", "eth0", "up")

    def _apply(self, names: Iterable[str]) -> None:
        """Tell the kernel what is dropped on arrival at these names: on arrival, since a sender would be told of it."""
        for name in names:
            rules = [f"ip saddr {self.network.address(source)} drop" for source, to in sorted(self._cuts) if to == name]
            if percent := self._losses.get(name):
                rules.append(f"numgen random mod 100 <= {percent - 1} drop")
            chain = ["type filter hook input priority 0; policy accept;", *rules]
            body = "\n".join(["table inet faults {", "chain input {", *chain, "}", "}"])
            # In one transaction: the old rules go when the new ones are there.
            text = f"table inet faults {{}}\ndelete table inet faults\n{body}\n"
            run([*self.network.within(name), path_of("nft"), "-f", "-"], text)

    def _namespace(self, name: str) -> str:
        return self.network.begin + name

    def _ip(self, *arguments: str) -> None:
        run([path_of("ip"), *arguments])

    def _has_link(self, link: str) -> bool:
        done = subprocess.run(
            [path_of("ip"), "-n", self._namespace(BRIDGE), "link", "show", "dev", link],
            capture_output=True,
            check=False,
        )
        return done.returncode == 0

    @staticmethod
    def _wire(name: str) -> tuple[str, str, str]:
        """Names of a bridge for the host alone, and of the two ends of the slow wire from there to the others."""
        return f"slow-{name}", f"near-{name}", f"far-{name}"


def _as_names(names: str | Iterable[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)
