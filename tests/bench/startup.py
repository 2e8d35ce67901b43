"""Case start: from `streamcluster start` to the first commit, and what a worker with nothing to do weighs."""

from __future__ import annotations

import statistics

from .application import Application
from .bench import Bench
from .clock import pause
from .orders import keyed_orders, load_repeated
from .processes import MEGABYTE
from .throughput import watch
from .topics import Group, wait_for_commit

RECORDS = 10_000
COMMIT_TIMEOUT_S = 60.0


def measure_start(bench: Bench) -> None:
    """The topics are there and so is some state; records wait when the app starts."""
    run, source = bench.new_run(), bench.empty_input("start")
    app = bench.application("count", run, source)
    group = Group(bench.bootstrap, app.group)
    block = keyed_orders(RECORDS)
    try:
        load_repeated(bench.bootstrap, source, block, RECORDS)
        app.start()
        watch(app.processes, group, [source])
        app.stop()
        seconds = []
        for _ in range(bench.sizes.starts):
            load_repeated(bench.bootstrap, source, block, RECORDS)
            seconds.append(_first_commit_s(app, group, source))
            app.stop()
        megabytes = _idle_megabytes(app, bench.sizes.started_s)
        app.stop()
    finally:
        app.kill()
        group.close()
        bench.topics.delete_of(run)
    bench.report.add("start", "first commit s", statistics.median(seconds), f"median of {len(seconds)}")
    bench.report.add("start", "idle unique MB/worker", megabytes, "the larger one")


def _first_commit_s(app: Application, group: Group, source: str) -> float:
    before = group.committed([source])
    app.start()
    return wait_for_commit(group, [source], before, COMMIT_TIMEOUT_S) - app.started_at


def _idle_megabytes(app: Application, started_s: float) -> float:
    """Start with nothing to read."""
    app.start()
    app.wait_until_running()
    pause(started_s)
    status = app.wait_until_running()
    return max(app.processes.unique_bytes(worker.pid or 0) for worker in status.workers) / MEGABYTE
