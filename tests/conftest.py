"""What tests share: one real Kafka per session, started when the first test asks for it, and topics on it.

`STREAMCLUSTER_TEST_BROKER=host:port` uses a running broker instead, which saves the start while developing; with
`--one-broker` the processes of pytest-xdist share one.
"""

from __future__ import annotations

import gc
import os
import signal
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from hypothesis import HealthCheck, settings

from streamcluster_coordinator.broker import Broker
from tests.process import topics
from tests.process.waiting import eventually
from tests.quick import Quick
from tests.releases import LONE_BROKER_KAFKA
from tests.together import scheduler

REUSED_BROKER = "STREAMCLUSTER_TEST_BROKER"
# How long a broker that was killed or paused may take until it answers, and one question to it.
LONE_BROKER_SECONDS, LOOK_SECONDS = 60.0, 5.0
# Three take their time to start on a busy machine.
THREE_BROKERS_SECONDS = 150.0

# How long an example takes is the machine's, which may be a busy one.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# Nothing is garbage while modules are imported and tests collected: a third of that time was spent looking for some.
gc.disable()

# Whoever starts the tests in the background (a shell's `&`, nohup) may have them ignore these, and so would everything
# that they start and signal.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


# What takes long is begun first, so that nobody waits for it in the end; what is not named here takes seconds.
_LONGEST = (
    "hosts/test_many_hosts.py",
    "bench/test_quick.py",
    "ledger/test_ledger.py",
    "memory/",
    "worker/test_three_brokers.py",
    "simulation/test_simulation.py",
    "process/test_brokers_away.py",
    "process/test_rights.py",
    "broker/test_broker.py",
    "process/",
    "kafka/",
    "coordinator/test_control_",
    "worker/",
    "cli/",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """What the tests' own switches are."""
    parser.addoption("--quick", action="store_true", help="only tests that need no broker and start no process")
    parser.addoption("--one-broker", action="store_true", help="start one broker for all processes of the run")


def pytest_configure(config: pytest.Config) -> None:
    """A quick run has a plugin of its own, and with one broker the processes of the run are told of it."""
    if config.getoption("--quick"):
        config.pluginmanager.register(Quick())
    is_child = hasattr(config, "workerinput")
    if config.getoption("--one-broker") and not is_child and REUSED_BROKER not in os.environ:
        own = Broker()
        own.start_all()
        config.add_cleanup(own.stop_all)
        os.environ[REUSED_BROKER] = own.bootstrap


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Who shares what is costly to start runs in one process."""
    return scheduler(config, log)


def pytest_collection_finish() -> None:
    """Look for garbage from here on, and not in what modules and tests consist of."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order of tests, as far as it is not that of their names."""

    def rank(item: pytest.Item) -> int:
        name = item.nodeid.removeprefix("tests/")
        return next((rank for rank, begin in enumerate(_LONGEST) if name.startswith(begin)), len(_LONGEST))

    items.sort(key=rank)


@dataclass(frozen=True, slots=True)
class SharedBroker:
    """Where the session's broker listens: `host:port`. Tests must not stop it; those that do so take `own_broker`."""

    bootstrap: str

    @property
    def url(self) -> str:
        """What an app takes as its `broker`."""
        return f"kafka://{self.bootstrap}"


class MakeTopic(Protocol):
    """Creates a topic and returns its name."""

    def __call__(self, name: str, partitions: int, config: Mapping[str, str] | None = None) -> str: ...


@pytest.fixture(scope="session")
def broker() -> Iterator[SharedBroker]:
    """The session's broker of one node: the reused one, or one of our own."""
    reused = os.environ.get(REUSED_BROKER)
    if reused:
        yield SharedBroker(reused)
        return
    with Broker() as own:
        yield SharedBroker(own.bootstrap)


@pytest.fixture(scope="session")
def broker_url(broker: SharedBroker) -> str:
    """The session's broker, as an app names it: `kafka://127.0.0.1:PORT`."""
    return broker.url


@pytest.fixture(scope="session")
def lone_broker() -> Iterator[Broker]:
    """The one behind `own_broker`, whose tests run in one process (tests/together.py)."""
    with Broker(kafka=LONE_BROKER_KAFKA) as own:
        yield own


@pytest.fixture
def own_broker(lone_broker: Broker) -> Iterator[Broker]:
    """A broker of one node to be killed and paused, with topics of such tests before; it answers before and after."""
    yield lone_broker
    if lone_broker.dead():
        lone_broker.start(1)
    lone_broker.resume(1)
    eventually(lambda: nodes_of(lone_broker), LONE_BROKER_SECONDS, "the broker that was away answers again")


@pytest.fixture(scope="session")
def three_brokers() -> Iterator[Broker]:
    """Three nodes, for the tests that need that many, which run in one process (tests/together.py)."""
    with Broker(brokers=3, start_timeout=THREE_BROKERS_SECONDS) as own:
        yield own


def nodes_of(broker: Broker) -> set[int]:
    """Those that it tells of: none after a long silence, until it counts again, which a client may not get over."""
    try:
        return set(AdminClient({"bootstrap.servers": broker.bootstrap}).list_topics(timeout=LOOK_SECONDS).brokers)
    except KafkaException:
        return set()


@pytest.fixture
def topic_prefix(request: pytest.FixtureRequest) -> str:
    """Begins the names of topics, apps and groups of this test; no other run of any test has the same."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)[:60]
    return f"{name}-{uuid.uuid4().hex[:8]}-"


@pytest.fixture
def make_topic(broker: SharedBroker) -> MakeTopic:
    """Creates topics on the session's broker, under the name given (begin it with `topic_prefix`).

    Old records stay in them: tests use timestamps of all ages.
    """

    def make(name: str, partitions: int, config: Mapping[str, str] | None = None) -> str:
        topics.create(broker.bootstrap, [name], partitions, config=config)
        return name

    return make
