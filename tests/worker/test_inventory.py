"""What a worker says of the state on its host's disk: what nobody has open, as far as it can be read."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streamcluster.ids import TaskId
from streamcluster.settings import Settings
from streamcluster.topology import ResolvedTable, ResolvedTopic, Topology
from streamcluster_worker.state.memory import Memory
from streamcluster_worker.state.record import identity
from streamcluster_worker.state.rocks import RocksStore, read_offsets
from streamcluster_worker.state.store_errors import CorruptStore
from streamcluster_worker.state.stores import Stores

MIB = 1024 * 1024
TOPOLOGY = Topology(
    app_id="shop",
    topics=(
        ResolvedTopic(name="in", role="source", partitions=4),
        ResolvedTopic(name="bare", role="source", partitions=1),
    ),
    agents=(),
    tables=(
        ResolvedTable(name="a", changelog="shop-a-changelog", group=4),
        ResolvedTable(name="b", changelog="shop-b-changelog", group=4),
    ),
)
HOLD_OPEN = """
import sys
from pathlib import Path
from streamcluster_worker.state.rocks import RocksStore
from streamcluster_worker.state.memory import Memory
from streamcluster_worker.state.record import identity
from streamcluster.ids import TaskId
owner = identity("shop", "cluster-1", TaskId.parse(Path(sys.argv[1]).name))
store = RocksStore.open(Path(sys.argv[1]), ["a", "b"], Memory(1 << 20, 1 << 20), owner)
store.write({"a": {b"k": b"v"}, "b": {b"k": b"v"}}, {"a": 100, "b": 10})
print("open", flush=True)
sys.stdin.read()
"""


def make_stores(directory: Path, *, cluster: str = "cluster-1", **settings: str) -> Stores:
    """The stores of one worker."""
    return Stores(Settings(id="shop", **settings), TOPOLOGY, str(directory), cluster)  # type: ignore[arg-type]


def fill(directory: Path, task: TaskId, a: int, b: int, *, cluster: str = "cluster-1") -> None:
    """Leave the store of a task behind, with these offsets."""
    stores = make_stores(directory, cluster=cluster)
    stores.open(task).write({"a": {b"k": b"v"}, "b": {b"k": b"v"}}, {"a": a, "b": b})
    stores.close_all()


def files(directory: Path) -> dict[str, bytes]:
    """Every file below, but for what RocksDB logs."""
    found = (path for path in sorted(directory.rglob("*")) if path.is_file() and not path.name.startswith("LOG"))
    return {str(path): path.read_bytes() for path in found}


def test_inventory_has_what_is_there_and_changes_nothing(tmp_path: Path) -> None:
    """Each task is at the sum of its offsets; tasks without a directory are left out."""
    fill(tmp_path, TaskId(4, 0), 5, 3)
    fill(tmp_path, TaskId(4, 2), 7, 0)
    before = files(tmp_path)
    stores = make_stores(tmp_path)
    assert stores.unused() == {TaskId(4, 0): 8, TaskId(4, 2): 7}
    assert files(tmp_path) == before
    assert stores.position(TaskId(4, 0)) == 0
    stores.open(TaskId(4, 0))
    assert stores.position(TaskId(4, 0)) == 8
    stores.close_all()


def test_inventory_leaves_out_what_this_worker_has_open(tmp_path: Path) -> None:
    """It is in the reports; and it stays locked for others."""
    fill(tmp_path, TaskId(4, 1), 5, 3)
    stores = make_stores(tmp_path)
    stores.open(TaskId(4, 1))
    assert stores.unused() == {}
    ran = subprocess.run(
        [sys.executable, "-c", HOLD_OPEN, str(tmp_path / "tasks" / "4_1")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "another process has it open" in ran.stderr
    stores.close_all()


def test_inventory_leaves_out_what_another_process_has_open(tmp_path: Path) -> None:
    """Until that process is gone, also by a kill: then what it wrote is there."""
    path = tmp_path / "tasks" / "4_3"
    path.parent.mkdir()
    command = [sys.executable, "-c", HOLD_OPEN, str(path)]
    stores = make_stores(tmp_path)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        assert stores.unused() == {}
        holder.send_signal(signal.SIGKILL)
    assert stores.unused() == {TaskId(4, 3): 110}


def test_inventory_leaves_out_what_is_not_ours_or_cannot_be_read(tmp_path: Path) -> None:
    """Another cluster's state, a damaged one, and a directory that is no database."""
    fill(tmp_path, TaskId(4, 1), 5, 3)
    (tmp_path / "tasks" / "4_1" / "CURRENT").write_text("MANIFEST-999999\n")
    (tmp_path / "tasks" / "4_2").mkdir()
    (tmp_path / "tasks" / "4_3").mkdir()
    (tmp_path / "tasks" / "4_3" / "LOCK").touch()
    fill(tmp_path, TaskId(4, 0), 5, 3, cluster="cluster-2")
    assert make_stores(tmp_path).unused() == {}
    with pytest.raises(CorruptStore):
        read_offsets(tmp_path / "tasks" / "4_0", ["a"], identity("shop", "cluster-1", TaskId(4, 0)))


def test_inventory_of_nothing_is_empty(tmp_path: Path) -> None:
    """Nothing was ever stored here, or only in memory."""
    assert make_stores(tmp_path).unused() == {}
    fill(tmp_path, TaskId(4, 0), 5, 3)
    assert make_stores(tmp_path, store="memory://").unused() == {}


def test_read_offsets_wants_an_owner(tmp_path: Path) -> None:
    """A database that does not say whose it is may be anyone's."""
    memory = Memory(MIB, MIB)
    owner = identity("shop", "cluster-1", TaskId(4, 0))
    RocksStore.open(tmp_path / "s", ["a"], memory, owner).close()
    assert read_offsets(tmp_path / "s", ["a"], owner) == {}
    shutil.rmtree(tmp_path / "s")
    with pytest.raises(CorruptStore):
        read_offsets(tmp_path / "s", ["a"], owner)
