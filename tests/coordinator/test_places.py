"""Where is written when little is given: no home, no temporary directory, a user id without a name."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamcluster.errors import ConfigurationError
from streamcluster_coordinator.places import home, state_root, temporary_directory, use_socket_directory
from tests.cli.conftest import PYTHONPATH

# A user id that /etc/passwd does not have: it is changed in a child alone.
ODD_USER = """
import os, sys
os.setuid(54321)
from streamcluster.errors import ConfigurationError
from streamcluster_coordinator.places import home, state_root
os.environ.pop("HOME", None)
try:
    print(state_root(None, {}))
except ConfigurationError as error:
    print(error.exit_code, error)
"""


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory of the test's own; `tmp_path` may be too long for a socket in it."""
    with tempfile.TemporaryDirectory(prefix="places-") as path:
        yield Path(path)


@pytest.fixture(autouse=True)
def _keep_the_temporary_directory() -> Iterator[None]:
    """It is a global of the process."""
    before = tempfile.tempdir
    yield
    tempfile.tempdir = before


def test_state_is_where_it_was_named(short_path: Path) -> None:
    """The setting, systemd's directory, the XDG one, the home, in this order."""
    everything = {"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "XDG_STATE_HOME": "/x", "HOME": "/home/me"}
    assert state_root(str(short_path), everything) == short_path
    assert state_root(None, everything) == Path("/var/lib/a")
    assert state_root(None, {"XDG_STATE_HOME": "/x", "HOME": "/home/me"}) == Path("/x/streamcluster")
    assert state_root(None, {"XDG_STATE_HOME": "x", "HOME": "/h"}) == Path("/h/.local/state/streamcluster")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become a user that has no name")
def test_user_without_a_name_and_a_home_is_told_what_to_give() -> None:
    """Exit code 78 with the setting, not a RuntimeError of pathlib's."""
    # Only what is imported before it changes its user can be read: the interpreter may be root's.
    program = "import streamcluster_coordinator.places, encodings.idna\n" + ODD_USER
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={"PYTHONPATH": PYTHONPATH}, timeout=60
    )
    assert done.stdout.startswith("78 there is no place for the app's state: $HOME is not set, and user id 54321 has")
    assert "--state-dir" in done.stdout


def test_relative_home_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would mean another place in each directory."""
    monkeypatch.setenv("HOME", "/known")
    assert home({"HOME": "."}, "state", "") == Path("/known")


def test_socket_goes_where_state_is_when_there_is_no_other_place(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only root has no /tmp."""
    monkeypatch.setattr("streamcluster_coordinator.places._unwritable", _only(short_path / "state"))
    use_socket_directory(str(short_path / "state"), {"TMPDIR": "/nowhere"})
    assert tempfile.gettempdir() == str(short_path / "state")


def test_no_place_for_the_socket_names_every_place_that_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason of each, and what to do."""
    monkeypatch.setattr("streamcluster_coordinator.places._unwritable", _only(Path("/none")))
    long = "/" + "x" * 100
    with pytest.raises(ConfigurationError, match="TMPDIR") as caught:
        use_socket_directory(long, {"TMPDIR": "/nowhere"})
    said = str(caught.value)
    assert "- /nowhere: it is not writable" in said
    assert "- /tmp: it is not writable" in said
    assert f"- {long}: longer than the 74 bytes" in said


def _only(good: Path):  # type: ignore[no-untyped-def]
    return lambda directory: None if directory == good else "it is not writable"


def test_place_that_is_not_there_is_made_for_its_user_alone(short_path: Path) -> None:
    """The first start on a new machine."""
    use_socket_directory(None, {"TMPDIR": str(short_path / "new")})
    assert tempfile.gettempdir() == str(short_path / "new")
    assert (short_path / "new").stat().st_mode & 0o777 == 0o700


def test_temporary_directory_that_cannot_be_made_is_one_message(short_path: Path) -> None:
    """Of the broker and the demo."""
    tempfile.tempdir = str(short_path / "absent")
    with pytest.raises(ConfigurationError, match=r"no temporary directory can be made \(.*give a --data-dir"):
        temporary_directory("x-", "give a --data-dir")
