"""A container without a container engine: namespaces by `unshare`, as strict as Kubernetes makes them.

The command is process 1, has a user id without a name, a read-only root, no HOME, no temporary directory, no /dev/shm,
and at most so much memory. Volumes are writable, and the same outside. A machine that does not permit it says so.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.process.waiting import eventually

UID = 54321
_SECONDS = 40.0
# What `docker run --read-only --user 54321` makes; /dev has what programs count on, and no shm.
_INSIDE = """
set -e
mount --make-rprivate /
mount -t proc proc /proc
for volume in $VOLUMES; do mount --bind "$volume" "$volume"; done
mount -t tmpfs -o mode=755 tmpfs "$DEVICES"
for device in null zero full random urandom; do
    : > "$DEVICES/$device"
    mount --bind "/dev/$device" "$DEVICES/$device"
done
ln -s /proc/self/fd "$DEVICES/fd"
mount --rbind "$DEVICES" /dev
mount -o remount,bind,ro /
exec unshare --user --map-user=UID --map-group=UID -- "$@"
""".replace("UID", str(UID))
_UNSHARE = ("--user", "--map-root-user", "--mount", "--pid", "--ipc", "--fork", "--kill-child")


@dataclass(slots=True)
class Container:
    """One process 1 and what it starts, until `close`.

    Args:
        directory: where its log and its own /dev are made; of the test alone.
        volumes: directories that it can write.
        memory: a cgroup that it lives in; None: without a bound.
    """

    directory: Path
    volumes: Sequence[Path]
    memory: Path | None = None
    _outer: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def log_path(self) -> Path:
        """What it prints."""
        return self.directory / "log"

    def start(self, command: Sequence[str], **environ: str) -> None:
        """Start a command as process 1, with nothing in its environment but PATH and `environ`."""
        devices = self.directory / "dev"
        devices.mkdir(exist_ok=True)
        inside = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environ}
        inner = ["env", "-i", *(f"{name}={value}" for name, value in inside.items()), *command]
        join = 'echo $$ > "$CGROUP/cgroup.procs"; ' if self.memory is not None else ""
        places = {"VOLUMES": " ".join(map(str, self.volumes)), "DEVICES": str(devices), "CGROUP": str(self.memory)}
        with self.log_path.open("ab") as log:
            self._outer = subprocess.Popen(
                ["sh", "-c", f'{join}exec unshare {" ".join(_UNSHARE)} -- sh -c "$INSIDE" sh "$@"', "sh", *inner],
                env={**os.environ, "INSIDE": _INSIDE, **places},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process 1, by the number that it has outside; unshare waits for it."""
        outer = self._outer
        assert outer is not None, "start it first"
        return eventually(lambda: children_of(outer.pid), _SECONDS, "it has a process", self.log)[0]

    def terminate(self) -> int:
        """TERM to process 1, as `docker stop` sends it; returns its exit code."""
        os.kill(self.pid, signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """The exit code of process 1."""
        assert self._outer is not None, "start it first"
        return self._outer.wait(_SECONDS)

    def log(self) -> str:
        """Everything that was printed."""
        return self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""

    def close(self) -> None:
        """End it, and with it all processes inside."""
        if self._outer is not None and self._outer.poll() is None:
            self._outer.kill()
            self._outer.wait(_SECONDS)


def children_of(pid: int) -> list[int]:
    """The children of a process that are there or not yet taken note of."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [child.pid for child in psutil.Process(pid).children()]
    return []


def is_zombie(pid: int) -> bool:
    """Whether a process has ended and nobody took note of it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    return False


def skip_unless_permitted(directory: Path) -> None:
    """Skip the test, with the machine's own words, where it does not let us make containers."""
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare here (util-linux)")
    trial = Container(directory, [directory])
    trial.start(["sh", "-c", "test $$ = 1 && test ! -e /dev/shm && ! touch /read-only 2>/dev/null"])
    try:
        code = trial.wait()
    finally:
        trial.close()
    if code:
        pytest.skip(f"this machine does not permit namespaces ({code}): {trial.log()[-300:].strip()}")
    trial.log_path.unlink()


@contextlib.contextmanager
def memory_cgroup(name: str, limit_bytes: int) -> Iterator[Path | None]:
    """A cgroup with so much memory; None: this machine gives us none to make one in."""
    made = next(filter(None, (_made(root, name, knob, limit_bytes) for root, knob in _CGROUPS)), None)
    try:
        yield made
    finally:
        if made is not None:
            # The kernel may still be busy with the end of what was in it.
            eventually(lambda: _is_removed(made), _SECONDS, f"{made} is empty")


# Version 1, and 2.
_CGROUPS = (
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    (Path("/sys/fs/cgroup"), "memory.max"),
)


def _made(root: Path, name: str, knob: str, limit_bytes: int) -> Path | None:
    directory = root / name
    try:
        directory.mkdir()
    except OSError:
        return None
    try:
        (directory / knob).write_text(str(limit_bytes), encoding="ascii")
    except OSError:
        directory.rmdir()
        return None
    return directory


def _is_removed(directory: Path) -> bool:
    try:
        directory.rmdir()
    except OSError:
        return False
    return True
