"""How much memory this process and its children may use: the machine's, or the least limit of a cgroup around it.

Linux, cgroup v1 and v2, nested: a limit holds for everything below it. It reads files and decides nothing more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

# v1 writes "no limit" as the largest multiple of a page that fits; no machine has an exabyte.
_NO_LIMIT = 1 << 60
_LIMIT_FILES = {"cgroup2": ("memory.max", "memory.high"), "cgroup": ("memory.limit_in_bytes",)}
_OCTAL = re.compile(r"\\([0-7]{3})")


def memory_limit(root: Path = Path("/")) -> tuple[int, str]:
    """Bytes, and what says so, for people: a cgroup's file, or the machine.

    root: where /proc and the mounts are; another one in tests.
    """
    least, name = _machine_bytes(root), "this machine"
    for path in _limit_files(root):
        limit = _limit(path)
        if limit is not None and limit < least:
            least, name = limit, "/" + str(path.relative_to(root))
    return least, name


def _machine_bytes(root: Path) -> int:
    for line in _lines(root / "proc/meminfo"):
        name, _, value = line.partition(":")
        if name == "MemTotal":
            return int(value.split()[0]) * 1024
    # A container without /proc/meminfo: nothing is known, and nothing is limited but by a cgroup.
    return _NO_LIMIT


def _limit_files(root: Path) -> Iterator[Path]:
    """The files of all cgroups around this process that may hold a limit, innermost first."""
    groups = dict(_groups(root))
    for kind, mount_root, mount_point in _mounts(root):
        group = groups.get(kind)
        if group is None:
            continue
        top = root / mount_point.lstrip("/")
        inside = _below(group, mount_root)
        # In a container whose /proc shows the host's path, the mount shows this process's own group at its top.
        here = top / inside if inside is not None and (top / inside).is_dir() else top
        for directory in (here, *here.parents):
            yield from (directory / name for name in _LIMIT_FILES[kind])
            if directory == top:
                break


def _groups(root: Path) -> Iterator[tuple[str, str]]:
    """(cgroup or cgroup2, path of this process's group in that hierarchy)."""
    for line in _lines(root / "proc/self/cgroup"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            yield "cgroup2", path
        elif "memory" in controllers.split(","):
            yield "cgroup", path


def _mounts(root: Path) -> Iterator[tuple[str, str, str]]:
    """(cgroup or cgroup2, which group is at the mount's top, where it is mounted) of what may limit memory."""
    for line in _lines(root / "proc/self/mountinfo"):
        left, _, right = line.partition(" - ")
        fields, about = left.split(), right.split()
        if len(fields) < 5 or len(about) < 3 or about[0] not in _LIMIT_FILES:
            continue
        if about[0] == "cgroup" and "memory" not in about[2].split(","):
            continue
        yield about[0], _unescaped(fields[3]), _unescaped(fields[4])


def _below(group: str, mount_root: str) -> str | None:
    """Where the group is below the mount's top; None when it is not."""
    if ".." in group.split("/"):
        return None
    if mount_root == "/":
        return group.lstrip("/")
    if group == mount_root or group.startswith(mount_root + "/"):
        return group[len(mount_root) :].lstrip("/")
    return None


def _limit(path: Path) -> int | None:
    for line in _lines(path):
        if line.isdecimal() and 0 < int(line) < _NO_LIMIT:
            return int(line)
    return None


def _lines(path: Path) -> list[str]:
    """None when it cannot be read: not Linux, or not for us; then nothing is known of it."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _unescaped(text: str) -> str:
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), text)
