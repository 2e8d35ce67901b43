"""Processes of the fleet: what they inherit, how their end is seen. Run in an interpreter of its own.

The fork server belongs to a whole process, so each test has one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import json, os, signal, subprocess, sys
from streamcluster_coordinator.shell import fleet
from streamcluster_coordinator.shell.fleet import Fleet

# A busy machine may be slow to tell them.
fleet._EXIT_CODE_SECONDS = 20.0
print("main ran", flush=True)

def see(config, sock):
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        os.kill(os.getpid(), number)
    started = "import signal; print([signal.getsignal(s).name for s in (signal.SIGTERM, signal.SIGHUP)])"
    started = subprocess.run([sys.executable, "-c", started], capture_output=True, text=True).stdout.strip()
    found = {"blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, ())), "started": started, "cwd": os.getcwd()}
    sock.sendall(json.dumps(found).encode())
    os._exit(int(config))

def die(config, sock):
    os.kill(os.getpid(), int(config))
"""
MAIN = """
if __name__ == "__main__":
    import entries
    for entry, config in [("see", b"7"), ("die", b"11"), ("die", b"9")]:
        fleet = Fleet(entry=f"entries:{entry}", preload=("entries",))
        fleet.open()
        process = fleet.start_worker(config)
        assert process.wait(20)
        process.sock.settimeout(5)
        print(json.dumps([process.exit_code(), process.sock.recv(1000).decode()]), flush=True)
        process.close()
"""

KILLED = """
if __name__ == "__main__":
    import threading
    from multiprocessing import forkserver
    fleet = Fleet(entry="entries:see", preload=("entries",))
    fleet.open()
    fleet.start_worker(b"7").wait(20)
    server = forkserver._forkserver._forkserver_pid
    os.kill(server, signal.SIGSTOP)
    # It has taken the request, as far as we can see, when it dies.
    threading.Timer(0.2, os.kill, (server, signal.SIGKILL)).start()
    process = fleet.start_worker(b"7")
    assert process.wait(20)
    print(process.exit_code())
"""


def run_script(directory: Path, main: str) -> list[str]:
    """Run the script with this end; return what it printed."""
    (directory / "entries.py").write_text(SCRIPT.replace('print("main ran", flush=True)', ""))
    (directory / "script.py").write_text(SCRIPT + main)
    found = subprocess.run(
        [sys.executable, "script.py"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.stderr == ""
    return found.stdout.splitlines()


def test_processes_run_the_entry_only_and_their_end_is_told(tmp_path: Path) -> None:
    """The main script is not run again in them, group signals pass them by, and exit codes and signals are seen.

    What they start has the default handlers, and nothing blocked.
    """
    lines = run_script(tmp_path, MAIN)
    assert lines.count("main ran") == 1
    rest = lines[1:]
    codes = [json.loads(line)[0] for line in rest]
    assert codes == [7, -11, -9]
    assert json.loads(json.loads(rest[0])[1]) == {
        "blocked": 0,
        "started": "['SIG_DFL', 'SIG_DFL']",
        "cwd": str(tmp_path),
    }


def test_a_fork_server_that_dies_in_the_middle_of_a_start_is_replaced(tmp_path: Path) -> None:
    """The coordinator goes on: the start is made by a new one."""
    assert run_script(tmp_path, KILLED) == ["main ran", "7"]
