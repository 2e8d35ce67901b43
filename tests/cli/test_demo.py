"""`streamcluster demo`, the short form, as a user runs it: real Kafka and workers, first line to exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.process.running import is_dead

FLIGHTS = 20_000
SECONDS_MAX = 150


def demo(tmp_path: Path, *options: str) -> subprocess.Popen[str]:
    """A started demo with `tmp_path` for its temporary files."""
    env = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(
        [sys.executable, "-m", "streamcluster", "demo", "--flights", str(FLIGHTS), *options],
        env=env,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def children_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Every process that the demo started."""
    return list(psutil.Process(process.pid).children(recursive=True))


@pytest.mark.timeout(SECONDS_MAX + 20)
def test_the_demo_ends_with_figures_and_exit_code_0(tmp_path: Path) -> None:
    """It loads, processes, shows the tables and leaves nothing behind."""
    process = demo(tmp_path)
    output, _ = process.communicate(timeout=SECONDS_MAX)

    assert process.returncode == 0, output
    assert "Arrival delays by carrier" in output
    assert "Arrival delays by route" in output
    assert f"{FLIGHTS:,} flights became {2 * FLIGHTS:,} events, processed exactly once by 2 workers" in output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(SECONDS_MAX + 20)
def test_an_interrupted_demo_cleans_up(tmp_path: Path) -> None:
    """Ctrl-C while the app runs ends app and broker, removes the files, and is no success."""
    process = demo(tmp_path)
    assert process.stdout is not None
    started: list[psutil.Process] = []
    for line in process.stdout:
        if line.startswith("Starting the example app"):
            wait_for(lambda: len(children_of(process)) >= 2)
            started = children_of(process)
            process.send_signal(signal.SIGINT)
            break
    output, _ = process.communicate(timeout=SECONDS_MAX)

    assert process.returncode == 130, output
    assert "Traceback" not in output, output[-3000:]
    assert [child for child in started if not is_dead(child)] == []
    assert list(tmp_path.iterdir()) == []


def wait_for(condition: Callable[[], bool]) -> None:
    """Until the condition holds, or fail."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true within 30 s"
        threading.Event().wait(0.05)


def test_temporary_files_follow_tmpdir(tmp_path: Path) -> None:
    """What the two tests above rely on: Python's temporary directory is the one in the environment."""
    program = "import tempfile; print(tempfile.gettempdir())"
    env = {**os.environ, "TMPDIR": str(tmp_path)}

    found = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)

    assert found.stdout.strip() == str(tmp_path) != tempfile.gettempdir()
