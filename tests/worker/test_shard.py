"""What only RocksDB has: reopening, locks, damage, owners, and what a kill leaves."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rocksdict import Options, Rdict

from streamcluster.ids import TaskId
from streamcluster_worker.state.memory import Memory
from streamcluster_worker.state.record import FORMAT_KEY, identity, offset_key
from streamcluster_worker.state.rocks import RocksStore, read_offsets
from streamcluster_worker.state.rocks_shard import RocksShard
from streamcluster_worker.state.store_errors import CorruptStore, StoreUnavailable
from streamcluster_worker.state.stores import set_aside
from tests.worker.damaging import damaged

MIB = 1024 * 1024
OWNER = identity("shop", "cluster-1", TaskId(4, 1))

OPEN_AND_PRINT = """
import sys
from pathlib import Path
from streamcluster_worker.state.rocks import RocksStore
from streamcluster_worker.state.memory import Memory
store = RocksStore.open(Path(sys.argv[1]), ["a"], Memory(1 << 20, 1 << 20))
print(store.shard("a").scan(), store.changelog_next_offset("a"))
"""
# Each commit writes its number under 50 keys of two tables, with the number as both offsets.
WRITE_FOREVER = """
import sys
from pathlib import Path
from streamcluster_worker.state.rocks import RocksStore
from streamcluster_worker.state.memory import Memory
store = RocksStore.open(Path(sys.argv[1]), ["a", "b"], Memory(1 << 20, 1 << 20))
number = store.changelog_next_offset("a") or 0
while True:
    number += 1
    rows = {b"%d" % key: b"%d" % number for key in range(50)}
    store.write({"a": rows, "b": rows}, {"a": number, "b": number})
    print(number, flush=True)
"""


@pytest.fixture
def memory() -> Memory:
    """A small memory for the stores of one test."""
    return Memory(MIB, MIB)


def test_rocks_store_keeps_rows_and_offsets_over_a_reopen(tmp_path: Path, memory: Memory) -> None:
    """What was written is there for another process right after close(), though shards are still referenced."""
    store = RocksStore.open(tmp_path / "s", ["a"], memory)
    store.write({"a": {b"k": b"1"}}, {"a": 9})
    shard = store.shard("a")
    store.close()
    ran = subprocess.run(
        [sys.executable, "-c", OPEN_AND_PRINT, str(tmp_path / "s")], capture_output=True, text=True, timeout=60
    )
    assert (ran.stdout, ran.stderr) == ("[(b'k', b'1')] 9\n", "")
    assert shard is not None


def test_rocks_store_open_elsewhere_is_unavailable(tmp_path: Path, memory: Memory) -> None:
    """A second open of a store that is in use says who has it, and does not call it corrupt."""
    store = RocksStore.open(tmp_path / "s", ["a"], memory)
    with pytest.raises(StoreUnavailable, match="another process has it open"):
        RocksStore.open(tmp_path / "s", ["a"], memory)
    store.close()


def test_rocks_store_keeps_tables_that_are_not_asked_for(tmp_path: Path, memory: Memory) -> None:
    """A table that is gone from the app in one run, and back in the next, has its rows."""
    for tables, rows in ((["a", "b"], [(b"k", b"1")]), (["b", "c"], []), (["a", "c"], [(b"k", b"1")])):
        store = RocksStore.open(tmp_path / "s", tables, memory)
        if rows and store.changelog_next_offset("a") is None:
            store.write({"a": {b"k": b"1"}}, {"a": 3})
        if rows:
            assert store.shard("a").scan() == rows
            assert store.changelog_next_offset("a") == 3
        store.close()


def test_rows_without_an_offset_are_dropped_at_open(tmp_path: Path, memory: Memory) -> None:
    """Rows that no offset vouches for (a crash inside forget) would survive a restore without their tombstones."""
    store = RocksStore.open(tmp_path / "s", ["a"], memory)
    store.write({"a": {b"stale": b"1"}}, {})
    store.close()
    store = RocksStore.open(tmp_path / "s", ["a"], memory)
    assert store.shard("a").scan() == []
    store.close()


def test_rocks_store_of_another_owner_is_corrupt(tmp_path: Path, memory: Memory) -> None:
    """App, cluster and task are all compared, and the message names both sides."""
    RocksStore.open(tmp_path / "s", ["a"], memory, OWNER).close()
    RocksStore.open(tmp_path / "s", ["a"], memory, OWNER).close()
    others = (
        identity("other", "cluster-1", TaskId(4, 1)),
        identity("shop", "cluster-2", TaskId(4, 1)),
        identity("shop", "cluster-1", TaskId(4, 2)),
    )
    for other in others:
        with pytest.raises(CorruptStore, match="'shop', task 4_1"):
            RocksStore.open(tmp_path / "s", ["a"], memory, other)
    RocksStore.open(tmp_path / "s", ["a"], memory, OWNER).close()


@pytest.mark.parametrize("damage", ["CURRENT", "MANIFEST", "garbage", "foreign"])
def test_damaged_store_is_corrupt_and_can_be_set_aside(tmp_path: Path, memory: Memory, damage: str) -> None:
    """A broken or foreign directory is named as such; set aside it is all there, and a fresh store opens."""
    path = tmp_path / "s"
    store = RocksStore.open(path, ["a"], memory)
    store.write({"a": {b"k": b"1"}}, {"a": 1})
    store.close()
    if damage == "foreign":
        shutil.rmtree(path)
        path.mkdir()
        (path / "notes.txt").write_text("mine")
    elif damage == "garbage":
        (path / "CURRENT").write_text("nonsense")
    else:
        for file in path.glob(damage + "*"):
            file.unlink()
    with pytest.raises(CorruptStore) as caught:
        RocksStore.open(path, ["a"], memory)
    assert caught.value.path == path
    names = sorted(file.name for file in path.iterdir() if file.name not in ("LOCK", "LOG"))
    aside = set_aside(path)
    assert aside.name == "s.corrupt-1"
    assert sorted(file.name for file in aside.iterdir() if file.name not in ("LOCK", "LOG")) == names
    RocksStore.open(path, ["a"], memory).close()
    assert set_aside(path).name == "s.corrupt-2"


@pytest.mark.parametrize(
    "read",
    [
        lambda shard: shard.get(b"103000"),
        lambda shard: shard.scan(rows_max=10_000),
        lambda shard: shard.scan(b"102000", rows_max=10),
        lambda shard: shard.scan(b"102000", rows_max=10, bytes_max=100),
        lambda shard: shard.scan(b"102000", reverse=True, rows_max=10_000),
        lambda shard: shard.multi_get([b"000000", b"102000"]),
    ],
)
def test_damage_under_an_open_store_is_an_error_and_its_lock_is_free_after_the_close(
    tmp_path: Path, read: Callable[[RocksShard], object]
) -> None:
    """A scan does not end early as if nothing followed; whoever keeps the error keeps nobody from the path."""
    path = tmp_path / "s"
    store = damaged(path, "a")
    with pytest.raises(CorruptStore) as caught:
        read(store.shard("a"))
    with contextlib.suppress(CorruptStore):
        store.close()
    set_aside(path)

    RocksStore.open(path, ["a"], Memory(0, MIB)).close()
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (FORMAT_KEY, b"\xff\xfe"),
        (FORMAT_KEY, b'{"app_id":"\xff"}'),
        (FORMAT_KEY, b"[" * 5_000),
        (FORMAT_KEY, b'{"app_id":"shop","cluster_id":"c","task":"4_1","format_version":' + b"9" * 5_000 + b"}"),
        (FORMAT_KEY, b"x" * 100_000),
        (offset_key("a"), b"-5"),
        (offset_key("a"), b"five"),
        (offset_key("a"), b"\xff"),
        (offset_key("a"), b""),
        (offset_key("a"), b" 5"),
        (offset_key("a"), b"9" * 5_000),
    ],
)
def test_records_of_a_store_that_are_none_make_it_corrupt(
    tmp_path: Path, memory: Memory, key: bytes, value: bytes
) -> None:
    """What it says of itself is either as we write it or not believed: set aside, and restored."""
    store = RocksStore.open(tmp_path / "s", ["a"], memory, OWNER)
    store.write({"a": {b"k": b"1"}}, {"a": 9})
    store.close()
    families = {"table:a": Options(raw_mode=True)}
    db = Rdict(str(tmp_path / "s"), Options(raw_mode=True), column_families=families)
    db[key] = value
    db.close()
    with pytest.raises(CorruptStore):
        RocksStore.open(tmp_path / "s", ["a"], memory, OWNER)
    with pytest.raises(CorruptStore):
        read_offsets(tmp_path / "s", ["a"], OWNER)
    set_aside(tmp_path / "s")
    RocksStore.open(tmp_path / "s", ["a"], memory, OWNER).close()


@pytest.mark.parametrize("raw_mode", [True, False])
def test_a_database_of_another_program_is_corrupt(tmp_path: Path, memory: Memory, raw_mode: bool) -> None:
    """Also one in whose order of keys we cannot read: it is set aside, as the README says, and not tried for ever."""
    db = Rdict(str(tmp_path / "s"), Options(raw_mode=raw_mode))
    db[b"x"] = b"1"
    db.close()
    with pytest.raises(CorruptStore):
        RocksStore.open(tmp_path / "s", ["a"], memory, OWNER)
    with pytest.raises(CorruptStore):
        read_offsets(tmp_path / "s", ["a"], OWNER)


def test_path_that_is_a_file_is_unavailable(tmp_path: Path, memory: Memory) -> None:
    """A file where the directory should be is the operator's to deal with."""
    (tmp_path / "s").write_text("x")
    with pytest.raises(StoreUnavailable, match="not usable"):
        RocksStore.open(tmp_path / "s", ["a"], memory)


def test_a_block_that_is_larger_than_a_part_of_the_cache_stays_in_it(tmp_path: Path) -> None:
    """The filter of a file is one block, of 10 bits a row: read at each get, it would cost more than all else."""
    memory, large = Memory(32 * MIB, MIB), random.Random(1).randbytes(2 * MIB)
    store = RocksStore.open(tmp_path / "s", ["a"], memory)
    store.write({"a": {b"k": large}}, {"a": 1})
    store.close()
    # What its log had is in a file now.
    store = RocksStore.open(tmp_path / "s", ["a"], memory)
    assert store.shard("a").get(b"k") == large
    assert memory._cache.get_usage() >= len(large)
    store.close()


def test_write_to_a_full_disk_is_unavailable(tmp_path: Path, memory: Memory) -> None:
    """A write that the disk refuses is an OSError with the path. A limit on file sizes stands in for the disk."""
    code = """
import resource, signal, sys
from pathlib import Path
from streamcluster_worker.state.rocks import RocksStore
from streamcluster_worker.state.memory import Memory
from streamcluster_worker.state.store_errors import StoreUnavailable
store = RocksStore.open(Path(sys.argv[1]), ["a"], Memory(1 << 20, 1 << 20))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    for number in range(100):
        store.write({"a": {b"%d" % number: b"x" * 100_000}}, {"a": number})
except OSError as error:
    print(type(error).__name__, error.path, flush=True)
"""
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path / "s")], capture_output=True, text=True, timeout=60)
    assert ran.stdout == f"StoreUnavailable {tmp_path / 's'}\n", ran.stderr


def test_killed_writer_leaves_rows_and_offsets_of_one_commit(tmp_path: Path, memory: Memory) -> None:
    """After kill -9 in the middle of writes, all rows of both tables and both offsets are of the same commit."""
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITE_FOREVER, str(tmp_path / "s")], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        said = [int(writer.stdout.readline()) for _ in range(30)]
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait(10)
        writer.stdout.close()
        store = RocksStore.open(tmp_path / "s", ["a", "b"], memory)
        number = store.changelog_next_offset("a")
        assert number is not None
        assert number >= said[-1]
        assert store.changelog_next_offset("b") == number
        values = {value for table in ("a", "b") for _, value in store.shard(table).scan()}
        assert values == {b"%d" % number}
        store.close()
