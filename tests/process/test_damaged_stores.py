"""Files of a store that is in use are damaged: its task alone is restored, no event is to blame, nothing is wrong."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamcluster.errors import ExitCode
from tests.conftest import MakeTopic
from tests.long import only_long
from tests.process.checker import Row
from tests.process.conftest import StartApp
from tests.process.records import Reader, send
from tests.process.running import Running
from tests.process.waiting import eventually

EVERY_KEY = [Row(f"k{key}", b"v") for key in range(2_000)]
# So little memory that tables are read from the disk.
SMALL: dict[str, Any] = {"table_cache_bytes": 0, "store_block_cache_bytes": 0, "store_write_buffer_bytes": 65_536}
Harm = Callable[[Path], object]


def flip(path: Path) -> None:
    """Change every hundredth byte."""
    data = bytearray(path.read_bytes())
    for at in range(0, len(data), 100):
        data[at] ^= 0x5A
    # In place: the file that the worker has open.
    with path.open("r+b") as file:
        file.write(data)


def flip_rows(path: Path) -> None:
    """Leave what is read when the store is opened: the end of a file, and the small one that says whose it is."""
    if (size := path.stat().st_size) < 4096:
        return
    end = path.read_bytes()[size // 2 :]
    flip(path)
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(end)


def halve(path: Path) -> None:
    """Cut it in half."""
    os.truncate(path, path.stat().st_size // 2)


def start_with_rows(run: Running, topic: str, bootstrap: str) -> int | None:
    """A worker with a row of each key in its files, where an orderly end leaves them; returns its process id."""
    run.start(1)
    send(bootstrap, topic, EVERY_KEY)
    run.until_caught_up()
    assert run.drain() == ExitCode.DRAINED, run.log_end()
    run.start(1)
    return run.until_running().workers[0].pid


def damage(run: Running, task: str, harm: Harm) -> None:
    """Harm all files of a task's store that are written once, and read then."""
    files = sorted((run.state_dir / run.app_id / "tasks" / task).glob("*.sst"))
    assert files, "no table was written to the disk"
    for path in files:
        harm(path)


@pytest.fixture
def topics(make_topic: MakeTopic, topic_prefix: str) -> str:
    """Input and output with two partitions; returns the prefix."""
    for name in ("in", "out"):
        make_topic(f"{topic_prefix}{name}", 2)
    return topic_prefix


@pytest.mark.parametrize(
    ("harm", "guarantee"),
    [
        (flip, "exactly_once"),
        (halve, "at_least_once"),
        pytest.param(flip, "at_least_once", marks=only_long),
        pytest.param(halve, "exactly_once", marks=only_long),
    ],
)
def test_a_store_that_is_damaged_while_it_runs_is_restored(
    running: StartApp, reader: Reader, topics: str, bootstrap: str, harm: Harm, guarantee: str
) -> None:
    """The worker goes on, the store is set aside, and every event counts once, those that met the damage too."""
    run = running("obedient", processing_guarantee=guarantee, **SMALL)
    pid = start_with_rows(run, f"{topics}in", bootstrap)

    damage(run, "2_0", harm)
    for _ in range(2):
        send(bootstrap, f"{topics}in", EVERY_KEY)
    status = run.until_caught_up()

    assert run.table("seen") == {row.key: 3 for row in EVERY_KEY}
    assert (status.workers[0].pid, status.workers[0].restarts) == (pid, 0), run.log_end()
    assert status.workers[0].figures.dead_letters_total == 0
    assert "2_0.corrupt-1" in run.log()
    assert "2_1.corrupt" not in run.log()
    assert run.drain() == ExitCode.DRAINED, run.log_end()
    came = Counter(row for part in reader.rows(f"{topics}out").values() for row in part)
    right = Counter(dict.fromkeys(EVERY_KEY, 3))
    assert came == right if guarantee == "exactly_once" else came >= right


def test_a_damage_that_a_query_finds_is_restored(running: StartApp, topics: str, bootstrap: str) -> None:
    """No event comes: whoever asks for the table's rows waits for the restore, and gets them all."""
    run = running("obedient", **SMALL)
    start_with_rows(run, f"{topics}in", bootstrap)

    damage(run, "2_0", flip)

    assert run.table("seen") == {row.key: 1 for row in EVERY_KEY}
    eventually(lambda: "2_0.corrupt-1" in run.log(), 10, "the store is set aside", run.log_end)
    assert run.drain() == ExitCode.DRAINED, run.log_end()


def test_a_damage_that_a_callback_finds_is_restored(running: StartApp, topics: str, bootstrap: str) -> None:
    """`on_recover` reads a store that was opened and cannot be read: it is called again after the restore."""
    run = running("looking", **SMALL)
    start_with_rows(run, f"{topics}in", bootstrap)
    assert run.drain() == ExitCode.DRAINED, run.log_end()
    damage(run, "2_0", flip_rows)

    run.start(1)
    send(bootstrap, f"{topics}in", EVERY_KEY)
    status = run.until_caught_up()

    assert run.table("seen") == {row.key: 2 for row in EVERY_KEY}
    assert "2_0.corrupt-1" in run.log()
    assert status.workers[0].restarts == 0, run.log_end()
    assert run.drain() == ExitCode.DRAINED, run.log_end()
