"""The app under those restrictions of its systemd unit that need no systemd: the kernel applies them to a process."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import MakeTopic
from tests.process.conftest import StartApp
from tests.process.running import ENTRY, REPOSITORY, is_running
from tests.process.waiting import eventually

_GET_MDWE = 66
# Sets what the unit sets, then becomes the app: no memory that is writable and executable, no new privileges, no
# capabilities (as root, whose own ones end with the bounding set at the exec), and files for the owner alone.
_RESTRICTED = """
import ctypes, os, sys
prctl = ctypes.CDLL(None, use_errno=True).prctl
assert prctl(65, 1, 0, 0, 0) == 0 and prctl(38, 1, 0, 0, 0) == 0
if os.getuid() == 0:
    for number in range(int(open("/proc/sys/kernel/cap_last_cap").read()) + 1):
        assert prctl(24, number, 0, 0, 0) == 0
os.umask(0o077)
os.execv(sys.argv[1], sys.argv[1:])
"""
_CHILD_SAYS = f"""
import ctypes, os
pid = os.fork()
if pid == 0:
    os._exit(ctypes.CDLL(None).prctl({_GET_MDWE}, 0, 0, 0, 0))
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
needs_mdwe = pytest.mark.skipif(
    ctypes.CDLL(None).prctl(_GET_MDWE, 0, 0, 0, 0) < 0, reason="this kernel has no PR_SET_MDWE (Linux 6.3 has it)"
)


@needs_mdwe
def test_an_app_runs_in_the_restrictions_of_its_unit(
    running: StartApp, make_topic: MakeTopic, topic_prefix: str
) -> None:
    """MemoryDenyWriteExecute, no capabilities, $STATE_DIRECTORY: tasks run with their stores, and it drains."""
    make_topic(f"{topic_prefix}in", 2)
    run = running("ledger")
    where = ["-A", run.app, "--broker", run.broker_url]
    with run.log_path.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", _RESTRICTED, *ENTRY, "start", *where, "--workers", "1"],
            cwd=REPOSITORY,
            env={**run.environment, "STATE_DIRECTORY": str(run.state_dir)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        eventually(lambda: (s := run.status()) is not None and is_running(s), 40, "every task runs", run.log_end)
        facts = Path(f"/proc/{run.worker().pid}/status").read_text()
        process.terminate()
        assert process.wait(40) == 0, run.log_end()
    finally:
        process.kill()
        process.wait(40)

    assert "NoNewPrivs:\t1" in facts
    assert os.getuid() != 0 or "CapEff:\t0000000000000000" in facts
    assert (run.state_dir / run.app_id).stat().st_mode & 0o077 == 0


@needs_mdwe
def test_the_restriction_on_memory_is_inherited() -> None:
    """Otherwise the test above would prove nothing about workers, which are children of children."""
    command = [sys.executable, "-c", _RESTRICTED, sys.executable, "-c", _CHILD_SAYS]

    assert subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout == "1\n"
