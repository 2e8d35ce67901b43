"""Two hosts that share an app on this machine: started, killed, dismissed and brought back, under load or without.

It decides what "settled" means; what is measured, the cases decide.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from streamcluster_coordinator.records.status import Status

from .application import STATUS_INTERVAL_S, WORKERS, Application, all_run
from .bench import Bench
from .clock import pause
from .hosts_watch import HostsWatch
from .latency import pace_command
from .orders import PARTITIONS
from .processes import Processes
from .throughput import watch
from .topics import Group

WORK = "keeping"
HOSTS = ("a", "b")
# A standby that is less behind takes over without a restore (the setting standby_lag_max).
LAG_MAX = 10_000
SETTLE_TIMEOUT_S = 150.0
PACE_S = 3600.0


@dataclass(slots=True)
class HostsCluster:
    """One app with many keys, its hosts, and the process that changes them. replicas: standbys of each task."""

    bench: Bench
    run: str = field(init=False)
    source: str = field(init=False)
    replicas: int = 1
    # The hosts that are meant to run.
    alive: dict[str, Application] = field(default_factory=dict)
    _all: list[Application] = field(default_factory=list)
    _watch: HostsWatch | None = None
    _pacer: Processes | None = None

    def __post_init__(self) -> None:
        self.run = self.bench.new_run()
        self.source = self.bench.rows(self.bench.sizes.hosts_rows)

    def fill(self, host: str) -> None:
        """Start the first host and wait until its tables have every key; from then on commits are watched."""
        app = self.start(host)
        app.wait_for(all_run, "running")
        group = Group(self.bench.bootstrap, app.group)
        try:
            watch(app.processes, group, [self.source])
        finally:
            group.close()
        self._watch = HostsWatch(self.bench.bootstrap, app.group, self.source)

    def start(self, host: str, **settings: str) -> Application:
        """Start a host, with the state that it had; returns at once."""
        app = self.bench.host(host, WORK, self.run, self.source, standby_replicas=str(self.replicas), **settings)
        self._all.append(app)
        self.alive[host] = app
        app.start()
        return app

    def kill(self, host: str) -> float:
        """kill -9 of everything of a host; return when."""
        app = self.alive.pop(host)
        app.processes.look_for_children()
        at = time.monotonic()
        app.processes.lose()
        return at

    def dismiss(self, host: str) -> tuple[float, int]:
        """TERM to a host; wait for its end, and return when it was sent and the exit code."""
        app = self.alive.pop(host)
        app.processes.look_for_children()
        at = time.monotonic()
        return at, app.processes.stop()[0]

    def load(self) -> None:
        """Change keys at the fixed rate, until `rest`; fine when that is done already."""
        if self._pacer is not None:
            return
        rate, rows = self.bench.sizes.hosts_rate, self.bench.sizes.hosts_rows
        command = pace_command(self.bench.bootstrap, self.source, "row", rate, PACE_S, rows)
        self._pacer = Processes([command], {}, self.bench.directory / f"{self.run}-pace")

    def rest(self) -> None:
        """Send nothing more."""
        if self._pacer is not None:
            self._pacer.stop()
            self._pacer = None

    @property
    def watch(self) -> HostsWatch:
        """Who looks at the commits."""
        assert self._watch is not None, "the cluster has not been filled"
        return self._watch

    def until(self, condition: Callable[[Status], bool], what: str, *, every_s: float = STATUS_INTERVAL_S) -> Status:
        """Ask the first host that is alive until `condition` holds. Raises RuntimeError when it does not in time."""
        if self._pacer is not None:
            self._pacer.check()
        return next(iter(self.alive.values())).wait_for(condition, what, SETTLE_TIMEOUT_S, every_s)

    def settle(self) -> Status:
        """Wait until all hosts that are alive have their share, and each task its standbys, without a lag to speak of.

        It must hold for a second: moves come one after the other.
        """
        self.settled()
        pause(1.0)
        return self.settled()

    def settled(self) -> Status:
        """The same, where nothing has happened since."""
        return self.until(self._is_settled, "settled")

    def _is_settled(self, status: Status) -> bool:
        members = {host.host for host in status.hosts if host.state == "member"}
        others = {host.host for host in status.hosts if host.state not in ("member", "left", "gone")}
        shares = owned_by_host(status)
        share = PARTITIONS // len(self.alive)
        standbys = min(self.replicas, len(self.alive) - 1)
        return (
            status.leader in self.alive
            and members == self.alive.keys()
            and not others
            and len(status.workers) == WORKERS * len(self.alive)
            and all(len(shares[host]) == share for host in self.alive)
            and all(task.state == "running" for task in status.tasks)
            and all(len([one for one in task.standbys if is_near(one.lag)]) == standbys for task in status.tasks)
        )

    def close(self) -> None:
        """Leave nothing running, and delete the topics that the app made."""
        self.rest()
        for app in self._all:
            app.kill()
        if self._watch is not None:
            self._watch.close()
        self.bench.topics.delete_of(self.run)


def is_near(lag: int | None) -> bool:
    """Whether a standby could take over without a restore."""
    return lag is not None and lag <= LAG_MAX


def owned_by_host(status: Status) -> dict[str, list[str]]:
    """Host -> its tasks, sorted; a host without one has none."""
    found: dict[str, list[str]] = {host.host: [] for host in status.hosts}
    for task in status.tasks:
        if task.owner is not None:
            found.setdefault(task.owner.partition("/")[0], []).append(task.task)
    return {host: sorted(tasks) for host, tasks in found.items()}
