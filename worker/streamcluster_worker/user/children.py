"""Children: processes that users' code starts in a worker: they are as they would be anywhere, and end with the worker.

executed (subprocess)                  the worker's handlers are gone by then, so signals have their defaults
forked (multiprocessing, os.fork)      defaults are set in the child, and it is kept from going on as the worker
the worker is gone, however it went    the coordinator, or the fork server without one, kills the worker's group
"""

from __future__ import annotations

import os
import signal
import threading
import time

from streamcluster.boundary import stay_in_this_process

# What is sent to whole groups, which the fork server and the worker pass over (shell/preload.py), and what it handles.
PASSED_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU)
HANDLED_SIGNALS = (*PASSED_SIGNALS, signal.SIGUSR1)
# What they get to end by themselves, when the worker ends in order.
END_SECONDS = 2.0
_LOOK_SECONDS = 0.01


def expect_children() -> None:
    """In a worker, which leads its process group, before any code of the app runs in it."""
    stay_in_this_process()
    fork = _Fork()
    os.register_at_fork(before=fork.begin, after_in_parent=fork.end, after_in_child=fork.be_a_child)


class _Fork:
    """One that is under way, in each thread: what is sent to the child before it has its handlers waits for them."""

    __slots__ = ("_masks",)

    def __init__(self) -> None:
        # By thread, for others may fork meanwhile.
        self._masks: dict[int, set[signal.Signals]] = {}

    def begin(self) -> None:
        self._masks[threading.get_ident()] = {
            signal.Signals(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED_SIGNALS)
        }

    def end(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._masks.pop(threading.get_ident(), set()))

    def be_a_child(self) -> None:
        signal.set_wakeup_fd(-1)
        for number in HANDLED_SIGNALS:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())


def ask_children_to_end() -> None:
    """The worker has ended in order: its children are told, and waited for, and then the group is killed by others."""
    deadline = time.monotonic() + END_SECONDS
    told = False
    while time.monotonic() < deadline:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not told:
            told = True
            os.killpg(0, signal.SIGTERM)
        if not pid:
            time.sleep(_LOOK_SECONDS)


def end_with_children() -> None:
    """End at once, and everything that was started here: nobody is left who would do it."""
    os.killpg(0, signal.SIGKILL)
