"""Three real brokers at addresses of the test's network: killed, stopped, frozen and brought back one by one or all.

Called from the client's namespace, which reaches them. Knows no app; what is in sync it asks the brokers themselves.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streamcluster_coordinator.broker import Broker, NodePlace
from tests.hosts.network import Network
from tests.process.waiting import eventually

NAMES = ("k1", "k2", "k3")
REQUEST_SECONDS = 30.0
_ASK_SECONDS = 2.0
_COPIES = 3

# Brokers that are away are the subject, not news.
_silent = logging.getLogger("streamcluster.tests.brokers")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False


@dataclass(slots=True)
class Brokers:
    """A Kafka cluster on the names NAMES of a network, node n on the n-th. Every topic has a copy on each."""

    network: Network
    _broker: Broker = field(init=False)

    def __post_init__(self) -> None:
        places = {
            number: NodePlace(self.network.address(name), self.network.within(name))
            for number, name in enumerate(NAMES, 1)
        }
        self._broker = Broker(brokers=len(NAMES), places=places, start_timeout=120)

    def start_all(self) -> None:
        """Start them for the first time."""
        self._broker.start_all()

    def close(self) -> None:
        """End them and delete their data."""
        self._broker.stop_all()

    @property
    def url(self) -> str:
        """What an app takes as its `broker`."""
        return self._broker.url

    @property
    def bootstrap(self) -> str:
        """What clients connect to."""
        return self._broker.bootstrap

    def kill(self, *nodes: int) -> None:
        """kill -9 of nodes; of all when none is named."""
        for node in nodes or sorted(self._broker.pids):
            self._broker.kill(node)

    def stop(self, node: int) -> None:
        """End a node cleanly."""
        self._broker.stop(node)

    def freeze(self, *nodes: int) -> None:
        """Let nodes be silent with their connections open; all when none is named."""
        for node in nodes or sorted(self._broker.pids):
            self._broker.pause(node)

    def thaw(self) -> None:
        """Let them all go on."""
        for node in self._broker.pids:
            self._broker.resume(node)

    def bring_back(self) -> None:
        """Start every node that does not run, and wait until they serve."""
        missing = sorted({*range(1, len(NAMES) + 1)} - self._broker.pids.keys())
        if missing:
            self._broker.start(*missing)

    def make_topics(self, names: Sequence[str], partitions: int) -> None:
        """Create topics whose old records stay."""
        new = [NewTopic(name, partitions, _COPIES, config={"retention.ms": "-1"}) for name in names]
        # Named, because it must outlive what it promises.
        admin = self._admin()
        for made in admin.create_topics(new).values():
            made.result(REQUEST_SECONDS)

    def until_in_sync(self, seconds: float = 120) -> None:
        """Wait until every copy of every partition is as far as its leader, so that the next node may go."""
        admin = self._admin()

        def behind() -> list[str]:
            try:
                topics = admin.list_topics(timeout=_ASK_SECONDS).topics.values()
            except KafkaException as error:
                return [str(error)]
            return [
                f"{topic.topic}[{one.id}]"
                for topic in topics
                for one in topic.partitions.values()
                if one.leader < 0 or len(one.isrs) < len(one.replicas)
            ]

        eventually(
            lambda: not behind(), seconds, "all copies are in sync", lambda: f"Behind: {behind()[:5]}", every=0.2
        )

    def leader_of(self, topic: str, partition: int = 0) -> int:
        """The node that leads a partition."""
        return self._admin().list_topics(topic, timeout=REQUEST_SECONDS).topics[topic].partitions[partition].leader

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0}, logger=_silent)
