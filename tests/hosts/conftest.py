"""What the tests of hosts share: a network with three hosts and three brokers, an app on it, and its measured times.

Tests skip where the machine does not permit a network, and say what is missing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from tests.hosts.brokers import NAMES, Brokers
from tests.hosts.cluster import HOSTS, Cluster
from tests.hosts.faults import Faults
from tests.hosts.load import Load
from tests.hosts.network import Network
from tests.hosts.tools import NetworkMissing

LONG = bool(os.environ.get("STREAMCLUSTER_HOSTS_LONG"))
only_long = pytest.mark.skipif(not LONG, reason="long: STREAMCLUSTER_HOSTS_LONG=1 runs it")
Measured = Callable[[str], None]
CLIENT = "client"
# A transaction that nobody ends is ended by the broker after so many seconds, sooner than the faults end.
# Records trickle, and by default each few of them would be a commit: that costs the three brokers most of a core.
SETTINGS = {"transaction_timeout": 10, "crash_loop_deaths": 1000, "commit_interval": 0.2}
_FIGURES = pytest.StashKey[list[str]]()


@dataclass(frozen=True, slots=True)
class Rack:
    """A network and the brokers in it."""

    network: Network
    faults: Faults
    brokers: Brokers


class StartApp(Protocol):
    """An app that runs on these hosts, with records flowing through it."""

    def __call__(self, *names: str, **settings: object) -> Load: ...


@pytest.fixture(scope="session")
def racks() -> Iterator[Rack]:
    """The session's network with its brokers, or a skip that says what is missing."""
    try:
        network = Network((*HOSTS, *NAMES, CLIENT)).__enter__()
        check_faults(network)
    except NetworkMissing as missing:
        pytest.skip(str(missing))
    brokers = Brokers(network)
    try:
        with network.entered(CLIENT):
            brokers.start_all()
        yield Rack(network, Faults(network), brokers)
    finally:
        brokers.close()
        network.remove()


def check_faults(network: Network) -> None:
    """See now whether cuts are permitted, and not in the middle of a test."""
    faults = Faults(network)
    try:
        faults.cut("a", NAMES)
        faults.heal()
    except NetworkMissing:
        network.remove()
        raise


@pytest.fixture
def rack(racks: Rack) -> Iterator[Rack]:
    """The same without any fault, before and after; the test itself is at the client."""
    with racks.network.entered(CLIENT):
        racks.faults.heal()
        racks.brokers.thaw()
        racks.brokers.bring_back()
        racks.brokers.until_in_sync()
        yield racks
        racks.faults.heal()


@pytest.fixture
def load(rack: Rack, topic_prefix: str, tmp_path: Path) -> Iterator[StartApp]:
    """Starts the seed program on hosts, feeds it, and leaves nothing running."""
    made: list[Load] = []

    def start(*names: str, **settings: object) -> Load:
        cluster = Cluster(rack.network, "ledger", topic_prefix, rack.brokers.url, tmp_path, **{**SETTINGS, **settings})
        made.append(Load(cluster, rack.brokers, topic_prefix))
        cluster.start(*names)
        cluster.until_running()
        made[-1].start()
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Measured:
    """Keeps a line with figures for the end of the run."""
    lines = request.config.stash.setdefault(_FIGURES, [])
    return lambda line: lines.append(f"{request.node.name}: {line}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what was measured, also when everything passed."""
    if lines := config.stash.get(_FIGURES, []):
        terminalreporter.section("measured on several hosts")
        for line in lines:
            terminalreporter.line(line)
