"""The state directory: where it is, and that one coordinator at a time has it, with real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from streamcluster.errors import ConfigurationError
from streamcluster.settings import make_settings
from streamcluster_coordinator.shell.directory import app_directory, instance_lock, remove_state, state_entries

HOLDER = """
import sys
from pathlib import Path
from streamcluster_coordinator.shell.directory import instance_lock
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
        pytest.raises(ConfigurationError, match=r"file/app cannot be used: a file is where.*--state-dir"),
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


def test_only_what_workers_make_is_removed(tmp_path: Path) -> None:
    """Neither the lock, nor what somebody else has put there, nor what a link leads to."""
    elsewhere = tmp_path / "disk"
    for path in ("app/tasks/4_0", "app/tasks/4_1.corrupt-2", "app/Documents", "disk/4_0", "linked"):
        (tmp_path / path).mkdir(parents=True)
    for path in ("app/lock", "app/control.sock", "app/tasks/4_0/CURRENT", "app/in_hand", "app/tasksheet.txt"):
        (tmp_path / path).touch()
    (tmp_path / "app/tasks/4_2").symlink_to(elsewhere)
    (tmp_path / "linked/tasks").symlink_to(elsewhere)
    assert state_entries(tmp_path / "nowhere") == []

    (entry,) = state_entries(tmp_path / "app")
    remove_state(entry)
    (link,) = state_entries(tmp_path / "linked")
    remove_state(link)

    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    app = ["app", "app/Documents", "app/control.sock", "app/in_hand", "app/lock", "app/tasksheet.txt"]
    assert left == [*app, "disk", "disk/4_0", "linked"]


def test_a_directory_with_something_else_in_it_stays(tmp_path: Path) -> None:
    """A folder of the user that happens to have the name: what workers made goes, the rest is named."""
    for path in ("tasks/4_0", "tasks/of the year"):
        (tmp_path / path).mkdir(parents=True)
    (entry,) = state_entries(tmp_path)

    with pytest.raises(OSError, match="not empty"):
        remove_state(entry)

    assert [path.name for path in entry.iterdir()] == ["of the year"]


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_a_directory_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    """Also one of its own that is to hold the stores; each message says what to do."""
    directory = tmp_path / "app"
    for shared in (directory, directory / "tasks"):
        directory.mkdir(exist_ok=True)
        (directory / "tasks").mkdir(exist_ok=True)
        shared.chmod(mode)
        with (
            pytest.raises(ConfigurationError, match=rf"others may write {shared} .*chmod 700"),
            instance_lock(directory),
        ):
            pytest.fail("it was taken")
        assert not (directory / "lock").exists()
        shared.chmod(0o700)


def test_a_directory_that_others_may_replace_is_refused(tmp_path: Path) -> None:
    """Whoever may write the one above it can rename it; not in a sticky one."""
    above = tmp_path / "above"
    above.mkdir()
    above.chmod(0o777)
    with (
        pytest.raises(ConfigurationError, match=r"anybody may write .*/above, .*chmod o-w"),
        instance_lock(above / "app"),
    ):
        pytest.fail("it was taken")
    above.chmod(0o1777)
    with instance_lock(above / "app"):
        pass


def test_a_directory_that_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    """As one is that an earlier version, or the operator, has made."""
    directory = tmp_path / "app"
    for path in (directory, directory / "tasks"):
        path.mkdir(mode=0o755)
    with instance_lock(directory):
        assert [path.stat().st_mode & 0o777 for path in (directory, directory / "tasks")] == [0o700, 0o700]
        assert (directory / "lock").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", ["link", "second name", "pipe"])
def test_no_file_but_the_lock_is_written(tmp_path: Path, kind: str) -> None:
    """What is in the lock's place and leads to another file is refused, and that file stays as it is."""
    directory, victim = tmp_path / "app", tmp_path / "victim"
    directory.mkdir(mode=0o700)
    victim.write_text("precious")
    if kind == "link":
        (directory / "lock").symlink_to(victim)
    elif kind == "second name":
        (directory / "lock").hardlink_to(victim)
    else:
        os.mkfifo(directory / "lock")

    with pytest.raises(ConfigurationError, match=r"lock"), instance_lock(directory):
        pytest.fail("it was taken")

    assert victim.read_text() == "precious"
