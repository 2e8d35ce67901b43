"""Another user of this machine, who may write where the state directory is to be, or read where it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Run

# An account without a name, so that it owns nothing here.
STRANGER = 54321

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")


def as_stranger(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run lines of shell as the other user, who may not be able to run our Python."""
    return subprocess.run(
        ["/bin/sh", "-euc", script, "sh", *arguments],
        user=STRANGER,
        group=STRANGER,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.fixture
def everybodys() -> Iterator[Path]:
    """A directory that is like /tmp: anybody may make entries, and nobody take away another's."""
    directory = Path(tempfile.mkdtemp(prefix="streamcluster-local-user-"))
    directory.chmod(0o1777)
    yield directory
    shutil.rmtree(directory)


PLANT = """
mkdir -p "$1/shop"
chmod 777 "$1/shop"
for name in lock control.sock in_hand tasks; do ln -s "$2" "$1/shop/$name"; done
"""
READ = 'cat "$1"'


@pytest.mark.parametrize("command", ["reset --yes", "start --workers 1"])
@pytest.mark.parametrize("below", ["", "state"])
def test_a_directory_that_another_user_has_laid_out_is_refused(
    run: Run, everybodys: Path, tmp_path: Path, command: str, below: str
) -> None:
    """With links to a file of ours in it: exit code 78, who owns it, and the file is as it was."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    state = everybodys / below
    planted = as_stranger(PLANT, str(state), str(victim))
    assert planted.returncode == 0, planted.stderr

    done = run(*command.split(), "-A", "shop:app", "--state-dir", str(state))

    assert done.returncode == 78, done.stderr
    assert f"belongs to user {STRANGER}" in done.stderr
    assert victim.read_text() == "precious"
    assert (state / "shop" / "lock").is_symlink()


def test_another_user_reads_nothing_of_a_directory_that_was_open(run: Run, everybodys: Path) -> None:
    """An operator's 0755 is closed by the first command that uses it."""
    table = everybodys / "shop" / "tasks" / "4_0" / "000001.sst"
    table.parent.mkdir(parents=True)
    table.write_text("rows")
    for path in (everybodys / "shop", *(everybodys / "shop").rglob("*")):
        path.chmod(0o755)
    assert as_stranger(READ, str(table)).stdout == "rows"

    # Ends without a broker.
    assert run("start", "-A", "shop:app", "--state-dir", str(everybodys), "--workers", "1").returncode == 69

    assert "Permission denied" in as_stranger(READ, str(table)).stderr
    assert table.read_text() == "rows"
