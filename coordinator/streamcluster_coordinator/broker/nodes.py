"""All nodes of one development broker: prepared, started, awaited and ended together or one by one.

Given a data directory that is already claimed and ports that are already chosen; decides nothing about either.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import IO

import msgspec

from streamcluster.errors import BrokerUnreachable, ConfigurationError

from .config import NodePlan, bootstrap, server_properties
from .datadir import ClusterFile, is_formatted
from .installation import Installation, Say
from .place import NodePlace
from .process import NodeProcess
from .readiness import wait_until_serving
from .secured import Secured
from .storage import format_storages

STOP_SECONDS = 15.0


class Nodes(msgspec.Struct):
    """The nodes in a claimed directory. lock: inherited by every node, so that the claim lasts as long as they do."""

    directory: Path
    lock: IO[str]
    installation: Installation
    start_timeout: float
    secured: Secured | None = None
    # Node -> where it runs; the others run as we do.
    places: Mapping[int, NodePlace] = msgspec.field(default_factory=dict)
    plans: dict[int, NodePlan] = msgspec.field(default_factory=dict)
    processes: dict[int, NodeProcess] = msgspec.field(default_factory=dict)

    def prepare(self, plans: Iterable[NodePlan], cluster: ClusterFile) -> None:
        """Write every node's configuration and format the storage that is not yet formatted."""
        self.plans = {plan.id: plan for plan in plans}
        everyone = list(self.plans.values())
        for id, plan in self.plans.items():
            within = self.places[id].within if id in self.places else ()
            process = NodeProcess(id, self.directory / f"node-{id}", self.installation, within)
            process.write_files(server_properties(plan, everyone, self.secured))
            self.processes[id] = process
        unformatted = [one for one in self.processes.values() if not is_formatted(one.directory, cluster)]
        extra = self.secured.format_arguments() if self.secured is not None else []
        format_storages(unformatted, cluster.cluster_id, extra)

    def start(self, ids: Collection[int]) -> None:
        """Start these nodes and wait until they, and all that ran before, serve.

        Raises:
            BrokerUnreachable: one died or did not answer in time.
        """
        for id in ids:
            self.processes[id].start(self.lock.fileno())
        plans = [self.plans[id] for id in self.pids().keys() | ids]
        if not wait_until_serving(plans, time.monotonic() + self.start_timeout, lambda: self._check_alive(ids)):
            said = "\n".join(self.processes[id].last_lines() for id in ids)
            raise BrokerUnreachable(
                f"The broker on {bootstrap(plans)} did not answer within {self.start_timeout:g} s. "
                f"Is the machine overloaded? It said last:\n{said}"
            )

    def end(self, ids: Collection[int], say: Say) -> None:
        """End these nodes cleanly, all at once; those that cannot (the last have nobody to hand over to) are killed."""
        for id in ids:
            self.processes[id].ask_to_end()
        deadline = time.monotonic() + STOP_SECONDS
        for id in ids:
            if not self.processes[id].wait_or_kill(max(0.0, deadline - time.monotonic())):
                say(f"Node {id} of the broker did not end within {STOP_SECONDS:g} s and was killed.")

    def kill_all(self) -> None:
        """End every node now."""
        for process in self.processes.values():
            process.kill()

    def get(self, id: int) -> NodeProcess:
        """The process of a node.

        Raises:
            ConfigurationError: there is no such node.
        """
        if id not in self.processes:
            raise ConfigurationError(f"There is no node {id}: the broker has nodes {sorted(self.processes)}.")
        return self.processes[id]

    def pids(self) -> dict[int, int]:
        """Node -> process id, of the nodes that run."""
        return {id: process.pid for id, process in self.processes.items() if process.pid is not None}

    def _check_alive(self, ids: Collection[int]) -> None:
        for id in ids:
            process = self.processes[id]
            if process.pid is None:
                raise BrokerUnreachable(f"While starting, {process.obituary()}")
