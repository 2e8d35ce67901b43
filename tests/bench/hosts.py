"""The cases with several hosts: one cluster of two, to which one thing after the other happens under load.

What happened is taken from outside: from committed offsets and the control log (hosts_timeline.py); `status` is asked
for restored records alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from confluent_kafka import KafkaException

from streamcluster.errors import StreamclusterError
from streamcluster_coordinator.records.snapshot import status_topic
from streamcluster_coordinator.records.status import Status

from .bench import Bench
from .clock import pause
from .hosts_cluster import HOSTS, HostsCluster, owned_by_host
from .hosts_timeline import Handover, Timeline, all_known, partition_of
from .recovery import Restore
from .topics import Group

RECOVERY_TIMEOUT_S = 120.0
# A commit that a dead worker had asked for still lands; nobody else commits before the host is missed, 3 s later.
LANDING_S = 0.5
ASK_S = 0.2
# How often `status` is asked while tasks come back.
LOOK_S = 0.05
# A worker reports with each heartbeat; the default is too coarse to time a restore with.
RESTORE_HEARTBEAT_S = "0.05"
FIRST, SECOND = HOSTS


@dataclass(frozen=True, slots=True)
class Back:
    """A host came, or came back. gap: the longest time without a commit of a task; restored: of a task that moved."""

    gap: float
    restored: int
    handovers: list[Handover]

    def __str__(self) -> str:
        return f"moved {', '.join(map(str, self.handovers)) or 'nothing'}"


@dataclass(slots=True)
class Hosts:
    """One run of the cases. back: what was seen each time that a host came back."""

    bench: Bench
    cluster: HostsCluster
    back: list[Back] = field(default_factory=list)

    def add(self, case: str, figure: str, value: float, note: str = "") -> None:
        """Add a figure, with how busy the machine was."""
        load = f"load {os.getloadavg()[0]:.1f}"
        self.bench.report.add(case, figure, value, f"{note}, {load}" if note else load)

    @property
    def timeline(self) -> Timeline:
        """What was seen so far."""
        return self.cluster.watch.timeline


def measure_hosts(bench: Bench, names: Collection[str]) -> None:
    """Measure these of CASES on one cluster; one that fails leaves its reason, and the next one is tried."""
    cluster = HostsCluster(bench)
    hosts = Hosts(bench, cluster)
    try:
        cluster.fill(FIRST)
        for name, measure in CASES.items():
            # The second host has to join anyway.
            if name in names or name == "join":
                began = time.monotonic()
                try:
                    cluster.load()
                    measure(hosts)
                except (RuntimeError, ValueError, OSError, KafkaException, StreamclusterError) as error:
                    bench.report.failures[name] = f"{type(error).__name__}: {error}"
                    print(f"{name}: FAILED: {error}", flush=True)
                    _bring_back(hosts)
                print(f"-- {name}: {time.monotonic() - began:.0f} s", flush=True)
        if hosts.back:
            worst = max(hosts.back, key=lambda back: back.gap)
            restored = max(back.restored for back in hosts.back)
            hosts.add("join", "back: no commit s", worst.gap, f"the worst of {len(hosts.back)} times; {worst}")
            hosts.add("join", "back: restored/task", restored, "of tasks that moved")
    finally:
        cluster.close()


def _measure_join(hosts: Hosts) -> None:
    """The second host comes, with nothing on its disk."""
    hosts.cluster.until(_all_tasks_run, "running")
    pause(hosts.bench.sizes.calm_s)
    began = time.monotonic()
    hosts.cluster.start(SECOND)
    seen = _settle(hosts, began)
    hosts.add("join", "no commit s", seen.gap, str(seen))
    hosts.add("join", "moving s", max(one.moving for one in seen.handovers), "from asked back to given, worst task")
    hosts.add("join", "restored records/task", seen.restored, "of tasks that moved")
    hosts.add("join", "settled s", time.monotonic() - began, "with standbys")


def _settle(hosts: Hosts, began: float) -> Back:
    """Wait until all hosts have their share, and say what was seen meanwhile."""
    status = hosts.cluster.settle()
    # Whoever reads the control log for us may know less than the hosts do.
    _until(hosts.cluster, lambda: hosts.timeline.reached(status.epoch), f"epoch {status.epoch} is seen in the log")
    now = time.monotonic()
    handovers = hosts.timeline.handovers(began, now)
    restored = _restored(status, [one.task for one in handovers])
    gap = _longest_gap(hosts.timeline, [task.task for task in status.tasks], began, now)
    return Back(gap, max(restored.values(), default=0), handovers)


def _measure_host_lost(hosts: Hosts) -> None:
    """kill -9 of a host that does not lead."""
    _lose_warm(hosts, "host_lost", _other(_leader(hosts)))
    _bring_back(hosts)


def _measure_leader_lost(hosts: Hosts) -> None:
    """kill -9 of the leader's host; of the other one its own tasks are looked at as well."""
    victim = _leader(hosts)
    own = owned_by_host(hosts.cluster.settled())[_other(victim)]
    killed = _lose_warm(hosts, "leader_lost", victim)
    led = hosts.timeline.led(killed, victim)
    assert led is not None, "its tasks were given to others, which takes a leader"
    hosts.add("leader_lost", "new leader s", led - killed)
    gap = _longest_gap(hosts.timeline, own, killed, time.monotonic())
    usual = _longest_gap(hosts.timeline, own, killed - hosts.bench.sizes.lag_window_s, killed)
    hosts.add("leader_killed", "no commit of others s", gap, f"{usual:.2f} s before")
    _bring_back(hosts)


def _lose_warm(hosts: Hosts, case: str, victim: str) -> float:
    """Kill a host whose tasks have standbys; return when."""
    tasks = owned_by_host(hosts.cluster.settled())[victim]
    seen = Restore()
    killed = _lose(hosts, case, victim, seen)
    note = f"worst of {len(tasks)} tasks, of {hosts.bench.sizes.hosts_rows:,} keys in all"
    hosts.add(case, "restored records/task", max(seen.records[task] for task in tasks), note)
    return killed


def _lose(hosts: Hosts, case: str, victim: str, seen: Restore) -> float:
    """Kill a host, wait until its tasks have caught up elsewhere, and say how long it took; return when it was.

    seen: gets what the tasks of all others looked like meanwhile.
    """
    cluster = hosts.cluster
    tasks = owned_by_host(cluster.settled())[victim]
    partitions = [partition_of(task) for task in tasks]
    calm = time.monotonic()
    pause(hosts.bench.sizes.lag_window_s)
    _until(cluster, lambda: hosts.timeline.looked(calm), "the commits were looked at before the loss")
    killed = cluster.kill(victim)
    usual = hosts.timeline.lag_max(partitions, calm, killed)

    def is_back(status: Status) -> bool:
        back = all(task.owner is not None and not task.owner.startswith(f"{victim}/") for task in status.tasks)
        if back:
            seen.note(time.monotonic(), status)
        return back and _all_tasks_run(status)

    cluster.until(is_back, "running elsewhere", every_s=LOOK_S)
    after = killed + LANDING_S
    what = f"{case}: the tasks {tasks} of host {victim} have caught up"
    caught_up = _until(cluster, lambda: _caught_up(hosts.timeline, partitions, after, usual), what)
    commits = [at for one in partitions if (at := hosts.timeline.first_commit(one, after)) is not None]
    steps = _steps(hosts.timeline, tasks, killed, victim)
    note = f"all {len(tasks)} tasks, the first {min(commits) - killed:.2f}; {steps}"
    hosts.add(case, "first commit s", max(commits) - killed, note)
    hosts.add(case, "caught up s", caught_up - killed, f"lag {usual:,}")
    return killed


def _caught_up(timeline: Timeline, partitions: list[int], after: float, lag: int) -> float | None:
    """When each of `partitions` had committed anew and their lag was no more than `lag`."""
    committed = all_known([timeline.first_commit(one, after) for one in partitions])
    return timeline.caught_up(partitions, committed, lag) if committed is not None else None


def _measure_leave(hosts: Hosts) -> None:
    """TERM to a host that does not lead, and then to one that does."""
    leader = _leader(hosts)
    seconds = [_dismiss(hosts, _other(leader))]
    _bring_back(hosts)
    leader = _leader(hosts)
    seconds.append(_dismiss(hosts, leader, leads=True))
    _bring_back(hosts)
    hosts.add("leave", "committed elsewhere s", max(seconds), f"{seconds[0]:.2f}, and {seconds[1]:.2f} as leader")


def _dismiss(hosts: Hosts, host: str, *, leads: bool = False) -> float:
    """Ask a host to leave; return the seconds until each of its tasks has committed elsewhere."""
    cluster = hosts.cluster
    tasks = owned_by_host(cluster.settled())[host]
    pause(hosts.bench.sizes.calm_s)
    sent, code = cluster.dismiss(host)
    ended = time.monotonic()

    def committed() -> float | None:
        given = {task: hosts.timeline.given(task, sent, host) for task in tasks}
        return all_known(
            [
                hosts.timeline.first_commit(partition_of(task), at) if at is not None else None
                for task, at in given.items()
            ]
        )

    at = _until(cluster, committed, f"the tasks {tasks} of host {host} are committed elsewhere")
    name = "leader" if leads else "host"
    hosts.add("leave", f"{name}: exit code", code, f"ended after {ended - sent:.1f} s")
    steps = _steps(hosts.timeline, tasks, sent, host)
    partitions_gap = _longest_gap(hosts.timeline, tasks, sent, at)
    hosts.add("leave", f"{name}: no commit s", partitions_gap, steps)
    if leads:
        led = hosts.timeline.led(sent, host)
        assert led is not None, "its tasks were given to others, which takes a leader"
        hosts.add("leave", "new leader s", led - sent)
    return at - sent


def _measure_idle(hosts: Hosts) -> None:
    """Two hosts with nothing to do."""
    cluster, seconds = hosts.cluster, hosts.bench.sizes.idle_s
    cluster.settled()
    cluster.rest()
    pause(hosts.bench.sizes.calm_s)
    group = Group(hosts.bench.bootstrap, "bench-idle")
    try:
        topic = status_topic(next(iter(cluster.alive.values())).group)
        records = group.end(topic, 0)
        before = {name: app.processes.root_cpu_s() for name, app in cluster.alive.items()}
        pause(seconds)
        used = [app.processes.root_cpu_s() - before[name] for name, app in cluster.alive.items()]
        written = group.end(topic, 0) - records
    finally:
        group.close()
    note = f"over {seconds:.0f} s"
    hosts.add("idle", "coordinator, % of a core", max(used) / seconds * 100, f"the larger of {len(used)}, {note}")
    hosts.add("idle", "status records/s and host", written / seconds / len(used), note)


def _measure_cold(hosts: Hosts) -> None:
    """The same loss when nobody else has the state: no standby, and the copy that was on disk is deleted."""
    cluster = hosts.cluster
    for name in HOSTS:
        cluster.dismiss(name)
    cluster.replicas = 0
    for name in HOSTS:
        cluster.start(name, heartbeat_interval=RESTORE_HEARTBEAT_S)
    before = owned_by_host(cluster.settle())
    victim = _other(_leader(hosts))
    cluster.alive[_other(victim)].forget(before[victim])
    own = _restored(cluster.settled(), before[_other(victim)])
    seen = Restore()
    killed = _lose(hosts, "host_lost_cold", victim, seen)
    if any(seen.records[task] != count for task, count in own.items()):
        raise RuntimeError(f"tasks that were not lost were restored, too: {own} before, {seen.records} after")
    records = sum(seen.records[task] for task in before[victim])
    began = seen.began_at if seen.began_at is not None else killed
    took = max(seen.running_at[task] for task in before[victim]) - began
    hosts.add("host_lost_cold", "records/s", records / took, f"{records:,} records in {took:.1f} s")


def _bring_back(hosts: Hosts) -> None:
    """Start the hosts that are not there, and note how long a task had no commit until all had their share."""
    missing = [name for name in HOSTS if name not in hosts.cluster.alive]
    if not missing:
        return
    began = time.monotonic()
    for name in missing:
        hosts.cluster.start(name)
    seen = _settle(hosts, began)
    if len(missing) < len(HOSTS):
        hosts.back.append(seen)


def _until(cluster: HostsCluster, found: Callable[[], float | None], what: str) -> float:
    """Wait until `found` finds a time. Raises RuntimeError when it does not."""
    deadline = time.monotonic() + RECOVERY_TIMEOUT_S
    while time.monotonic() < deadline:
        if (at := found()) is not None:
            return at
        pause(ASK_S)
    logs = "\n".join(app.processes.log_end() for app in cluster.alive.values())
    raise RuntimeError(f"not within {RECOVERY_TIMEOUT_S:.0f} s: {what}\n{logs}")


def _steps(timeline: Timeline, tasks: list[str], after: float, loser: str) -> str:
    """When the control log asked for the tasks back, and when it had given all of them, for people."""
    asked = [at for task in tasks if (at := timeline.asked_back(task, after)) is not None]
    given = all_known([timeline.given(task, after, loser) for task in tasks])
    first = f"asked back {min(asked) - after:.2f}" if asked else "not asked back"
    return f"{first}, given {given - after:.2f}" if given is not None else first


def _longest_gap(timeline: Timeline, tasks: Iterable[str], start: float, end: float) -> float:
    return max(timeline.longest_gap(partition_of(task), start, end) for task in tasks)


def _restored(status: Status, tasks: Collection[str]) -> dict[str, int]:
    """Records that the owners of these tasks have read from changelogs since they own them."""
    return {task.task: task.figures.restored for task in status.tasks if task.task in tasks}


def _all_tasks_run(status: Status) -> bool:
    return bool(status.tasks) and all(task.state == "running" for task in status.tasks)


def _leader(hosts: Hosts) -> str:
    leader = hosts.cluster.settled().leader
    assert leader is not None, "settled means that one leads"
    return leader


def _other(host: str) -> str:
    return next(name for name in HOSTS if name != host)


# In the order in which they are measured, each under load: each leaves two settled hosts, but for the last.
CASES: dict[str, Callable[[Hosts], None]] = {
    "join": _measure_join,
    "host_lost": _measure_host_lost,
    "leader_lost": _measure_leader_lost,
    "leave": _measure_leave,
    "idle": _measure_idle,
    "host_lost_cold": _measure_cold,
}
