"""Logs after a kill, whole, torn or damaged: a store opens with all that its offsets say, or is set aside."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from streamcluster_worker.state.memory import Memory
from streamcluster_worker.state.rocks import RocksStore
from streamcluster_worker.state.store_errors import CorruptStore
from tests.stores.killed import TABLES, commits

SEEDS = range(24)
Harm = Callable[[random.Random, Path], object]


def flip(source: random.Random, path: Path, *, count: int = 5) -> None:
    """Change single bytes."""
    data = bytearray(path.read_bytes())
    for _ in range(count):
        data[source.randrange(len(data))] ^= 0x5A
    path.write_bytes(data)


def clear(source: random.Random, path: Path) -> None:
    """Lose a sector: zeros in place of it."""
    data = bytearray(path.read_bytes())
    at = source.randrange(len(data)) // 512 * 512
    data[at : at + 512] = bytes(len(data[at : at + 512]))
    path.write_bytes(data)


def cut(source: random.Random, path: Path) -> None:
    """Lose the end."""
    os.truncate(path, source.randrange(path.stat().st_size))


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a store of each seed, as a killed process left it."""
    directory = tmp_path_factory.mktemp("killed")
    subprocess.run([sys.executable, "-m", "tests.stores.killed", directory, str(len(SEEDS))], check=False)
    return directory


def outcome(killed: Path, at: Path, seed: int, harm: Harm | None, *, last_only: bool) -> str:
    """Open the store of a seed after its logs were harmed, restore what its offsets say is missing, compare."""
    shutil.rmtree(at, ignore_errors=True)
    shutil.copytree(killed / str(seed), at)
    source = random.Random(seed)
    logs = sorted(path for path in at.glob("*.log") if path.stat().st_size)
    newest = max(at.glob("*.log"))
    for path in ([newest] if last_only else logs) if harm is not None else []:
        if path.stat().st_size:
            assert harm is not None
            harm(source, path)
    try:
        store = RocksStore.open(at, TABLES, Memory(1 << 20, 8 << 20))
    except CorruptStore:
        return "set aside"
    try:
        for table in TABLES:
            stored = store.changelog_next_offset(table) or 0
            expected: dict[bytes, bytes] = {}
            changelog = [rows[table] for rows, _ in commits(seed) if table in rows]
            for rows in changelog:
                expected |= rows
            found = dict(store.shard(table).scan(rows_max=10_000))
            for rows in changelog[stored:]:
                found |= rows
            assert found == expected, f"seed {seed}, table {table}: offset {stored} of {len(changelog)} is not true"
    finally:
        store.close()
    return "opened"


@pytest.mark.parametrize(
    ("harm", "last_only"),
    [(flip, False), (partial(flip, count=1), True), (clear, False), (clear, True), (cut, False)],
    ids=["bytes", "a byte of the last", "a sector", "a sector of the last", "ends"],
)
def test_damaged_logs_are_noticed(killed: Path, tmp_path: Path, harm: Harm, *, last_only: bool) -> None:
    """Never rows that the offsets vouch for and that are not there, whatever was lost of the logs."""
    seen = Counter(outcome(killed, tmp_path / "one", seed, harm, last_only=last_only) for seed in SEEDS)
    assert seen["set aside"]


@pytest.mark.parametrize("harm", [None, cut], ids=["whole", "torn"])
def test_what_a_crash_leaves_is_opened(killed: Path, tmp_path: Path, harm: Harm | None) -> None:
    """Neither a kill nor an end of the last log that never reached the disk costs a restore from the beginning."""
    seen = Counter(outcome(killed, tmp_path / "one", seed, harm, last_only=True) for seed in SEEDS)
    assert seen == {"opened": len(SEEDS)}
