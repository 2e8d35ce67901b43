"""Standard streams as cron, systemd, containers and pipes leave them: closed, full, without a reader. Real ones."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from tests.cli.conftest import PYTHONPATH, SHOP

State = Literal["closed", "full", "broken"]
# What a stream is opened on, in the words of a shell; `broken` is a pipe whose reader is gone.
_OPENED = {"closed": "-", "full": "/dev/full"}
AGENTS = ("agents", "-A", "shop:app")
NO_TABLE = ("table", "-A", "shop:app", "absent")


@pytest.fixture
def broken_pipe() -> Iterator[int]:
    """A pipe to write into that nobody reads."""
    reads, writes = os.pipe()
    os.close(reads)
    yield writes
    os.close(writes)


def run(
    directory: Path, arguments: tuple[str, ...], states: dict[int, State], pipe: int
) -> subprocess.CompletedProcess[str]:
    """A command of which streams are in these states; what the others take is returned."""
    (directory / "shop.py").write_text(SHOP, encoding="utf-8")
    shell = [f"{number}>&{_OPENED['closed']}" for number, state in states.items() if state == "closed"]
    shell += [f"{number}>{_OPENED['full']}" for number, state in states.items() if state == "full"]
    shell += [f"{number}>&{pipe}" for number, state in states.items() if state == "broken"]
    return subprocess.run(
        ["bash", "-c", f'exec "$@" {" ".join(shell)}', "sh", sys.executable, "-m", "streamcluster", *arguments],
        cwd=directory,
        env={"PATH": "/usr/bin:/bin", "HOME": str(directory), "PYTHONPATH": PYTHONPATH},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
        pass_fds=[pipe],
    )


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("state", ["closed", "full", "broken"])
@pytest.mark.parametrize(("arguments", "code"), [(AGENTS, 0), (NO_TABLE, 78)])
def test_exit_code_is_the_commands_whatever_a_stream_is(
    tmp_path: Path, broken_pipe: int, number: int, state: State, arguments: tuple[str, ...], code: int
) -> None:
    """Nobody who reads is no error; that the answer has no room is one; and never a traceback."""
    done = run(tmp_path, arguments, {number: state}, broken_pipe)
    has_no_room = (number, state, code) == (1, "full", 0)
    assert done.returncode == (78 if has_no_room else code), done.stderr
    assert "Traceback" not in done.stderr
    assert "fault of streamcluster" not in done.stderr
    if has_no_room:
        assert "the standard output: the disk is full" in done.stderr
    elif number != 2 and code:
        assert "no table 'absent'" in done.stderr
    elif number != 1 and not code:
        assert "add_up" in done.stdout


def test_all_streams_may_be_closed(tmp_path: Path, broken_pipe: int) -> None:
    """As a careless daemon starts its children."""
    done = run(tmp_path, NO_TABLE, {0: "closed", 1: "closed", 2: "closed"}, broken_pipe)
    assert (done.returncode, done.stdout, done.stderr) == (78, "", "")


def test_streams_that_were_closed_are_nobody_elses(tmp_path: Path) -> None:
    """Numbers 0 to 2 do not go to the next socket, in children neither: libraries print into them."""
    program = (
        "from streamcluster_coordinator.cli.standard_streams import prepare_streams; prepare_streams();"
        "import subprocess;"
        "subprocess.run(['sh', '-c', f'ls -l /proc/self/fd > {__import__(\"sys\").argv[1]}'])"
    )
    found = tmp_path / "found"
    command = ["sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh", sys.executable, "-c", program, str(found)]
    subprocess.run(command, timeout=60, check=True, env={**os.environ, "PYTHONPATH": PYTHONPATH})
    opened = dict(line.split()[-3::2] for line in found.read_text().splitlines()[1:])
    assert (opened["0"], opened["2"]) == ("/dev/null", "/dev/null")
    assert opened["1"] == str(found)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-16"])
def test_terminal_of_any_encoding_is_written_to(tmp_path: Path, encoding: str) -> None:
    """What it has no character for is an escape."""
    source = SHOP.replace("Add up the orders", "Zählt € \N{SNOWMAN}")
    (tmp_path / "shop.py").write_text(source, encoding="utf-8")
    env = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [sys.executable, "-m", "streamcluster", *AGENTS],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": PYTHONPATH, **env},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # ASCII is what an environment says that says nothing: click takes it for UTF-8.
    written = {"ascii": "Zählt € ☃", "latin-1": "Zählt \\u20ac", "utf-16": "Zählt € ☃"}
    assert written[encoding] in done.stdout.decode("utf-8" if encoding == "ascii" else encoding)
