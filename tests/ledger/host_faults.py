"""Faults of workers, coordinators and whole hosts: whom they hit, and how they are undone."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from functools import partial

from tests.ledger.chaos import Action, Done, lasting
from tests.ledger.faults import Fault
from tests.ledger.hosts import Host, Hosts

WORKERS_MAX = 4


class HostFaults:
    """What can be done to hosts. One that is down or paused as a whole is left alone until it is back."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts

    def actions(self) -> Mapping[str, Action]:
        """By kind."""
        return {
            "kill worker": self._kill_worker,
            "pause worker": self._pause_worker,
            "kill coordinator": partial(self._down, what="kill -9 of the coordinator of", end=Host.kill_coordinator),
            "kill host": partial(self._down, what="kill -9 of all of", end=Host.kill),
            "roll host": partial(self._down, what="SIGTERM and start of", end=Host.terminate),
            "pause host": self._pause_host,
            "restart workers": partial(self._tell, what="HUP to", number=signal.SIGHUP),
            "more workers": partial(self._tell, what="TTIN to", number=signal.SIGTTIN),
            "fewer workers": partial(self._tell, what="TTOU to", number=signal.SIGTTOU),
        }

    def _free_host(self, fault: Fault) -> Host | None:
        free = [host for host in self._hosts.all if host.is_up and not host.is_hit]
        return free[int(fault.pick * len(free))] if free else None

    def _on_host(self, fault: Fault, what: str) -> tuple[Host, Done] | None:
        host = self._free_host(fault)
        if host is None:
            return None
        pids = host.worker_pids()
        text = f"{what} {host.name}{lasting(fault)}"
        return host, Done(fault, time.monotonic(), text, host.name, frozenset(pids), host.tasks_of(pids))

    def _on_worker(self, fault: Fault, what: str) -> tuple[int, Done] | None:
        host = self._free_host(fault)
        pids = host.worker_pids() if host is not None else []
        if host is None or not pids:
            return None
        # Not the part of `pick` that has chosen the host.
        pid = pids[int(fault.pick * 97) % len(pids)]
        text = f"{what} {pid} of {host.name}{lasting(fault)}"
        return pid, Done(fault, time.monotonic(), text, "", frozenset({pid}), host.tasks_of([pid]))

    def _kill_worker(self, fault: Fault) -> Done | None:
        if (hit := self._on_worker(fault, "kill -9 of worker")) is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            os.kill(hit[0], signal.SIGKILL)
        return hit[1]

    def _pause_worker(self, fault: Fault) -> Done | None:
        if (hit := self._on_worker(fault, "SIGSTOP of worker")) is None:
            return None
        pid, done = hit
        every = [process for host in self._hosts.all for _, process in host.processes()]
        process = next((one for one in every if one.pid == pid), None)
        if process is None:
            return None
        process.suspend()

        def resume() -> bool:
            # Never another process that has the number by now: psutil compares when it was started.
            if process.is_running():
                process.resume()
            return True

        done.undo = resume
        return done

    def _down(self, fault: Fault, *, what: str, end: Callable[[Host], object]) -> Done | None:
        """End the host in some way, and start it again once it is gone and its time is over."""
        if (hit := self._on_host(fault, what)) is None:
            return None
        host, done = hit
        host.is_hit = True
        end(host)

        def start() -> bool:
            if host.is_up:
                return False
            host.start()
            host.is_hit = False
            return True

        done.undo = start
        return done

    def _pause_host(self, fault: Fault) -> Done | None:
        if (hit := self._on_host(fault, "SIGSTOP of all of")) is None:
            return None
        host, done = hit
        host.is_hit = True
        host.signal_all(signal.SIGSTOP)

        def resume() -> bool:
            host.signal_all(signal.SIGCONT)
            host.is_hit = False
            return True

        done.undo = resume
        return done

    def _tell(self, fault: Fault, *, what: str, number: signal.Signals) -> Done | None:
        if (hit := self._on_host(fault, what)) is None:
            return None
        host, done = hit
        count = len(host.worker_pids())
        if count == 0:
            # It is starting, and may not have taken these signals over yet: HUP would kill it.
            return None
        if (number == signal.SIGTTOU and count == 1) or (number == signal.SIGTTIN and count >= WORKERS_MAX):
            return None
        host.run.signal(number)
        if number != signal.SIGHUP:
            # These processes may stay: which of them do, the coordinator decides.
            done.victims = frozenset()
        return done
