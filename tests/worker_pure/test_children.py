"""A worker's fork: a child takes what is sent to it, however early. In an interpreter of its own: the hook stays."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import multiprocessing, signal, threading
from streamcluster_worker.user.children import PASSED_SIGNALS, expect_children

for number in PASSED_SIGNALS:
    signal.signal(number, lambda *_: None)
expect_children()
codes = []
for _ in range(60):
    process = multiprocessing.get_context("fork").Process(target=threading.Event().wait)
    process.start()
    process.terminate()
    process.join(5)
    codes.append(process.exitcode)
    process.kill()
print(set(codes), signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""


def test_child_that_is_ended_at_once_ends() -> None:
    """TERM may come before the child has its own handlers; the parent's mask is what it was."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=400, check=False)
    assert (done.stdout.strip(), done.stderr) == ("{-15} set()", "")
