"""Faults of the brokers, on nodes of the project's own cluster. Nothing here blocks the schedule."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from streamcluster.errors import StreamclusterError
from streamcluster_coordinator.broker import Broker
from tests.ledger.chaos import Action, Done, lasting
from tests.ledger.faults import Fault
from tests.ledger.hosts import Hosts

SKIPPED = "ends of transactions that brokers skipped"
_SKIPS = "these partitions are likely deleted already and hence can be skipped"


def ends_skipped(kafka: Path) -> int:
    """How many transactions' ends the nodes with their data in this directory have not written, by their own logs."""
    logs = kafka.glob("node-*/server.log*")
    return sum(_SKIPS in line for log in logs for line in log.read_text(errors="replace").splitlines())


class BrokerFaults:
    """What can be done to the nodes of a broker.

    Nodes are started by threads that stay until `close`, because they die with the thread that started them.
    """

    def __init__(self, broker: Broker, hosts: Hosts) -> None:
        self._broker = broker
        self._hosts = hosts
        self._pool = ThreadPoolExecutor(broker.brokers, thread_name_prefix="ledger-broker")
        # Node -> what its thread does, or has done last.
        self._work: dict[int, Future[None]] = {}
        self._paused: set[int] = set()

    def actions(self) -> Mapping[str, Action]:
        """By kind."""
        return {
            "kill broker": lambda fault: self._down(fault, "kill -9 of broker", self._some(fault), self._broker.kill),
            "restart broker": lambda fault: self._down(fault, "restart of broker", self._some(fault), self._stop),
            "kill all brokers": lambda fault: self._down(fault, "kill -9 of brokers", self._free(), self._broker.kill),
            "pause broker": lambda fault: self._pause(fault, "SIGSTOP of broker", self._some(fault)),
            "pause all brokers": lambda fault: self._pause(fault, "SIGSTOP of brokers", self._free()),
        }

    def close(self) -> None:
        """Wait for what is under way. Nodes that were restarted end with their threads."""
        for node in sorted(self._paused):
            self._broker.resume(node)
        self._pool.shutdown()

    def _free(self) -> list[int]:
        """All nodes; none while one of them is away, or a fault of one would soon be one of all."""
        nodes = sorted(self._broker.pids)
        is_whole = len(nodes) == self._broker.brokers and not self._paused
        return nodes if is_whole and all(work.done() for work in self._work.values()) else []

    def _some(self, fault: Fault) -> list[int]:
        nodes = self._free()
        return [nodes[int(fault.pick * len(nodes))]] if nodes else []

    def _down(self, fault: Fault, what: str, nodes: Sequence[int], end: Callable[[int], object]) -> Done | None:
        if not nodes:
            return None
        done = self._done(fault, what, nodes)
        for node in nodes:
            end(node)

        def start() -> bool:
            # All of them before any is waited for: one alone is no quorum.
            back = [self._is_back(node) for node in nodes]
            return all(back)

        done.undo = start
        return done

    def _pause(self, fault: Fault, what: str, nodes: Sequence[int]) -> Done | None:
        if not nodes:
            return None
        done = self._done(fault, what, nodes)
        for node in nodes:
            self._broker.pause(node)
            self._paused.add(node)

        def resume() -> bool:
            for node in nodes:
                self._broker.resume(node)
                self._paused.discard(node)
            return True

        done.undo = resume
        return done

    def _stop(self, node: int) -> None:
        """Ask a node to end; it hands its partitions over first."""
        self._work[node] = self._pool.submit(self._broker.stop, node)

    def _is_back(self, node: int) -> bool:
        """Start a node in the background, again if that fails, and say whether it serves."""
        work = self._work.get(node)
        if work is not None and not work.done():
            return False
        if node in self._broker.pids:
            return True
        self._work[node] = self._pool.submit(self._start, node)
        return False

    def _start(self, node: int) -> None:
        # One that is not up in time is looked at again by `_is_back`.
        with contextlib.suppress(StreamclusterError):
            self._broker.start(node)

    def _done(self, fault: Fault, what: str, nodes: Sequence[int]) -> Done:
        """Every task is affected: which partitions a node leads is not asked for."""
        tasks = frozenset(task for host in self._hosts.all for task in host.tasks_of(host.worker_pids()))
        return Done(fault, time.monotonic(), f"{what} {', '.join(map(str, nodes))}{lasting(fault)}", tasks=tasks)
