"""The state directory: where it is, and that one coordinator at a time has it, with real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from streamcluster.errors import ConfigurationError
from streamcluster.settings import make_settings
from streamcluster_coordinator.instance import app_directory, instance_lock, state_entries

HOLDER = """
import sys
from pathlib import Path
from streamcluster_coordinator.instance import instance_lock
with instance_lock(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def hold(directory: Path) -> subprocess.Popen[str]:
    """Another process that has the lock."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    return holder


def test_second_start_is_refused_with_the_pid(tmp_path: Path) -> None:
    """Who has the directory is named, with what to do; when that process is killed, the directory is free."""
    holder = hold(tmp_path / "app")
    try:
        with (
            pytest.raises(ConfigurationError, match=rf"pid {holder.pid}\): .*Stop it first") as caught,
            instance_lock(tmp_path / "app"),
        ):
            pytest.fail("the lock was given twice")
        assert caught.value.exit_code == 78
    finally:
        holder.kill()
        holder.communicate(timeout=10)
    with instance_lock(tmp_path / "app") as directory:
        assert (directory / "lock").read_text() == f"{os.getpid()}\n"


def test_unusable_directory_says_where_and_what_to_do(tmp_path: Path) -> None:
    """A file in the place of the directory is an operator's error, not a traceback."""
    (tmp_path / "file").write_text("")

    with (
        pytest.raises(ConfigurationError, match=r"file/app cannot be used: Not a directory.*--state-dir"),
        instance_lock(tmp_path / "file/app"),
    ):
        pytest.fail("it was taken")


def test_directory_is_the_setting_then_systemds_then_the_users(tmp_path: Path) -> None:
    """--state-dir beats $STATE_DIRECTORY beats $XDG_STATE_HOME; the app id is always part of it."""
    plain = make_settings({"id": "shop", "version": 2})
    chosen = make_settings({"id": "shop", "state_dir": str(tmp_path)})
    environ = {"STATE_DIRECTORY": "/var/lib/one:/var/lib/two", "XDG_STATE_HOME": "/home/x/state"}

    assert app_directory(chosen, environ) == tmp_path / "shop"
    assert app_directory(plain, environ) == Path("/var/lib/one/shop-v2")
    assert app_directory(plain, {"XDG_STATE_HOME": "/home/x/state"}) == Path("/home/x/state/streamcluster/shop-v2")
    assert app_directory(plain, {"XDG_STATE_HOME": "relative"}) == Path.home() / ".local/state/streamcluster/shop-v2"


def test_state_entries_are_all_but_ours(tmp_path: Path) -> None:
    """The lock and the socket are not state; a directory that is not there has none."""
    for name in ("lock", "control.sock", "4_0"):
        (tmp_path / name).touch()

    assert [path.name for path in state_entries(tmp_path)] == ["4_0"]
    assert list(state_entries(tmp_path / "nowhere")) == []
