"""Local state that is gone or broken comes back from the changelog; nothing of the user's is deleted."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamcluster.settings import Settings
from streamcluster_coordinator.records.status import Status
from tests.conftest import MakeTopic
from tests.long import only_long
from tests.process.checker import Row
from tests.process.conftest import StartApp
from tests.process.records import send
from tests.process.running import Running
from tests.process.waiting import eventually

KEYS = 2_000
Counted = tuple[Running, Counter[str]]


@pytest.fixture
def counted(running: StartApp, make_topic: MakeTopic, topic_prefix: str, bootstrap: str) -> Counted:
    """A drained run with a table, and what the table has to hold."""
    for name in ("in", "out"):
        make_topic(f"{topic_prefix}{name}", 2)
    run = running("obedient")
    return run, add(run, topic_prefix, bootstrap, Counter())


def add(run: Running, prefix: str, bootstrap: str, before: Counter[str]) -> Counter[str]:
    """Start, count three more of every key, compare and drain."""
    keys = [f"k{number % KEYS}" for number in range(3 * KEYS)]
    run.start()
    run.until_running()
    send(bootstrap, f"{prefix}in", [Row(key, b"v") for key in keys])
    run.until_caught_up()
    after = before + Counter(keys)
    assert run.table("seen") == dict(after)
    assert run.drain() == 0, run.log_end()
    return after


def task_directories(run: Running) -> list[Path]:
    """Where the two tasks keep their shards."""
    found = [run.state_dir / run.app_id / "tasks" / name for name in ("2_0", "2_1")]
    assert all(path.is_dir() for path in found)
    return found


def test_a_deleted_state_directory_is_restored_from_the_changelog(
    counted: Counted, topic_prefix: str, bootstrap: str
) -> None:
    """Every row is back before the first new event is counted. No file of it was for other users to read."""
    run, before = counted
    state = run.state_dir / run.app_id
    assert [str(path) for path in [state, *state.rglob("*")] if path.stat().st_mode & 0o077] == []
    shutil.rmtree(run.state_dir)

    add(run, topic_prefix, bootstrap, before)


def test_kept_state_is_not_restored_again(counted: Counted, topic_prefix: str, bootstrap: str) -> None:
    """After a drain the store is at the end of its changelog: a start has nothing to read."""
    run, before = counted
    most = 0
    run.start()

    def runs(seen: Status) -> bool:
        nonlocal most
        most = max([most, *(task.figures.restored for task in seen.tasks)])
        return bool(seen.tasks) and is_up(run)

    status = run.until(runs, "it runs")

    assert status.tasks
    # Only the markers of the last transactions, which are no records.
    assert most < 50
    assert run.table("seen") == dict(before)
    assert run.drain() == 0


def is_up(run: Running) -> bool:
    """Whether every task runs."""
    status = run.status()
    return status is not None and bool(status.tasks) and all(task.state == "running" for task in status.tasks)


@pytest.mark.parametrize(
    "what", [pytest.param("CURRENT", marks=only_long), pytest.param("MANIFEST", marks=only_long), "sst"]
)
def test_a_corrupt_store_is_set_aside_and_restored(
    counted: Counted, topic_prefix: str, bootstrap: str, what: str
) -> None:
    """Garbage in one of its files: the directory is kept under another name, which is said, and the state is right."""
    run, before = counted
    broken = task_directories(run)[0]
    files = [path for path in broken.rglob("*") if path.name.startswith(what) or path.suffix == f".{what}"]
    assert files, sorted(broken.iterdir())
    for path in files:
        path.write_bytes(b"garbage" * 100)

    add(run, topic_prefix, bootstrap, before)

    aside = [path for path in broken.parent.iterdir() if path.name.startswith("2_0") and path != broken]
    assert len(aside) == 1
    assert aside[0].name in run.log()


def test_a_store_of_another_app_is_set_aside_and_restored(
    counted: Counted, running: StartApp, make_topic: MakeTopic, topic_prefix: str, bootstrap: str
) -> None:
    """A copied state directory is kept as it is under another name; the log says whose it is."""
    run, before = counted
    other = running("refused", name="two")
    shutil.copytree(run.state_dir / run.app_id / "tasks", other.state_dir / other.app_id / "tasks")
    other.start()
    other.until_running()

    assert other.table("large") == {}
    assert other.drain() == 0
    assert f"belongs to app '{run.app_id}'" in other.log()
    kept = sorted(path.name for path in (other.state_dir / other.app_id / "tasks").iterdir())
    assert kept == ["2_0", "2_0.corrupt-1", "2_1", "2_1.corrupt-1"]
    add(run, topic_prefix, bootstrap, before)


def test_a_directory_that_cannot_be_written_is_one_message(
    running: StartApp, make_topic: MakeTopic, topic_prefix: str
) -> None:
    """A file stands where the state directory should be: exit 78, with the path and what to do."""
    for name in ("in", "out"):
        make_topic(f"{topic_prefix}{name}", 2)
    run = running("obedient")
    run.state_dir.write_text("not a directory")
    run.start()

    assert run.wait() == 78
    assert str(run.state_dir) in run.log()
    assert "--state-dir" in run.log()
    assert "Traceback" not in run.log()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(path)], check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system is not permitted here")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def test_a_full_disk_is_said_and_nothing_is_lost(
    running: StartApp, make_topic: MakeTopic, topic_prefix: str, bootstrap: str, small_disk: Path
) -> None:
    """The log says so and the worker tries again; with room on the disk, the table has every row."""
    for name in ("in", "out"):
        make_topic(f"{topic_prefix}{name}", 2)
    run = running("refused", store_write_buffer_bytes=1_000_000)
    run.state_dir = small_disk
    run.settings = Settings(id=run.app_id, broker=run.broker_url, state_dir=str(small_disk))
    sizes = [str(400_000 + number) for number in range(60)]
    run.start(1)
    run.until_running()
    send(bootstrap, f"{topic_prefix}in", [Row("k", f"row {size}".encode()) for size in sizes])

    eventually(lambda: "the disk is full" in run.log(), 60, "it is said", run.log_end)
    assert str(small_disk) in run.log()
    assert "Traceback" not in run.log()
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    run.until_caught_up(90)
    assert {key: len(value) for key, value in run.table("large").items()} == {size: int(size) for size in sizes}
    assert run.drain() == 0, run.log_end()
