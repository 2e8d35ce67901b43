"""One host, then three, then one again, under load and without faults: windows are open and events wait all the time.

What must come out is judged by the same checks; that all hosts had tasks is seen here.
"""

from __future__ import annotations

from collections.abc import Callable

from streamcluster_coordinator.records.status import Status
from tests.ledger.chaos import Chaos
from tests.ledger.hosts import Host, Hosts
from tests.ledger.watching import slot_of_task
from tests.process.running import is_running
from tests.process.waiting import eventually

MOVED_SECONDS = 120.0


class Scaling:
    """Of one run. hosts: of which only the first is to begin; seconds: of the whole."""

    def __init__(self, hosts: Hosts, chaos: Chaos, seconds: float, say: Callable[[str], object]) -> None:
        self._hosts = hosts
        self._chaos = chaos
        self._seconds = seconds
        self._say = say
        self._others: list[Host] = hosts.all[1:]
        self._started: list[Host] = []
        self.exit_codes: dict[str, int] = {}
        del hosts.all[1:]

    @property
    def others(self) -> list[Host]:
        """Those that came and went."""
        return self._others

    def play(self, look: Callable[[], object]) -> None:
        """A third of the time with each number of hosts."""
        self._chaos.go_on((), self._seconds / 3, look)
        self._say(f"{len(self._others)} hosts more")
        for host in self._others:
            self._hosts.all.append(host)
            self._started.append(host)
            host.start()
            host.sampler.start()
        eventually(self._is_spread, MOVED_SECONDS, "each host has tasks", self._hosts.told)
        self._chaos.go_on((), self._seconds / 3, look)
        for host in self._others:
            self._say(f"{host.name} is drained")
            self._hosts.all.remove(host)
            self.exit_codes[host.name] = host.drain()
            host.sampler.stop()
        self._hosts.until(is_running, MOVED_SECONDS, "every task runs on the first host again")
        self._chaos.go_on((), self._seconds / 3, look)

    def close(self) -> None:
        """Leave nothing running, wherever it ended."""
        Hosts([host for host in self._started if host not in self._hosts.all]).close()

    def _is_spread(self) -> bool:
        statuses: list[Status] = self._hosts.statuses()
        tasks = self._hosts.tasks().values()
        owners = {slot_of_task(task).partition("/")[0] for task in tasks if task.state == "running"}
        return len(statuses) == len(self._hosts.all) == len(owners)
