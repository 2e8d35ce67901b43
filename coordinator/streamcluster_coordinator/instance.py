"""An app's own directory on this host, and the lock that lets one coordinator use it at a time.

The kernel drops the lock with its owner, however that ends. What is in the directory is the workers' business, but for
the names that are ours.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from streamcluster.errors import ConfigurationError
from streamcluster.settings import Settings

LOCK_NAME = "lock"
SOCKET_NAME = "control.sock"


def app_directory(settings: Settings, environ: Mapping[str, str] = os.environ) -> Path:
    """Where the app keeps its state on this host: the setting, else what systemd gives, else the user's state home."""
    if settings.state_dir:
        root = _expanded(settings.state_dir).absolute()
    elif environ.get("STATE_DIRECTORY"):
        # systemd lists several with colons; the first one is the unit's own.
        root = Path(environ["STATE_DIRECTORY"].split(":")[0])
    else:
        home = environ.get("XDG_STATE_HOME")
        # The specification wants relative paths ignored.
        root = (Path(home) if home and Path(home).is_absolute() else Path.home() / ".local/state") / "streamcluster"
    return root / settings.app_id


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigurationError(f"state_dir={path!r}: {error}.") from error


@contextmanager
def instance_lock(directory: Path) -> Iterator[Path]:
    """Make the directory if need be and own it until the end of the block.

    Raises:
        ConfigurationError: another process has it (with its pid), or it cannot be written (the operator).
    """
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(directory, error) from error
    try:
        _take(lock, directory)
        try:
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            os.fsync(lock)
        except OSError as error:
            raise _unusable(directory, error) from error
        yield directory
    finally:
        os.close(lock)


def _take(lock: int, directory: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        pid = os.pread(lock, 20, 0).decode(errors="replace").strip()
        raise ConfigurationError(
            f"{directory} is in use by another process{f' (pid {pid})' if pid else ''}: this app runs here already. "
            "Stop it first, or give this one another --state-dir."
        ) from error
    except OSError as error:
        raise _unusable(directory, error) from error


def _unusable(directory: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"the state directory {directory} cannot be used: {error.strerror} ({error.filename or directory}). "
        "Make it writable for this user, or choose another one with --state-dir."
    )


def state_entries(directory: Path) -> Iterator[Path]:
    """What the app has stored: all but the lock and the control socket."""
    if not directory.is_dir():
        return
    yield from (path for path in directory.iterdir() if path.name not in (LOCK_NAME, SOCKET_NAME))
