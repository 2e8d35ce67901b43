"""Where time goes: which stage a stack is in, whose a thread is, and parts that make up the whole."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from pathlib import Path
from types import CodeType, FunctionType

import pytest

from . import sampling
from .sampling import REPOSITORY, ROOTS, STAGES, stage_of
from .steady import Progress, Steady
from .where import HOST, OTHERS, Where, kind_of, shares

SOURCE = str(REPOSITORY / "worker/streamcluster_worker/data/source.py")
ENGINE = str(REPOSITORY / "cluster/streamcluster/engine/engine.py")
TABLES = str(REPOSITORY / "cluster/streamcluster/tables.py")
CODEC = str(REPOSITORY / "cluster/streamcluster/codecs/coding.py")
APPS = str(REPOSITORY / "tests/bench/apps.py")


def code_in(file: str) -> CodeType:
    """A function of this file, which calls what it is given."""
    found: dict[str, FunctionType] = {}
    exec(compile("def outer(inner):\n    return inner()", file, "exec"), found)
    return found["outer"].__code__


def stack(*files: str) -> str:
    """The stage of a stack of functions of these files, the outermost first."""

    def call(rest: tuple[str, ...]) -> str:
        if not rest:
            return stage_of(sys._getframe(), {})
        return str(FunctionType(code_in(rest[0]), {})(lambda: call(rest[1:])))

    return call(files)


@pytest.mark.parametrize(
    ("files", "stage"),
    [
        ([SOURCE], "consume"),
        ([SOURCE, ENGINE], "consume"),
        ([ENGINE, APPS], "user"),
        ([ENGINE, APPS, TABLES], "tables"),
        ([ENGINE, APPS, TABLES, CODEC], "tables"),
        ([ENGINE, CODEC, "/usr/lib/python3/json.py"], "engine"),
        (["/usr/lib/python3/asyncio.py"], "runtime"),
    ],
)
def test_a_stack_is_in_the_stage_of_its_innermost_frame_that_has_one(files: list[str], stage: str) -> None:
    """Codecs and libraries belong to who called them."""
    assert stack(*files) == stage


def test_each_file_that_has_a_stage_is_there() -> None:
    """One that was renamed would be counted as the engine."""
    names = [name for stage in STAGES.values() for name in stage]
    assert len(set(names)) == len(names)
    assert [name for name in names if not any((REPOSITORY / root / name).is_file() for root in ROOTS)] == []


def test_threads_are_told_by_their_names() -> None:
    """What libraries call theirs, Linux knows, and what Python does, Python."""
    assert kind_of("rdk:broker1", "") == "librdkafka"
    assert kind_of("rocksdb:low", "") == "RocksDB"
    assert kind_of("python", "commit_0") == "commit"
    assert kind_of("python", "queries_0") == OTHERS
    assert kind_of("python", "") == OTHERS


def test_samples_between_two_moments_are_shared_out() -> None:
    """Counts grow; in between they are taken as linear. Without samples nothing is made up."""
    samples = {"user": [(0.0, 10.0), (10.0, 20.0)], "tables": [(0.0, 0.0), (10.0, 30.0)]}
    assert shares(samples, 5.0, 10.0) == {"user": 0.25, "tables": 0.75}
    assert shares(samples, 20.0, 30.0) == {"not sampled": 1.0}


def test_a_busy_thread_is_sampled_by_its_own_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second of work in a file gives samples in its stage, and other threads' time gives none."""
    monkeypatch.setattr(sampling, "WRITE_EVERY_S", 0.0)
    before = signal.getsignal(signal.SIGPROF)
    stop = threading.Event()
    other = threading.Thread(target=stop.wait, name="commit_0")
    other.start()
    end = sampling.begin(str(tmp_path))
    try:
        busy_until = time.thread_time() + 0.5
        FunctionType(code_in(TABLES), {})(lambda: burn(busy_until))
    finally:
        end()
        signal.signal(signal.SIGPROF, before)
        stop.set()
        other.join()

    (file,) = tmp_path.iterdir()
    last = json.loads(file.read_text().splitlines()[-1])
    assert last["counts"]["tables"] > 20
    assert last["counts"]["tables"] > 0.9 * sum(last["counts"].values())
    assert last["threads"][str(other.native_id)] == "commit_0"


def burn(until: float) -> None:
    """Use CPU time."""
    while time.thread_time() < until:
        pass


def test_the_parts_make_up_the_whole(tmp_path: Path) -> None:
    """This process as a worker: its main thread by samples, its other threads by kind, and the rest is the host's."""
    where = Where(tmp_path / "samples")
    pid = 7
    where._names.update({(pid, 7): "main", (pid, 8): "rdk:broker1", (pid, 9): "python"})
    where._cpu.update(
        {(pid, 7): [(0.0, 0.0), (10.0, 4.0)], (pid, 8): [(0.0, 1.0), (10.0, 3.0)], (pid, 9): [(0.0, 0.0)]}
    )
    lines = [
        {"at": 0.0, "counts": {}, "threads": {}},
        {"at": 10.0, "counts": {"user": 1, "tables": 3}, "threads": {9: "commit_0"}},
    ]
    (where.directory / f"{pid}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    progress = Progress(cpu=[(0.0, 0.0), (10.0, 8.0)])

    where.work_out(progress, Steady(events=1e6, begin=0.0, seconds=10.0, cpu_s=8.0, whole=False))

    assert where.found == pytest.approx(
        {"tables": 3.0, "user": 1.0, "librdkafka": 2.0, "commit": 0.0, HOST: 2.0}, abs=1e-9
    )
    assert sum(where.found.values()) == pytest.approx(8.0)
