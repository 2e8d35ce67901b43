"""Cases restore and kill: how fast state comes back, after a lost disk and after a lost process.

Times are taken from outside: from committed offsets, and from what `status` says about the tasks.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from streamcluster_coordinator.records.status import Status, WorkerStatus

from .application import Application, all_run
from .bench import Bench
from .clock import pause
from .latency import pace_command
from .processes import Processes
from .throughput import watch
from .topics import Group, Positions

RATE = 20_000
# A worker reports with each heartbeat; the default, twice a second, is too coarse to time a restore with.
HEARTBEAT_S = "0.05"
SAMPLE_S = 0.01
RESTORE_TIMEOUT_S = 300.0
RECOVERY_TIMEOUT_S = 60.0
# A commit that the dead worker had already asked for still lands; it is not one of its successor.
LANDING_S = 0.02


@dataclass(slots=True)
class Restore:
    """What was seen of a restore. Times are seconds of the monotonic clock."""

    began_at: float | None = None
    # Task -> when it was first seen running.
    running_at: dict[str, float] = field(default_factory=dict)
    records: dict[str, int] = field(default_factory=dict)

    def note(self, now: float, status: Status) -> None:
        """Add one look at the tasks."""
        for task in status.tasks:
            if task.state == "restoring" and self.began_at is None:
                self.began_at = now
            if task.state == "running":
                self.running_at.setdefault(task.task, now)
            self.records[task.task] = max(task.figures.restored, self.records.get(task.task, 0))


def measure_restore(bench: Bench) -> None:
    """Fill tables, delete the local state, start again and watch it come back."""
    rows, run = bench.sizes.restored_rows, bench.new_run()
    source = bench.rows(rows)
    app = bench.application("keeping", run, source, heartbeat_interval=HEARTBEAT_S, commit_interval="1")
    try:
        _fill(bench, app, source)
        app.stop()
        app.lose_state()
        app.start()
        seen = _watch_restore(app)
        app.stop()
    finally:
        app.kill()
        bench.topics.delete_of(run)
    records = sum(seen.records.values())
    if records < rows:
        raise RuntimeError(f"the tasks restored {records:,} records of at least {rows:,}: {seen}")
    last, first = max(seen.running_at.values()), min(seen.running_at.values())
    began = seen.began_at if seen.began_at is not None else app.started_at
    bench.report.add("restore", "records/s", records / (last - began), f"{records:,} records in {last - began:.1f} s")
    bench.report.add("restore", "first task runs, s", first - began)
    bench.report.add("restore", "start to all run, s", last - app.started_at)


def _watch_restore(app: Application) -> Restore:
    seen = Restore()

    def done(status: Status) -> bool:
        seen.note(time.monotonic(), status)
        return all_run(status)

    app.wait_for(done, "restored", RESTORE_TIMEOUT_S, every_s=0.05)
    return seen


def _fill(bench: Bench, app: Application, source: str) -> None:
    """Start the app and wait until it has kept every row of the source."""
    group = Group(bench.bootstrap, app.group)
    try:
        app.start()
        app.wait_until_running()
        watch(app.processes, group, [source])
    finally:
        group.close()


@dataclass(frozen=True, slots=True)
class Recovery:
    """One kill. Seconds from the kill; restored: records read from changelogs by the successor."""

    first_commit_s: float
    back_to_speed_s: float
    restored: int


def measure_kill(bench: Bench) -> None:
    """Kill a worker with -9 while records come at a fixed rate; take the worst of several."""
    rows, run, sizes = bench.sizes.killed_rows, bench.new_run(), bench.sizes
    source = bench.rows(rows)
    app = bench.application("keeping", run, source)
    pacer = None
    group = Group(bench.bootstrap, app.group)
    try:
        _fill(bench, app, source)
        seconds = (sizes.kills + 1) * (sizes.calm_s + 10)
        command = pace_command(bench.bootstrap, source, "row", RATE, seconds, rows)
        pacer = Processes([command], {}, bench.directory / f"{run}-pace")
        found = []
        for number in range(sizes.kills):
            pause(sizes.calm_s)
            pacer.check()
            found.append(_kill_one(app, group, source, number, sizes.lag_window_s))
    finally:
        if pacer is not None:
            pacer.stop()
        app.kill()
        group.close()
        bench.topics.delete_of(run)
    note = f"worst of {len(found)}"
    bench.report.add("kill", "first commit s", max(one.first_commit_s for one in found), note)
    bench.report.add("kill", "back to speed s", max(one.back_to_speed_s for one in found), note)
    bench.report.add("kill", "restored records", max(one.restored for one in found), f"{note}, of {rows:,} keys")


def _kill_one(app: Application, group: Group, source: str, number: int, lag_window_s: float) -> Recovery:
    before = app.wait_until_running()
    victim = before.workers[number % len(before.workers)]
    places = _places(before, victim, source)
    lag_usual = _lag_max(group, source, places, lag_window_s)
    assert victim.pid is not None
    killed_at = time.monotonic()
    os.kill(victim.pid, signal.SIGKILL)
    pause(LANDING_S)
    landed = group.committed([source])
    committed_at: dict[tuple[str, int], float] = {}
    deadline = killed_at + RECOVERY_TIMEOUT_S
    while time.monotonic() < deadline:
        committed = group.committed([source])
        now = time.monotonic()
        for place in places:
            if committed[place] > landed[place]:
                committed_at.setdefault(place, now)
        if len(committed_at) == len(places) and _lag(group, source, places, committed) <= lag_usual:
            after = app.wait_until_running()
            restored = sum(task.figures.restored for task in after.tasks if task.task in victim.tasks)
            return Recovery(min(committed_at.values()) - killed_at, now - killed_at, restored)
        pause(SAMPLE_S)
    raise RuntimeError(
        f"worker {victim.slot} was killed, and {RECOVERY_TIMEOUT_S:.0f} s later its partitions {places} are not back: "
        f"new commits in {sorted(committed_at)}.\n{app.processes.log_end()}"
    )


def _places(status: Status, victim: WorkerStatus, source: str) -> list[tuple[str, int]]:
    """The partitions of the victim's tasks: a task's name ends with its partition number."""
    places = [(source, int(task.rpartition("_")[2])) for task in victim.tasks]
    if not places:
        raise RuntimeError(f"worker {victim.slot} has no tasks, so killing it shows nothing: {status}")
    return places


def _lag_max(group: Group, source: str, places: Sequence[tuple[str, int]], seconds: float) -> int:
    """The largest lag of `places` that is seen for a while, at one look at least."""
    until = time.monotonic() + seconds
    largest = _lag(group, source, places, group.committed([source]))
    while time.monotonic() < until:
        pause(SAMPLE_S)
        largest = max(largest, _lag(group, source, places, group.committed([source])))
    return largest


def _lag(group: Group, source: str, places: Sequence[tuple[str, int]], committed: Positions) -> int:
    """Records of `places` that are not committed."""
    ends = group.ends([source])
    return sum(ends[place] - committed[place] for place in places)
