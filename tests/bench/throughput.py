"""Cases count, mapping and grouped: CPU per event, events per second and memory, ours beside the bare loop's.

It decides when a work counts as started and done. The arithmetic is in steady.py.
"""

from __future__ import annotations

import time

from .application import WORKERS
from .apps import output_topic
from .bench import GUARANTEES, Bench
from .clock import pause
from .orders import PARTITIONS
from .processes import MEGABYTE, Processes
from .steady import Progress, Steady, steady_part
from .topics import Group
from .where import Where

COMMIT_INTERVAL_S = 1.0
SAMPLE_S = 0.1
# Reading a process's unique memory holds its memory map for milliseconds: not at every sample.
SAMPLES_PER_MEMORY = 10
# Nothing more is committed after so long: everything has been processed, or the work hangs.
QUIET_S = 2.5 * COMMIT_INTERVAL_S
HANG_S = 60.0
# Transaction markers at the end of a repartition topic are not records, and nobody commits past them.
MARKERS_MAX = 64


def measure_throughput(bench: Bench, work: str) -> None:
    """Measure one work at the chosen guarantees."""
    source = bench.orders(keyed=work != "grouped")
    for guarantee in bench.guarantees:
        case = f"{work} {guarantee}"
        bare, bare_megabytes = _measure_bare(bench, work, guarantee, source)
        _add(bench, f"bare {case}", bare, bare_megabytes)
        ours, megabytes = _measure_ours(bench, work, guarantee, source)
        _add(bench, case, ours, megabytes)
        bench.report.add(case, "CPU, times bare", ours.cpu_us_per_event / bare.cpu_us_per_event)
        bench.report.add(case, "events/s, times bare", ours.events_per_second / bare.events_per_second)
        if guarantee == bench.guarantees[0]:
            _add_where(bench, work, guarantee, source)
    exactly, at_least = (bench.report.value(f"{work} {guarantee}", "events/s") for guarantee in GUARANTEES)
    if exactly is not None and at_least is not None:
        bench.report.add(work, "exactly once slower, %", (at_least / exactly - 1) * 100)


def _add(bench: Bench, case: str, steady: Steady, megabytes: float) -> None:
    note = "whole run, too short for a steady part" if steady.whole else f"over {steady.seconds:.1f} s"
    bench.report.add(case, "CPU us/event", steady.cpu_us_per_event, note)
    bench.report.add(case, "events/s", steady.events_per_second, note)
    bench.report.add(case, "unique MB/worker", megabytes, "peak")


def _add_where(bench: Bench, work: str, guarantee: str, source: str) -> None:
    """Once more, and look where the time goes: not while it is measured, since that takes some, too."""
    where = Where(bench.directory / f"samples-{bench.new_run()}")
    steady, _ = _measure_ours(bench, work, guarantee, source, where)
    case = f"where {work} {guarantee}"
    for part, microseconds in where.found.items():
        share = microseconds / steady.cpu_us_per_event
        bench.report.add(case, f"{part} us/event", microseconds, f"{share:.0%} of {steady.cpu_us_per_event:.2f}")


def _measure_bare(bench: Bench, work: str, guarantee: str, source: str) -> tuple[Steady, float]:
    run = bench.new_run()
    output, changelog = f"bare-{run}-output", f"bare-{run}-changelog"
    bench.topics.create(output, changelog)
    directory = bench.directory / run
    directory.mkdir()
    share = PARTITIONS // WORKERS
    commands = []
    for first in range(0, PARTITIONS, share):
        options = {"bootstrap": bench.bootstrap, "group": run, "source": source, "output": output}
        options |= {"changelog": changelog, "state-dir": str(directory / str(first)), "guarantee": guarantee}
        options |= {"partitions": ",".join(str(number) for number in range(first, first + share))}
        options |= {"commit-interval": str(COMMIT_INTERVAL_S)}
        commands.append(
            ["-m", "tests.bench.bare", work, *(word for name, text in options.items() for word in (f"--{name}", text))]
        )
    topics = [source, output] if work == "grouped" else [source]
    group = Group(bench.bootstrap, run)
    # Connections are made before anything runs, or the first samples would come late.
    group.ends(topics)
    processes = Processes(commands, {}, directory / "log")
    try:
        progress = watch(processes, group, topics)
        return _result(bench, progress, topics), max(processes.unique_bytes_max.values()) / MEGABYTE
    finally:
        processes.stop()
        group.close()
        bench.topics.delete_of(run)


def _measure_ours(
    bench: Bench, work: str, guarantee: str, source: str, where: Where | None = None
) -> tuple[Steady, float]:
    run = bench.new_run()
    if work == "mapping":
        bench.topics.create(output_topic(work, run))
    settings = {"processing_guarantee": guarantee, "commit_interval": str(COMMIT_INTERVAL_S)}
    app = bench.application(work, run, source, **settings)
    if where is not None:
        app.environment["BENCH_SAMPLES"] = str(where.directory)
    group = Group(bench.bootstrap, app.group)
    group.ends([source])
    try:
        app.start()
        status = app.wait_until_running()
        topics = [source, *(name for name in bench.topics.names() if run in name and name.endswith("-repartition"))]
        if (work == "grouped") != (len(topics) == 2):
            raise RuntimeError(f"{work} reads {topics}: there should be one repartition topic for group_by, else none.")
        if where is not None:
            where.pids = [worker.pid for worker in status.workers if worker.pid is not None]
        progress = watch(app.processes, group, topics, where)
        peaks = app.processes.unique_bytes_max
        workers = [peaks.get(worker.pid or 0, 0) for worker in status.workers]
        app.stop()
        steady = _result(bench, progress, topics)
        if where is not None:
            where.work_out(progress, steady)
        return steady, max(workers) / MEGABYTE
    finally:
        app.kill()
        group.close()
        bench.topics.delete_of(run)


def _result(bench: Bench, progress: Progress, topics: list[str]) -> Steady:
    return steady_part(progress, topics, warm_up_s=bench.sizes.warm_up_s)


def watch(processes: Processes, group: Group, topics: list[str], where: Where | None = None) -> Progress:
    """Sample until everything in `topics` (source first) is committed by a group that began with nothing.

    where: looks at the threads meanwhile.

    Raises:
        RuntimeError: a process ended, or nothing moved for HANG_S.
    """
    progress = Progress()
    source_ends = group.ends(topics[:1])
    committed = dict.fromkeys(((topic, number) for topic in topics for number in range(PARTITIONS)), 0)
    moved_at = time.monotonic()
    progress.note(moved_at, processes.cpu_s(), committed)
    samples = 0
    while True:
        if samples % SAMPLES_PER_MEMORY == 0:
            processes.check()
            processes.look_for_children()
            processes.note_memory()
        samples += 1
        found = group.committed(topics)
        now = time.monotonic()
        progress.note(now, processes.cpu_s(), found)
        if where is not None:
            where.note(now)
        if found != committed:
            committed, moved_at = found, now
        elif now - moved_at > HANG_S:
            raise RuntimeError(f"nothing was committed for {HANG_S:.0f} s, at {found}:\n{processes.log_end()}")
        read = all(committed[place] >= end for place, end in source_ends.items())
        if read and (len(topics) == 1 or (now - moved_at > QUIET_S and _is_drained(group, topics[1:], committed))):
            return progress
        pause(SAMPLE_S)


def _is_drained(group: Group, topics: list[str], committed: dict[tuple[str, int], int]) -> bool:
    return all(end - committed[place] <= MARKERS_MAX for place, end in group.ends(topics).items())
