"""The development broker: real Apache Kafka on loopback, of one or several nodes, for development, tests and the demo.

Puts together the installation, the data directory, the ports and the processes; each of them decides its own part.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

from streamcluster.errors import BrokerUnreachable, ConfigurationError

from .config import NodePlan, bootstrap, server_properties
from .datadir import claim, is_formatted, open_cluster
from .install import Installation, Say, install
from .ports import plan_nodes
from .process import NodeProcess
from .readiness import wait_until_serving

STOP_SECONDS = 15.0
# Free ports are chosen before Kafka takes them; another program may be faster.
_PORT_TRIES = 3
_PORT_TAKEN = "java.net.BindException"


@dataclass(slots=True)
class Broker:
    """A Kafka that runs while this context manager is open. Nodes are numbered from 1.

    The nodes die with the thread that started them, even when that is killed, so start it from one that stays.
    """

    port: int = 0
    data_dir: Path | None = None
    brokers: int = 1
    say: Say = print
    start_timeout: float = 60.0
    installation: Installation | None = None
    bootstrap: str = ""
    _directory: Path | None = field(default=None, init=False)
    _lock: IO[str] | None = field(default=None, init=False)
    _plans: dict[int, NodePlan] = field(default_factory=dict, init=False)
    _nodes: dict[int, NodeProcess] = field(default_factory=dict, init=False)

    def __enter__(self) -> Self:
        self.start_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_all()

    @property
    def url(self) -> str:
        """What an app takes as its `broker`."""
        return f"kafka://{self.bootstrap}"

    @property
    def pids(self) -> dict[int, int]:
        """Node -> process id, of the nodes that run."""
        return {id: node.pid for id, node in self._nodes.items() if node.pid is not None}

    def start_all(self) -> None:
        """Start every node and return when they serve.

        Raises:
            ConfigurationError: a port, the data directory or the installation cannot be used.
            BrokerUnreachable: Kafka died or did not answer in time; the message has the last lines of its log.
        """
        if self.brokers < 1:
            raise ConfigurationError(f"A cluster of {self.brokers} brokers makes no sense: give 1 or more.")
        self.installation = self.installation or install(say=self.say)
        try:
            self._directory = self.data_dir or Path(tempfile.mkdtemp(prefix="streamcluster-broker-"))
            self._lock = claim(self._directory)
            for tries_left in reversed(range(_PORT_TRIES)):
                try:
                    self._start_on(plan_nodes(self.port, self.brokers), self._directory, self.installation)
                    return
                except BrokerUnreachable as error:
                    if _PORT_TAKEN not in str(error) or tries_left == 0:
                        raise
                    self._kill_all()
        except BaseException:
            self._kill_all()
            self._leave()
            raise

    def stop_all(self) -> None:
        """End every node, cleanly if their data is to be kept, and forget a temporary data directory."""
        if self.data_dir is None:
            self._kill_all()
        else:
            _end(list(self._nodes.values()), self.say)
        self._leave()

    def start(self, node: int) -> None:
        """Start a node that was stopped or killed, on its old port and data, and return when it serves."""
        self._node(node).start(self._claimed().fileno())
        self._wait([node for node in self._plans.values() if node.id in self.pids])

    def stop(self, node: int) -> None:
        """End one node cleanly: it hands its partitions over first."""
        _end([self._node(node)], self.say)

    def kill(self, node: int) -> None:
        """End one node as a power cut would."""
        self._node(node).kill()

    def pause(self, node: int) -> None:
        """Freeze one node: its connections stay open and nothing answers."""
        self._node(node).signal(signal.SIGSTOP)

    def resume(self, node: int) -> None:
        """Let a frozen node go on."""
        self._node(node).signal(signal.SIGCONT)

    def dead(self) -> dict[int, str]:
        """Node -> how it ended and what it said last, of the nodes that do not run."""
        return {
            id: f"Node {id} of the broker ended with code {node.exit_code}.\n{node.last_lines()}"
            for id, node in self._nodes.items()
            if node.pid is None
        }

    def _start_on(self, plans: Sequence[NodePlan], directory: Path, installation: Installation) -> None:
        cluster = open_cluster(directory, self.brokers)
        self._plans = {plan.id: plan for plan in plans}
        self._nodes = {id: NodeProcess(id, directory / f"node-{id}", installation) for id in self._plans}
        for id, node in self._nodes.items():
            node.write_files(server_properties(self._plans[id], plans))
        unformatted = [node for node in self._nodes.values() if not is_formatted(node.directory, cluster)]
        with ThreadPoolExecutor(max(1, len(unformatted)), thread_name_prefix="broker-format") as pool:
            for _ in pool.map(lambda node: node.format_storage(cluster.cluster_id), unformatted):
                pass
        for node in self._nodes.values():
            node.start(self._claimed().fileno())
        self._wait(plans)
        self.bootstrap = bootstrap(plans)

    def _wait(self, plans: Sequence[NodePlan]) -> None:
        """Wait until these nodes serve, or say why they do not."""
        check = _death_of([self._nodes[plan.id] for plan in plans])
        if not wait_until_serving(plans, time.monotonic() + self.start_timeout, check):
            said = "\n".join(self._nodes[plan.id].last_lines() for plan in plans)
            raise BrokerUnreachable(
                f"The broker on {bootstrap(plans)} did not answer within {self.start_timeout:g} s. "
                f"Is the machine overloaded? It said last:\n{said}"
            )

    def _node(self, id: int) -> NodeProcess:
        if id not in self._nodes:
            raise ConfigurationError(f"There is no node {id}: the broker has nodes {sorted(self._nodes)}.")
        return self._nodes[id]

    def _claimed(self) -> IO[str]:
        assert self._lock is not None, "start_all() claims the data directory before any node starts"
        return self._lock

    def _kill_all(self) -> None:
        for node in self._nodes.values():
            node.kill()

    def _leave(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        if self.data_dir is None and self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None


def _end(nodes: Sequence[NodeProcess], say: Say) -> None:
    """End nodes cleanly, all at once; those that cannot (the last ones have nobody to hand over to) are killed."""
    for node in nodes:
        node.ask_to_end()
    deadline = time.monotonic() + STOP_SECONDS
    for node in nodes:
        if not node.wait_or_kill(max(0.0, deadline - time.monotonic())):
            say(f"Node {node.id} of the broker did not end within {STOP_SECONDS:g} s and was killed.")


def _death_of(nodes: Sequence[NodeProcess]) -> Callable[[], None]:
    """A check that raises when one of the nodes has ended."""

    def check() -> None:
        for node in nodes:
            if node.pid is None:
                raise BrokerUnreachable(
                    f"Node {node.id} of the broker ended with code {node.exit_code} while starting. "
                    f"It said last:\n{node.last_lines()}"
                )

    return check
