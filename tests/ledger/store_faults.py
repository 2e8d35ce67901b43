"""Faults of the disk under stores that are in use: damaged files, and no room.

A damage is noticed when what was damaged is read: perhaps at once, perhaps not before the store is opened again.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from tests.ledger.chaos import Action, Done, lasting
from tests.ledger.faults import Fault
from tests.ledger.hosts import Hosts
from tests.ledger.values import Damage

DISK_BYTES = 512 * 1024 * 1024
FLIPPED_PER_FILE = 200
FILLER = "filler"


class StoreFaults:
    """What can be done to stores. app_id: whose; damages: what was done so far."""

    def __init__(self, hosts: Hosts, app_id: str) -> None:
        self._hosts = hosts
        self._app_id = app_id
        self.damages: list[Damage] = []

    def actions(self) -> Mapping[str, Action]:
        """By kind."""
        return {"damaged store": self._damage, "full disk": self._fill}

    def _damage(self, fault: Fault) -> Done | None:
        """Damage files of one task of one worker, all of a kind."""
        hosts = [host for host in self._hosts.all if host.is_up and not host.is_hit]
        if not hosts:
            return None
        host = hosts[int(fault.pick * len(hosts))]
        source = random.Random(fault.pick)
        tasks = sorted(host.tasks_of(host.worker_pids()))
        ways: list[tuple[str, str, Callable[[Path], object]]] = [
            ("flipped bytes in", "*.sst", partial(flip, source)),
            ("truncated", "*.sst", truncate),
            ("flipped bytes in", "*.log", partial(flip, source)),
        ]
        what, pattern, do = source.choice(ways)
        while tasks:
            task = tasks.pop(source.randrange(len(tasks)))
            files = sorted((host.run.state_dir / self._app_id / "tasks" / task).glob(pattern))
            at = time.monotonic()
            if [path for path in files if damage_one(path, do)]:
                self.damages.append(Damage(at, host.name, task))
                text = f"{what} {len(files)} files ({pattern}) of task {task} of {host.name}"
                return Done(fault, at, text, tasks=frozenset({task}))
        return None

    def _fill(self, fault: Fault) -> Done | None:
        """Leave no room on a host's disk for a while."""
        hosts = [host for host in self._hosts.all if host.is_up and not host.is_hit and is_small(host.run.state_dir)]
        if not hosts:
            return None
        host = hosts[int(fault.pick * len(hosts))]
        filler = host.run.state_dir / FILLER
        fill(filler)

        def make_room() -> bool:
            filler.unlink(missing_ok=True)
            return True

        text = f"no room on the disk of {host.name}{lasting(fault)}"
        return Done(fault, time.monotonic(), text, tasks=host.tasks_of(host.worker_pids()), undo=make_room)


def damage_one(path: Path, do: Callable[[Path], object]) -> bool:
    """Whether a file could be damaged: RocksDB deletes files when it likes, and empty ones cannot be."""
    try:
        if path.stat().st_size == 0:
            return False
        do(path)
    except FileNotFoundError:
        return False
    return True


def flip(source: random.Random, path: Path) -> None:
    """Change bytes all over a file."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        for _ in range(FLIPPED_PER_FILE):
            at = source.randrange(size)
            file.seek(at)
            byte = file.read(1)
            file.seek(at)
            file.write(bytes([byte[0] ^ 0x5A]) if byte else b"")


def truncate(path: Path) -> None:
    """Cut a file in half."""
    os.truncate(path, path.stat().st_size // 2)


def is_small(directory: Path) -> bool:
    """Whether it is a disk of its own that can be filled."""
    return directory.is_mount()


def fill(path: Path) -> None:
    """Take all room of the disk that `path` is on."""
    with path.open("wb") as file, contextlib.suppress(OSError):
        room = os.statvfs(path)
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize)
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


@contextlib.contextmanager
def own_disks(directories: Sequence[Path]) -> Iterator[None]:
    """Give each directory a file system of its own; nothing where that is not permitted.

    What is on it when it ends is kept beside it, under `<name>-kept`.
    """
    mounted: list[Path] = []
    options = f"size={DISK_BYTES}"
    for path in directories:
        path.mkdir(parents=True, exist_ok=True)
        mount = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=False, capture_output=True)
        if mount.returncode == 0:
            mounted.append(path)
    try:
        yield
    finally:
        for path in mounted:
            (path / FILLER).unlink(missing_ok=True)
            kept = path.with_name(f"{path.name}-kept")
            subprocess.run(["cp", "-r", path, kept], check=False)
            subprocess.run(["umount", "--lazy", path], check=True)
