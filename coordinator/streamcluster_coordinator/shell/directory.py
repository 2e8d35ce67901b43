"""An app's own directory on this host, and the lock that lets one coordinator use it at a time.

The kernel drops the lock with its owner, however that ends. The directory is this user's alone. What is in it is the
workers' business, but for the names that are ours, and for which names may be removed.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from streamcluster.causes import why
from streamcluster.errors import ConfigurationError
from streamcluster.settings import Settings

from ..own_directory import NotOurs, close_to_others, make_own, open_own
from ..places import state_root

LOCK_NAME = "lock"
SOCKET_NAME = "control.sock"
# What workers keep there, and how their entries in it are named: stores of tasks, those that were set aside, and what
# each slot has in hand.
STATE = {"tasks": re.compile(r"\d+_\d+(\.corrupt-\d+)?"), "in_hand": re.compile(r"\d+")}


def app_directory(settings: Settings, environ: Mapping[str, str] = os.environ) -> Path:
    """Where the app keeps its state on this host, under `state_root`. Raises ConfigurationError: nothing says where."""
    return state_root(settings.state_dir or None, environ) / settings.app_id


@contextmanager
def instance_lock(directory: Path) -> Iterator[Path]:
    """Make the directory if need be and own it until the end of the block.

    Raises:
        ConfigurationError: another process has it (with its pid), it cannot be written, or somebody else can write it
            (the operator).
    """
    try:
        make_own(directory)
        for name in STATE:
            close_to_others(directory / name)
        lock = open_own(directory / LOCK_NAME, os.O_RDWR)
    except NotOurs as error:
        raise ConfigurationError(
            f"the state directory {directory} is not safe: {error}. Or choose another one with --state-dir."
        ) from error
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
        f"the state directory {directory} cannot be used: {why(error)} ({error.filename or directory}). "
        "It must be writable for this user; --state-dir chooses another one."
    )


def state_entries(directory: Path) -> list[Path]:
    """What the app has stored there, by the names that workers give it; nothing else is ours to remove."""
    return [path for name in sorted(STATE) if (path := directory / name).is_symlink() or path.is_dir()]


def remove_state(entry: Path) -> None:
    """Remove one of `state_entries`: of a link the link, of a directory what workers have made in it.

    Raises:
        OSError: it cannot be removed, or has something in it that no worker made.
    """
    if entry.is_symlink():
        entry.unlink()
        return
    for path in list(entry.iterdir()):
        if not STATE[entry.name].fullmatch(path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    entry.rmdir()
