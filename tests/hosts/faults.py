"""What can go wrong on the wires of the test's network: cuts, also one-way, losses, delays, a link that is down.

Cuts are rules of nftables in the namespace that packets arrive at. Which host needs what is not known here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.hosts.network import Network
from tests.hosts.tools import path_of, run


@dataclass(slots=True)
class Faults:
    """The faults of a network. Each stays until `heal`."""

    network: Network
    # (from, to): packets that are dropped on arrival.
    _cuts: set[tuple[str, str]] = field(default_factory=set)
    # Name -> per cent of arriving packets that are dropped.
    _losses: dict[str, int] = field(default_factory=dict)
    _delayed: set[str] = field(default_factory=set)
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
        """Packets that `name` sends take so much longer, more or less the jitter, and so many per cent are lost.

        Raises:
            NetworkMissing: the kernel has no netem.
        """
        how = ["delay", f"{milliseconds}ms", f"{jitter}ms", *(["loss", f"{loss}%"] if loss else [])]
        self._tc(name, "qdisc", "replace", "dev", "eth0", "root", "netem", *how)
        self._delayed.add(name)

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
        while self._delayed:
            self._tc(self._delayed.pop(), "qdisc", "del", "dev", "eth0", "root")
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

    def _tc(self, name: str, *arguments: str) -> None:
        run([path_of("tc"), "-n", self._namespace(name), *arguments])


def _as_names(names: str | Iterable[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)
