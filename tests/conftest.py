"""What tests share: one real Kafka per session, started when the first test asks for it, and topics on it.

`STREAMCLUSTER_TEST_BROKER=host:port` uses a running broker instead, which saves the start while developing.
"""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streamcluster_coordinator.broker import Broker
from tests.process.waiting import eventually

REUSED_BROKER = "STREAMCLUSTER_TEST_BROKER"
_ADMIN_SECONDS = 30.0

# Whoever starts the tests in the background (a shell's `&`, nohup) may have them ignore these, and so would everything
# that they start and signal.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


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


@pytest.fixture
def own_broker() -> Iterator[Broker]:
    """A broker of one node for this test alone, to be stopped, killed and paused."""
    with Broker() as own:
        yield own


@pytest.fixture
def topic_prefix(request: pytest.FixtureRequest) -> str:
    """Begins the names of topics, apps and groups of this test; no other run of any test has the same."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)[:60]
    return f"{name}-{uuid.uuid4().hex[:8]}-"


def _has_leaders(admin: AdminClient, name: str) -> bool:
    partitions = admin.list_topics(name, timeout=_ADMIN_SECONDS).topics[name].partitions
    return bool(partitions) and all(partition.leader >= 0 for partition in partitions.values())


@pytest.fixture
def make_topic(broker: SharedBroker) -> MakeTopic:
    """Creates topics on the session's broker, under the name given (begin it with `topic_prefix`).

    Old records stay in them: tests use timestamps of all ages.
    """
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})

    def make(name: str, partitions: int, config: Mapping[str, str] | None = None) -> str:
        topic = NewTopic(name, num_partitions=partitions, config={"retention.ms": "-1", **(config or {})})
        admin.create_topics([topic], operation_timeout=_ADMIN_SECONDS)[name].result(_ADMIN_SECONDS)
        # It is made before its partitions have leaders.
        eventually(lambda: _has_leaders(admin, name), _ADMIN_SECONDS, f"topic {name} has leaders")
        return name

    return make
