"""An index of a store on disk: added to rows that are there, changed, dropped, half made, and left behind by a kill."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from streamcluster.indexes import Index
from streamcluster_worker.state.memory import Memory
from streamcluster_worker.state.rocks import RocksStore

MIB = 1024 * 1024
COMMITS = 300
BEGIN = """
import os, signal, sys
from pathlib import Path
from tests.stores.test_indexes import *
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
"""
WRITE_AND_DIE = """
store = open_store(Path(sys.argv[1]), BY_VALUE)
for number in range(COMMITS):
    store.write({"t": changes(number)}, {"t": number + 1})
die()
"""
BUILD_AND_DIE = """
open_store(Path(sys.argv[1]), Index("by-value", 1, lambda key, value: die() if key == b"007000" else value[:1]))
"""


def first_byte(_key: bytes, value: bytes) -> bytes | None:
    """The value's first byte; of an empty one none."""
    return value[:1] or None


def last_byte(_key: bytes, value: bytes) -> bytes | None:
    """The value's last byte."""
    return value[-1:] or None


BY_VALUE = Index("by-value", 1, first_byte)
CHANGED = Index("by-value", 1, last_byte, version=2)


def changes(number: int) -> dict[bytes, bytes | None]:
    """A commit: rows come, change their place and go."""
    rows: dict[bytes, bytes | None] = {b"%d" % (number * 7 % 50 + at): b"%d" % (number * at) for at in range(20)}
    return rows | {b"%d" % (number % 60): None}


def open_store(path: Path, *indexes: Index) -> RocksStore:
    """With these indexes."""
    return RocksStore.open(path, ["t"], Memory(MIB, MIB), indexes={"t": indexes})


def killed(code: str, path: Path) -> None:
    """Run it in a process that kills itself."""
    ran = subprocess.run([sys.executable, "-c", BEGIN + code, str(path)], capture_output=True, text=True, timeout=120)
    assert ran.returncode == -signal.SIGKILL, ran.stderr


def check(store: RocksStore, index: Index) -> None:
    """The index has what the rows say, and there are rows."""
    rows = store.shard("t").scan(rows_max=100_000)
    assert rows
    entries = [entry for key, value in rows if (entry := index.entry(key, value)) is not None]
    assert store.shard("t").scan_index(index.name, rows_max=100_000) == [index.split(one) for one in sorted(entries)]


def test_an_index_is_built_of_rows_that_are_there_and_anew_when_it_has_changed(tmp_path: Path) -> None:
    """Added later, given another version, dropped, and added again after rows have changed without it."""
    store = open_store(tmp_path)
    store.write({"t": {b"%06d" % number: b"%d" % number for number in range(12_000)}}, {"t": 1})
    for indexes in ((BY_VALUE,), (CHANGED,), (), (BY_VALUE,)):
        store.close()
        store = open_store(tmp_path, *indexes)
        for index in indexes:
            check(store, index)
        store.write({"t": changes(len(indexes)) | {b"%06d" % len(indexes): b"9"}}, {"t": 2})
        for index in indexes:
            check(store, index)
    store.close()


def test_an_index_that_was_not_made_to_its_end_is_made_anew(tmp_path: Path) -> None:
    """Without the record that it is whole it does not count, whatever is in it."""
    path = tmp_path / "s"
    store = open_store(path)
    store.write({"t": {b"%06d" % number: b"%d" % number for number in range(12_000)}}, {"t": 1})
    store.close()
    killed(BUILD_AND_DIE, path)
    store = open_store(path, BY_VALUE)
    check(store, BY_VALUE)
    store.close()


def test_a_kill_leaves_rows_and_index_as_of_one_commit(tmp_path: Path) -> None:
    """Nothing was closed, and they agree."""
    killed(WRITE_AND_DIE, tmp_path / "s")
    store = open_store(tmp_path / "s", BY_VALUE)
    assert store.changelog_next_offset("t") == COMMITS
    model: dict[bytes, bytes] = {}
    for number in range(COMMITS):
        for key, value in changes(number).items():
            model.pop(key, None)
            if value is not None:
                model[key] = value
    assert store.shard("t").scan() == sorted(model.items())
    check(store, BY_VALUE)
    store.close()


LARGE = 25_000
WRITE_MUCH_AND_DIE = """
dying = Index("by-value", 1, lambda key, value: die() if key == b"024000" else value[:1])
store = open_store(Path(sys.argv[1]), dying)
store.write({"t": {b"first": b"1", b"000001": b"old"}}, {"t": 1})
store.write({"t": large()}, {"t": 2})
"""


def large() -> dict[bytes, bytes | None]:
    """A commit that is written in pieces: also what was there is changed and deleted."""
    return {b"%06d" % number: b"%d" % number for number in range(LARGE)} | {b"first": None}


def test_a_large_commit_cut_short_by_a_kill_is_read_again(tmp_path: Path) -> None:
    """Its first pieces may be there, with their index, and its offset is not: so all of it is written once more."""
    killed(WRITE_MUCH_AND_DIE, tmp_path)
    store = open_store(tmp_path, BY_VALUE)
    shard = store.shard("t")
    assert store.changelog_next_offset("t") == 1
    assert shard.get(b"first") == b"1"
    assert shard.get(b"000002") == b"2", "not in one piece"
    check(store, BY_VALUE)
    store.restore("t", large().items(), 2)
    assert dict(shard.scan(rows_max=LARGE + 1)) == {key: value for key, value in large().items() if value is not None}
    check(store, BY_VALUE)
    store.close()
