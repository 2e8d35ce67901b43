"""The only place that starts, signals and reaps processes. They come from a fork server that has the app imported.

The coordinator holds Kafka's threads and must never fork itself. A process is gone when its pidfd says so: that is
the kernel's word, also when the fork server is dead. It must not know what the processes do or why they are ended.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerProcess
from types import ModuleType

import msgspec

from .entry import FIRST_PRELOAD, GO, GROUP_SIGNALS, PRELOAD, PROBE_ENTRY, WORKER_ENTRY, end_group, enter

# The fork server writes an exit code within a millisecond of the end.
_EXIT_CODE_SECONDS = 1.0
_EXIT_CODE_UNKNOWN = 255
_KILL_SECONDS = 10.0
# For a start that is under way; while the fork server imports the app it takes longer, and has heard all by then.
_INTERRUPT_SECONDS = 0.2
# Before a fork server that died is asked for, or its successor, again.
_RETRY_PAUSES = (0.0, 0.01, 0.1)


class Process(msgspec.Struct):
    """One process of ours. sock: our end of its socketpair. pidfd: readable when it is gone."""

    process: ForkServerProcess
    pid: int
    pidfd: int
    sock: socket.socket

    def signal(self, number: int) -> None:
        """Send a signal; a process that is gone does not mind, and its number cannot be another's by now."""
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            return

    def wait(self, seconds: float) -> bool:
        """Block until it is gone; False: it is still there."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def kill_and_wait(self) -> None:
        """End it, see it gone, and let go of it. SIGKILL cannot be refused, so the wait is short."""
        self.signal(signal.SIGKILL)
        self.wait(_KILL_SECONDS)
        self.exit_code()
        self.close()

    def exit_code(self) -> int | None:
        """Of a process that is gone: its code, or minus the signal's number; None when nobody saw it."""
        self.process.join(_EXIT_CODE_SECONDS)
        code = self.process.exitcode
        return None if code is None or (code == _EXIT_CODE_UNKNOWN and not _fork_server_lives()) else code

    def close(self) -> None:
        """Let go of what is ours, when it is gone, and end what users' code has started in it and not ended.

        Its number is not given to another process while its group has members, nor, of millions, within a second.
        """
        end_group(self.pid)
        self.sock.close()
        os.close(self.pidfd)
        if self.process.exitcode is not None:
            self.process.close()


class ForkServerEnded(Exception):
    """It ended while it imported the app. code: as of `Process.exit_code`."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"the fork server ended with code {code}")
        self.code = code


def _fork_server_lives() -> bool:
    server = getattr(forkserver._forkserver, "_forkserver_pid", None)
    if server is None:
        return False
    # WNOWAIT: multiprocessing reaps it itself, and starts another one for the next process.
    return os.waitid(os.P_PID, server, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def _fork_server_code() -> int | None:
    """How it ended that closes its connections; None: nobody can tell."""
    server = getattr(forkserver._forkserver, "_forkserver_pid", None)
    deadline = time.monotonic() + _EXIT_CODE_SECONDS
    while server is not None and time.monotonic() < deadline:
        end = os.waitid(os.P_PID, server, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if end is not None:
            return end.si_status if end.si_code == os.CLD_EXITED else -end.si_status
        time.sleep(_RETRY_PAUSES[1])
    return None


class Fleet:
    """Starts the processes of one app."""

    __slots__ = ("_context", "_entry", "_probe_entry")

    def __init__(
        self, *, entry: str = WORKER_ENTRY, probe_entry: str = PROBE_ENTRY, preload: tuple[str, ...] = (PRELOAD,)
    ) -> None:
        self._entry = entry
        self._probe_entry = probe_entry
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([FIRST_PRELOAD, *preload])

    def open(self) -> None:
        """Start the fork server, which imports the app; does not wait for that.

        The environment and the current directory of this moment are what all workers get.
        """
        # The other process that multiprocessing wants: its start unblocks signals.
        resource_tracker.ensure_running()
        with _importable_current_directory(), _blocked(GROUP_SIGNALS):
            forkserver.ensure_running()

    def close(self) -> None:
        """End the fork server, also one that is stuck in the app's import. No process of the fleet is left by then."""
        server = forkserver._forkserver
        if (pid := getattr(server, "_forkserver_pid", None)) is not None:
            # It is not reaped before _stop, so the number is its own.
            os.kill(pid, signal.SIGKILL)
            end_group(pid)
            server._stop()  # type: ignore[attr-defined]

    def own_children(self) -> set[int]:
        """The children of this process that multiprocessing waits for."""
        owners = (forkserver._forkserver, resource_tracker._resource_tracker)
        pids = [getattr(owner, name, None) for owner in owners for name in ("_forkserver_pid", "_pid")]
        return {pid for pid in pids if pid is not None}

    def start_worker(self, config: bytes) -> Process:
        """Start a worker. Blocks about a millisecond; longer while the fork server imports the app."""
        for pause in _RETRY_PAUSES:
            try:
                return self._start(self._entry, (config,), ())
            except (EOFError, ConnectionError):
                # The fork server is dying in this very moment; as soon as the kernel says so there is another one.
                time.sleep(pause)
        return self._start(self._entry, (config,), ())

    def start_probe(self, app: str, overrides: bytes, seconds: float) -> Process:
        """Start a probe of `app`.

        Raises:
            TimeoutError: the fork server does not get to it in time. ForkServerEnded: it does not survive the import.
        """
        made: list[Process | BaseException] = []

        def start() -> None:
            try:
                made.append(self._start(self._probe_entry, (app,), (overrides,)))
            except BaseException as error:  # noqa: BLE001 (handed over to the waiting thread)
                made.append(error)

        # A thread, for the fork server may be stuck in the app's import, and a daemon, for it may stay so.
        thread = threading.Thread(target=start, daemon=True, name="probe")
        thread.start()
        try:
            thread.join(seconds)
        except BaseException:
            # Interrupted. A process that has not heard what to run would complain.
            thread.join(_INTERRUPT_SECONDS)
            if made and isinstance(made[0], Process):
                made[0].kill_and_wait()
            raise
        if not made:
            raise TimeoutError
        if isinstance(made[0], (EOFError, ConnectionError)):
            raise ForkServerEnded(_fork_server_code()) from made[0]
        if isinstance(made[0], BaseException):
            raise made[0]
        return made[0]

    def _start(self, entry: str, before: tuple[object, ...], after: tuple[object, ...]) -> Process:
        ours, theirs = socket.socketpair()
        try:
            with theirs, _nameless_main():
                process = self._context.Process(target=enter, args=(entry, theirs, before, after))
                process.start()
            assert process.pid is not None
            started = Process(process, process.pid, os.pidfd_open(process.pid), ours)
            ours.sendall(GO)
            return started
        except BaseException:
            ours.close()
            raise


def watch(process: Process, gone: Callable[[], None]) -> None:
    """Call `gone` once on the running loop when the process is gone."""
    loop = asyncio.get_running_loop()

    def ended() -> None:
        loop.remove_reader(process.pidfd)
        gone()

    loop.add_reader(process.pidfd, ended)


@contextmanager
def _blocked(signals: Sequence[signal.Signals]) -> Iterator[None]:
    """Keep signals from this thread, and from processes that are started meanwhile until they unblock them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _nameless_main() -> Iterator[None]:
    """Keep multiprocessing from running the user's main script, or our command line, again in every worker."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _importable_current_directory() -> Iterator[None]:
    """Let the fork server find what this process finds: it starts from PYTHONPATH (its own sys.path is not passed)."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([os.getcwd(), *(path for path in sys.path if path)]))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
