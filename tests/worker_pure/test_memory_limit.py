"""How much memory there is: cgroups of both versions, nested, in fake trees; and a real one where that is permitted."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest

from streamcluster.memory_limit import memory_limit

GIB = 1024**3
V2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw"
V1 = "31 24 0:27 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory"
CPU = "32 24 0:28 / /sys/fs/cgroup/cpu rw,nosuid - cgroup cgroup rw,cpu"
NO_LIMIT_V1 = "9223372036854771712"


def tree(root: Path, mounts: list[str], groups: list[str], limits: Mapping[str, str | int]) -> Path:
    """A machine of 16 GiB with these mounts, this process's groups, and files of cgroups."""
    files: dict[str, str] = {
        "proc/meminfo": "MemTotal:       16777216 kB\nMemFree:         1000000 kB\n",
        "proc/self/mountinfo": "\n".join([*mounts, "22 1 8:1 / / rw - ext4 /dev/sda1 rw"]) + "\n",
        "proc/self/cgroup": "\n".join(groups) + "\n",
        **{name: f"{value}\n" for name, value in limits.items()},
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_without_cgroups_the_machine_counts(tmp_path: Path) -> None:
    """Nothing mounted, and limits that say there is none."""
    assert memory_limit(tree(tmp_path, [], [], {})) == (16 * GIB, "this machine")
    limits = {"sys/fs/cgroup/app/memory.max": "max", "sys/fs/cgroup/app/memory.high": "max"}
    assert memory_limit(tree(tmp_path, [V2], ["0::/app"], limits)) == (16 * GIB, "this machine")
    none = {"sys/fs/cgroup/memory/app/memory.limit_in_bytes": NO_LIMIT_V1}
    assert memory_limit(tree(tmp_path, [V1], ["4:memory:/app"], none)) == (16 * GIB, "this machine")


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"pod/app/memory.max": 2 * GIB, "pod/memory.max": 3 * GIB}, (2 * GIB, "pod/app/memory.max")),
        ({"pod/app/memory.max": "max", "pod/memory.max": GIB}, (GIB, "pod/memory.max")),
        ({"pod/app/memory.max": 2 * GIB, "pod/app/memory.high": GIB}, (GIB, "pod/app/memory.high")),
        ({"pod/app/memory.max": 2 * GIB, "memory.max": GIB}, (GIB, "memory.max")),
        ({"pod/app/memory.max": "garbage", "pod/memory.max": GIB}, (GIB, "pod/memory.max")),
    ],
)
def test_the_least_limit_around_a_process_counts(
    tmp_path: Path, limits: dict[str, str | int], expected: tuple[int, str]
) -> None:
    """Version 2, at any level; a neighbour's limit does not."""
    files: dict[str, str | int] = {f"sys/fs/cgroup/{name}": value for name, value in limits.items()}
    files["sys/fs/cgroup/pod/other/memory.max"] = 1000
    (tmp_path / "sys/fs/cgroup/pod/app").mkdir(parents=True)
    found = memory_limit(tree(tmp_path, [CPU, V2], ["0::/pod/app"], files))
    assert found == (expected[0], f"/sys/fs/cgroup/{expected[1]}")


def test_version_1_is_read_beside_an_empty_version_2(tmp_path: Path) -> None:
    """As systemd mounts both: the memory controller is where its line says."""
    unified = "33 24 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"
    limits: dict[str, str | int] = {
        "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": 3 * GIB,
        "sys/fs/cgroup/memory/a/memory.limit_in_bytes": GIB,
        "sys/fs/cgroup/memory/memory.limit_in_bytes": NO_LIMIT_V1,
    }
    groups = ["9:name=systemd:/", "4:cpu,memory:/a/b", "0::/"]
    found = memory_limit(tree(tmp_path, [unified, CPU, V1], groups, limits))
    assert found == (GIB, "/sys/fs/cgroup/memory/a/memory.limit_in_bytes")


@pytest.mark.parametrize("group", ["/docker/abc", "/../../host/abc", "/"])
def test_in_a_container_the_mount_is_the_group_of_its_own(tmp_path: Path, group: str) -> None:
    """The path is the host's, or goes out of the namespace, and is not below the mount: its top is this process's."""
    mount = "30 24 0:26 /docker/abc /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw"
    limits = {"sys/fs/cgroup/memory.max": GIB}
    assert memory_limit(tree(tmp_path, [mount], [f"0::{group}"], limits)) == (GIB, "/sys/fs/cgroup/memory.max")


SHOW = "from streamcluster.memory_limit import memory_limit; print(*memory_limit())"


def own_group() -> Path | None:
    """Where this process's group of the memory controller is, if a group can be made in it."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        top = Path("/sys/fs/cgroup/memory" if "memory" in controllers.split(",") else "/sys/fs/cgroup")
        here = top / path.lstrip("/")
        if (here / "memory.limit_in_bytes").exists() or "memory" in _controllers(here):
            return here if os.access(here, os.W_OK) else None
    return None


def _controllers(group: Path) -> list[str]:
    file = group / "cgroup.subtree_control"
    return file.read_text().split() if file.exists() else []


def test_a_real_cgroup_is_found() -> None:
    """A process in a group with a limit, and one in a group below that."""
    parent = own_group()
    if parent is None:
        pytest.skip("no cgroup can be made here")
    outer = parent / f"streamcluster-test-{uuid.uuid4().hex[:8]}"
    inner = outer / "inner"
    try:
        try:
            outer.mkdir()
            inner.mkdir()
            name = "memory.limit_in_bytes" if (outer / "memory.limit_in_bytes").exists() else "memory.max"
            (outer / name).write_text(str(GIB // 2))
        except OSError as error:
            pytest.skip(f"no cgroup can be made here: {error}")
        for group in (outer, inner):
            enter = f"open({str(group / 'cgroup.procs')!r}, 'w').write('0'); {SHOW}"
            shown = subprocess.run(
                [sys.executable, "-c", enter], capture_output=True, text=True, timeout=60, check=True
            )
            assert shown.stdout.split() == [str(GIB // 2), str(outer / name)]
    finally:
        for group in (inner, outer):
            if group.exists():
                group.rmdir()
