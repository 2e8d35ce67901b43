"""Looks where a process is, every few milliseconds of its main thread's CPU time: runs inside of a measured worker.

An app of apps.py begins it when BENCH_SAMPLES names a directory. A sample belongs to the innermost frame that has a
stage: codecs, for example, have none, and belong to who called them. Cumulative counts are added to a file of the
process, a line of JSON with the time, the counts and the names of Python's threads.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

REPOSITORY = Path(__file__).resolve().parents[2]
EVERY_S = 0.002
WRITE_EVERY_S = 0.2
USER, ENGINE, RUNTIME = "user", "engine", "runtime"
# Stage -> the files, below the roots of the sources, whose frames are in it. All else of ours is the engine.
STAGES = {
    "consume": ("streamcluster_worker/data/source.py",),
    "decode": ("streamcluster/engine/decoding.py",),
    "tables": (
        "streamcluster/tables.py",
        "streamcluster/codecs/table_coding.py",
        "streamcluster/engine/shards.py",
        "streamcluster/engine/shard_view.py",
        "streamcluster/engine/ranges.py",
        "streamcluster/engine/rows.py",
        "streamcluster/engine/cache_budget.py",
        "streamcluster_worker/state/rocks.py",
        "streamcluster_worker/state/rocks_shard.py",
        "streamcluster_worker/state/changelogs.py",
    ),
    "produce": (
        "streamcluster/topics.py",
        "streamcluster/output.py",
        "streamcluster/engine/agent_body.py",
        "streamcluster/engine/forward_body.py",
        "streamcluster/engine/outbox.py",
        "streamcluster_worker/data/sender.py",
    ),
    "commit": (
        "streamcluster/engine/transaction.py",
        "streamcluster_worker/data/writes.py",
        "streamcluster_worker/data/committer.py",
    ),
}
ROOTS = ("cluster", "worker", "coordinator")
_STAGE_OF = {
    str(REPOSITORY / root / name): stage for stage, names in STAGES.items() for name in names for root in ROOTS
}
_OURS = tuple(f"{REPOSITORY / root}{os.sep}" for root in ROOTS)
_APPS = str(REPOSITORY / "tests" / "bench" / "apps.py")
_CLOCK_THREAD_CPUTIME_ID = 3
_SIGEV_THREAD_ID = 4
# Linux's structures: a value, the signal, how, the thread, and room; the interval and the first time, each in s and ns.
_SIGEVENT, _ITIMERSPEC = "Piii44x", "llll"


def stage_of(frame: FrameType | None, known: dict[str, str]) -> str:
    """The stage of a stack. known: what was found out about files before."""
    found = RUNTIME
    while frame is not None:
        # Not by the code: functions of two files may be equal.
        file = frame.f_code.co_filename
        stage = known.get(file)
        if stage is None:
            stage = known[file] = _stage_of_file(file)
        if stage == ENGINE:
            found = ENGINE
        elif stage:
            return stage
        frame = frame.f_back
    return found


def _stage_of_file(name: str) -> str:
    """Its stage; empty for code that belongs to who called it, which may be the engine."""
    if name in _STAGE_OF:
        return _STAGE_OF[name]
    if name == _APPS:
        return USER
    return ENGINE if name.startswith(_OURS) else ""


def begin(directory: str) -> Callable[[], None]:
    """Take samples of this thread, the main one, from here on, until what is returned is called."""
    known: dict[str, str] = {}
    counts: Counter[str] = Counter()
    file = (Path(directory) / f"{os.getpid()}.jsonl").open("a", encoding="utf-8")
    written = [0.0]

    def take(_number: int, frame: FrameType | None) -> None:
        counts[stage_of(frame, known)] += 1
        now = time.monotonic()
        if now - written[0] >= WRITE_EVERY_S:
            written[0] = now
            threads = {one.native_id: one.name for one in threading.enumerate() if one.native_id is not None}
            file.write(json.dumps({"at": now, "counts": counts, "threads": threads}) + "\n")
            file.flush()

    signal.signal(signal.SIGPROF, take)
    signal.siginterrupt(signal.SIGPROF, False)
    end_timer = _start_timer()

    def end() -> None:
        end_timer()
        file.close()

    return end


def _start_timer() -> Callable[[], None]:
    """A signal to this thread per EVERY_S of its own CPU time: setitimer counts that of all. Returns its end."""
    libc = ctypes.CDLL(None, use_errno=True)
    timer, every = ctypes.c_void_p(), int(EVERY_S * 1e9)
    event = struct.pack(_SIGEVENT, 0, signal.SIGPROF, _SIGEV_THREAD_ID, threading.get_native_id())
    spec = struct.pack(_ITIMERSPEC, 0, every, 0, every)
    made = libc.timer_create(_CLOCK_THREAD_CPUTIME_ID, event, ctypes.byref(timer))
    if made != 0 or libc.timer_settime(timer, 0, spec, None) != 0:
        raise OSError(ctypes.get_errno(), "no timer for the CPU time of a thread")
    return lambda: libc.timer_delete(timer)
