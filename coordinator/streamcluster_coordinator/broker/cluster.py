"""The development broker: real Apache Kafka on loopback, of one or several nodes, for development, tests and the demo.

Puts together the installation, the data directory, the ports and the nodes; each of them decides its own part.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from msgspec.structs import replace

from streamcluster.errors import BrokerUnreachable, ConfigurationError

from ..places import temporary_directory
from .config import bootstrap, secured_bootstrap
from .datadir import claim, open_cluster
from .installation import Installation, Say, install
from .jars import KAFKA_VERSION
from .nodes import Nodes
from .place import NodePlace
from .ports import all_free, plan_nodes
from .quick_start import quicker
from .secured import Secured

# Free ports are chosen before Kafka takes them; another program may be faster.
_PORT_TRIES = 3


@dataclass(slots=True)
class Broker:
    """A Kafka that runs while this context manager is open. Nodes are numbered from 1.

    The nodes die with the thread that started them, even when that is killed, so start it from one that stays.

    Args:
        port: of the first node, the others follow; 0 takes free ports.
        data_dir: used again if it has this broker's data; None is a temporary one, deleted at the end.
        brokers: how many nodes.
        say: called with one line for each thing that takes long or goes wrong.
        start_timeout: seconds that the start may take.
        kafka: the version of Kafka, one of those that are pinned.
        installation: what to run instead; by default found or downloaded, and run with the flags for Java in
            `$KAFKA_OPTS`.
        secured: a second listener with SASL and TLS, at `secured_bootstrap`; for tests.
        places: node -> where it runs, if not here on loopback; its ports must be free there, and we must reach it.
    """

    port: int = 0
    data_dir: Path | None = None
    brokers: int = 1
    say: Say = print
    start_timeout: float = 60.0
    kafka: str = KAFKA_VERSION
    installation: Installation | None = None
    secured: Secured | None = None
    places: Mapping[int, NodePlace] = field(default_factory=dict)
    secured_bootstrap: str = field(default="", init=False)
    bootstrap: str = field(default="", init=False)
    _nodes: Nodes | None = field(default=None, init=False)

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
        return self._nodes.pids() if self._nodes is not None else {}

    def start_all(self) -> None:
        """Start every node and return when they serve.

        Raises:
            ConfigurationError: a port, the data directory or the installation cannot be used.
            BrokerUnreachable: Kafka died or did not answer in time; the message has the last lines of its log.
        """
        if self.brokers < 1:
            raise ConfigurationError(f"A cluster of {self.brokers} brokers makes no sense: give 1 or more.")
        if self._nodes is not None:
            raise ConfigurationError("This broker has been started already: stop it first.")
        installation = self.installation or _with_options(quicker(install(say=self.say, kafka=self.kafka), self.say))
        directory = self.data_dir or temporary_directory("streamcluster-broker-", "give a --data-dir")
        try:
            # Absolute, because the nodes run in directories of their own.
            directory = directory.absolute()
            lock = claim(directory)
            self._nodes = Nodes(directory, lock, installation, self.start_timeout, self.secured, self.places)
            self._start_nodes(self._nodes)
        except BaseException:
            self._leave(directory)
            raise

    def stop_all(self) -> None:
        """End every node, cleanly if their data is to be kept, and delete a temporary data directory."""
        if self._nodes is None:
            return
        try:
            if self.data_dir is not None:
                self._nodes.end(list(self._nodes.processes), self.say)
        finally:
            self._leave(self._nodes.directory)

    def start(self, *nodes: int) -> None:
        """Start nodes that were stopped or killed, on their old ports and data, and return when they serve.

        Where most are gone name enough of them at once: a few alone wait for the others.
        """
        for node in nodes:
            if self._started().get(node).pid is not None:
                raise ConfigurationError(f"Node {node} of the broker runs already.")
        self._started().start(nodes)

    def stop(self, node: int) -> None:
        """End one node cleanly: it hands its partitions over first."""
        self._started().get(node)
        self._started().end({node}, self.say)

    def kill(self, node: int) -> None:
        """End one node with no warning, as the kernel would."""
        self._started().get(node).kill()

    def pause(self, node: int) -> None:
        """Freeze one node: its connections stay open and nothing answers."""
        self._started().get(node).signal(signal.SIGSTOP)

    def resume(self, node: int) -> None:
        """Let a frozen node go on."""
        self._started().get(node).signal(signal.SIGCONT)

    def dead(self) -> dict[int, str]:
        """Node -> how it ended and what it said last, of the nodes that do not run."""
        return {id: one.obituary() for id, one in self._started().processes.items() if one.pid is None}

    def _start_nodes(self, nodes: Nodes) -> None:
        cluster = open_cluster(nodes.directory, self.brokers, nodes.installation.kafka)
        for tries_left in reversed(range(_PORT_TRIES)):
            plans = [
                replace(plan, host=self.places[plan.id].host) if plan.id in self.places else plan
                for plan in plan_nodes(self.port, self.brokers, secured=self.secured is not None)
            ]
            nodes.prepare(plans, cluster)
            try:
                nodes.start([plan.id for plan in plans])
            except BrokerUnreachable:
                nodes.kill_all()
                if tries_left == 0 or all_free(plans):
                    raise
            else:
                self.bootstrap = bootstrap(plans)
                self.secured_bootstrap = secured_bootstrap(plans)
                return

    def _started(self) -> Nodes:
        if self._nodes is None:
            raise ConfigurationError("This broker does not run: start it first.")
        return self._nodes

    def _leave(self, directory: Path) -> None:
        """Leave nothing running, locked or, of our own, on disk."""
        if self._nodes is not None:
            self._nodes.kill_all()
            self._nodes.lock.close()
            self._nodes = None
        if self.data_dir is None:
            shutil.rmtree(directory, ignore_errors=True)


def _with_options(installation: Installation) -> Installation:
    """`installation` with the environment's flags for Java, by the name that Kafka's own scripts read."""
    options = shlex.split(os.environ.get("KAFKA_OPTS", ""))
    return replace(installation, java_flags=(*installation.java_flags, *options))
