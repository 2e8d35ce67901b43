"""A start that is ended before the app runs: it cleans up, says one line at most, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.cli.conftest import PYTHONPATH
from tests.process.running import is_dead
from tests.process.waiting import eventually

SECONDS = 20.0
# As a module that connects to something on import.
SLOW = """
import os, pathlib
pathlib.Path("imports").touch()
os.open("fifo", os.O_RDONLY)
"""


@pytest.mark.parametrize("group", [False, True], ids=["coordinator", "all"])
@pytest.mark.parametrize(("number", "code", "text"), [(signal.SIGTERM, 0, ""), (signal.SIGINT, 130, "interrupted")])
def test_start_that_still_imports_ends_when_asked(
    tmp_path: Path, number: int, code: int, text: str, *, group: bool
) -> None:
    """A terminal sends it to all processes, systemd to one or to all: nobody complains, and nobody stays."""
    (tmp_path / "slow.py").write_text(SLOW, encoding="utf-8")
    os.mkfifo(tmp_path / "fifo")
    process = subprocess.Popen(
        [sys.executable, "-m", "streamcluster", "start", "-A", "slow:app", "--state-dir", "state"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": PYTHONPATH},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        eventually(lambda: (tmp_path / "imports").exists(), SECONDS, "it imports the app")
        (os.killpg if group else os.kill)(process.pid, number)
        output, _ = process.communicate(timeout=SECONDS)
        eventually(lambda: not alive(process.pid), SECONDS, "no process is left", lambda: str(alive(process.pid)))
    finally:
        for left in alive(process.pid):
            left.kill()
        process.communicate()

    assert process.returncode == code, output
    # On a terminal the line of the ^C is ended first.
    assert output.strip().removeprefix("streamcluster: ") == text


def alive(session: int) -> list[psutil.Process]:
    """Who is left of a session, dead ones that nobody took note of aside."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getsid(process.pid) == session and not is_dead(process):
                found.append(process)
    return found
