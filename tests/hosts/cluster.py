"""One app on several hosts of the test's network: started, asked, killed and frozen host by host.

A host is a `Running` in a namespace with a state directory and a log of its own. Where tasks are is asked of any host
that answers. Knows nothing of brokers but their address.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from streamcluster_coordinator.records.status import Status
from tests.hosts.network import Network
from tests.process.records import Reader
from tests.process.running import Running, is_running, positions_of
from tests.process.waiting import eventually

HOSTS = ("a", "b", "c")
WORKERS = 2
UP_SECONDS = 90.0


class Cluster:
    """The hosts of one app, by name; which of them are alive is what the test did to them."""

    def __init__(self, network: Network, app: str, prefix: str, broker_url: str, directory: Path, **settings: object):
        self.network = network
        self._bootstrap = broker_url.removeprefix("kafka://")
        self._alive: dict[str, Running] = {}
        self.hosts: dict[str, Running] = {}
        for name in HOSTS:
            (directory / name).mkdir()
            within = network.within(name)
            self.hosts[name] = Running(app, prefix, broker_url, directory / name, within=within, **settings)

    def start(self, *names: str, workers: int = WORKERS) -> None:
        """Start the app on these hosts, and do not wait."""
        for name in names:
            self.hosts[name].start(workers, "--host", name)
            self._alive[name] = self.hosts[name]

    def kill(self, *names: str) -> float:
        """kill -9 of whole hosts, all at once; the seconds between the first signal and the last."""
        taken = self.network.kill(*names)
        for name in names:
            self._alive.pop(name).wait()
        return taken

    def kill_coordinators(self) -> None:
        """kill -9 of every coordinator, one right after the other; the workers are left to themselves."""
        for run in self._alive.values():
            run.process.kill()
        for run in self._alive.values():
            run.wait()
        self._alive.clear()

    def dismiss(self, name: str) -> Running:
        """Ask one host to leave, as systemd does, and return it without waiting for its end."""
        run = self._alive.pop(name)
        run.signal(signal.SIGTERM)
        return run

    @property
    def alive(self) -> list[str]:
        """The hosts that are meant to run."""
        return sorted(self._alive)

    def statuses(self, but: Sequence[str] = ()) -> list[Status | None]:
        """What each host says, None from one that does not answer; those in `but` are not asked: frozen, or cut."""
        return [run.status() for name, run in sorted(self._alive.items()) if name not in but]

    def check_alive(self) -> None:
        """See that no host has ended by itself."""
        ended = {name: code for name, run in self._alive.items() if (code := run.process.poll()) is not None}
        assert not ended, f"ended by themselves: {ended}\n{self.told()}"

    def until(
        self, condition: Callable[[Status], Any], what: str, seconds: float = UP_SECONDS, but: Sequence[str] = ()
    ) -> Status:
        """Wait until what every host says fits, and return what one says; a host that ends by itself is said.

        Every one, because a host that was cut off knows only what was.
        """

        def fits() -> Status | None:
            self.check_alive()
            found = self.statuses(but)
            return found[0] if all(one is not None and condition(one) for one in found) else None

        return eventually(fits, seconds, what, lambda: f"{self.statuses(but)}\n{self.told()}")  # type: ignore[return-value]

    def until_running(self, seconds: float = UP_SECONDS, but: Sequence[str] = ()) -> Status:
        """Wait until every task runs on a host that is alive and not in `but`, and every alive one has a task."""
        return self.until(
            lambda status: is_spread(status, {*self._alive} - {*but}), "every task runs on every host", seconds, but
        )

    def until_caught_up(self, seconds: float = UP_SECONDS) -> Status:
        """Wait until every task runs and has committed everything that there is."""
        reader = Reader(self._bootstrap)
        try:
            return self.until(
                lambda status: is_running(status) and reader.is_reached(positions_of(status)),
                "every task has caught up",
                seconds,
            )
        finally:
            reader.close()

    def leader(self) -> str:
        """The leader's host."""
        status = self.until(leader_of, "there is a leader")
        return str(leader_of(status))

    def shrink_to_one(self) -> Running:
        """Let all hosts but one leave, and return that one once it runs every task."""
        for name in self.alive[1:]:
            run = self.dismiss(name)
            assert run.wait() == 0, run.log_end()
        self.until_running()
        return self._alive[self.alive[0]]

    def told(self) -> str:
        """The end of every log."""
        return "\n".join(run.log_end() for run in self.hosts.values() if run.log_path.exists())

    def close(self) -> None:
        """Leave nothing running, thawed or not."""
        self.network.kill(*HOSTS)
        for run in self.hosts.values():
            run.close()


def is_spread(status: Status, hosts: Set[str]) -> bool:
    """Whether every task runs, each of these hosts has some of them, and no other host has one."""
    return is_running(status) and set(owners(status).values()) == hosts


def owners(status: Status) -> Mapping[str, str]:
    """Task -> the host that owns it; tasks without an owner are left out."""
    found = {task.task: task.owner for task in status.tasks}
    return {task: owner.partition("/")[0] for task, owner in found.items() if owner}


def leader_of(status: Status) -> str | None:
    """The leader's host; None while there is none."""
    return status.leader


def standbys(status: Status) -> Mapping[str, list[str]]:
    """Task -> the hosts that keep a copy of its state."""
    return {task.task: [one.slot.partition("/")[0] for one in task.standbys] for task in status.tasks}
