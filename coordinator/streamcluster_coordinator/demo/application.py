"""The example app as a process of its own, as a user would start it; at the end nothing of it is left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from streamcluster.config.configuration import PREFIX
from streamcluster.errors import StreamclusterError
from streamcluster.settings import Settings, make_settings

from .flights import app

Say = Callable[[str], None]
REFERENCE = "streamcluster_coordinator.demo.flights:app"
DRAIN_SECONDS_MAX = 40.0
# The kernel takes milliseconds to end what was killed.
_GONE_SECONDS = 2.0


class DemoFailed(StreamclusterError):
    """The demo did not come to the right end; the text says where it stopped."""


class Run(msgspec.Struct, frozen=True):
    """One started app. process: its coordinator; settings: what it runs with."""

    process: subprocess.Popen[bytes]
    settings: Settings


@contextmanager
def started(broker: str, directory: Path, workers: int, say: Say) -> Iterator[Run]:
    """Run the example app; at the end, drain it and check how it ended."""
    state = directory / "state"
    arguments = ["start", "-A", REFERENCE, "--workers", str(workers), "--broker", broker]
    say(f"Starting the example app: streamcluster {' '.join(arguments)}")
    settings = make_settings({**app.keywords, "state_dir": str(state)}, source="the demo")
    process: subprocess.Popen[bytes] | None = None
    try:
        # In the middle of it there may be a process already, which nobody would end.
        with _no_interrupts():
            # The user's own settings must not change the demo; a process group of its own leaves Ctrl-C to us.
            process = subprocess.Popen(
                [sys.executable, "-m", "streamcluster", *arguments, "--state-dir", str(state), "--log-format", "text"],
                env={name: value for name, value in os.environ.items() if not name.startswith(PREFIX)},
                cwd=directory,
                stdin=subprocess.DEVNULL,
                process_group=0,
            )
        yield Run(process, settings)
        say("Draining the app.")
        process.send_signal(signal.SIGTERM)
        code = _ended(process)
        if code != 0:
            raise DemoFailed(f"the app did not drain: it ended with exit code {code}; its last lines are above.")
    finally:
        if process is not None:
            if process.poll() is None:
                process.terminate()
                _ended(process)
            _sweep(process.pid)


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """Put Ctrl-C and SIGTERM off until the end of the block."""
    came: list[int] = []
    before = {one: signal.signal(one, lambda number, _: came.append(number)) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    for number in came:
        signal.raise_signal(number)


def _ended(process: subprocess.Popen[bytes]) -> int | None:
    """Wait for the process, at last by force; return its exit code, None when it had to be killed."""
    try:
        return process.wait(DRAIN_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None


def _sweep(group: int) -> None:
    """End what the app has started: it outlives an app that is ended while it starts, and its directory is to go."""
    deadline = time.monotonic() + _GONE_SECONDS
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(group, signal.SIGKILL)
            time.sleep(0.01)
