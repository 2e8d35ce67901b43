"""A coordinator's shells of the control and status topics on a real broker, with what they heard. No test in here."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from streamcluster.errors import Fenced, StateIncompatible
from streamcluster.settings import Settings, bootstrap_servers, make_settings
from streamcluster_coordinator.admin.brokers import Brokers, Cluster
from streamcluster_coordinator.answers.peer_auth import Secret
from streamcluster_coordinator.control.topics import control_topics
from streamcluster_coordinator.control.writer import Control
from streamcluster_coordinator.dropped import Dropped
from streamcluster_coordinator.records.signatures import Signatures
from streamcluster_coordinator.records.snapshot import Leader, Shape, Snapshot

SECONDS = 90.0
UNPACKED_BYTES = 150 << 20
_FENCES_MAX = 3


def soon(seconds: float = SECONDS) -> float:
    """A deadline."""
    return time.monotonic() + seconds


def make_app(broker_url: str, prefix: str) -> tuple[Settings, Cluster]:
    """Settings of an app that no other test has, and the cluster with its two topics."""
    settings = make_settings({"id": f"{prefix}app", "broker": broker_url, "connect_timeout": SECONDS})
    brokers = Brokers(settings)
    cluster = brokers.connect()
    brokers.create(control_topics(settings), cluster)
    return settings, cluster


def delete(settings: Settings, topic: str) -> None:
    """As an operator may."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers(settings.broker)})
    admin.delete_topics([topic])[topic].result(SECONDS)


def write_what_cannot_be_unpacked(settings: Settings, topic: str, records: int) -> None:
    """One batch of a few kB that has more than 100 MB unpacked: brokers take it, and librdkafka does not."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap_servers(settings.broker),
            "compression.type": "zstd",
            "message.max.bytes": 1_000_000_000,
            "batch.size": 1_000_000_000,
            "queue.buffering.max.kbytes": 1_000_000,
            "linger.ms": 5_000,
        }
    )
    value = b"0" * (UNPACKED_BYTES // records)
    for _ in range(records):
        producer.produce(topic, key=b"snapshot", value=value, partition=0)
    assert producer.flush(SECONDS) == 0


@dataclass(slots=True)
class Member:
    """A coordinator of that name, as far as the control topic goes."""

    settings: Settings
    cluster: Cluster
    name: str
    control: Control = field(init=False)
    heard: list[Snapshot] = field(default_factory=list)
    failures: list[StateIncompatible] = field(default_factory=list)
    secret: Secret | None = None
    dropped: Dropped = field(default_factory=Dropped)
    # How many records it passed over.
    unread: list[None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.control = Control(
            self.settings,
            Signatures(self.secret, self.settings.app_id),
            self.dropped,
            self.heard.append,
            lambda: self.unread.append(None),
            self.failures.append,
        )

    def claim(self) -> Snapshot:
        """Claim, and again if it is fenced, as coordinators do.

        With no rival, too: `open_fencing` goes on from tries that a slow broker may serve after the one it returned.
        """
        for _ in range(_FENCES_MAX):
            with suppress(Fenced):
                return self.claim_once()
        return self.claim_once()

    def claim_once(self) -> Snapshot:
        """Claim with a snapshot of no tasks."""
        topic_id = self.control.topic_id(soon())

        def make(last: Snapshot | None) -> Snapshot:
            return Snapshot(
                epoch=last.epoch + 1 if last is not None else 1,
                term=last.term + 1 if last is not None else 1,
                leader=Leader(host=self.name, instance=self.name, pid=7, machine="m"),
                cluster_id=self.cluster.cluster_id,
                topic_id=topic_id,
                shape=Shape(),
            )

        return self.control.claim(make, soon())

    def begin(self, seconds: float = SECONDS) -> Snapshot | None:
        """The newest snapshot, as a coordinator that starts reads it."""
        return self.control.begin(soon(seconds))

    def write(self, snapshot: Snapshot, seconds: float = SECONDS) -> Snapshot:
        """Write it, and return what the log has."""
        return self.control.write(snapshot, soon(seconds))

    def catch_up(self, seconds: float = SECONDS) -> Snapshot | None:
        """The newest snapshot."""
        return self.control.catch_up(soon(seconds))


def after(snapshot: Snapshot, **changes: object) -> Snapshot:
    """The next epoch."""
    return msgspec.structs.replace(snapshot, epoch=snapshot.epoch + 1, **changes)


MakeMember = Callable[[str], Member]
