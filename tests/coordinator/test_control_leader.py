"""The control topic when the broker that leads its partition dies: what is not known is not taken for empty."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient

from streamcluster.errors import BrokerUnreachable
from streamcluster.kafka import hearing
from streamcluster.settings import Settings, bootstrap_servers
from streamcluster_coordinator.admin.brokers import Cluster
from streamcluster_coordinator.broker import Broker
from streamcluster_coordinator.control.reader import ControlReader
from streamcluster_coordinator.dropped import Dropped
from streamcluster_coordinator.records.signatures import Signatures
from streamcluster_coordinator.records.snapshot import Snapshot, control_topic
from tests.coordinator.controls import SECONDS, MakeMember, Member, make_app, soon
from tests.process.waiting import eventually


@pytest.fixture
def own_broker(three_brokers: Broker) -> Iterator[Broker]:
    """Three brokers, so that another one can lead; all of them run afterwards."""
    yield three_brokers
    for node in list(three_brokers.pids):
        three_brokers.resume(node)
    three_brokers.start(*three_brokers.dead())


@pytest.fixture
def writer(own_broker: Broker, topic_prefix: str) -> Iterator[Member]:
    """A coordinator of an app on them."""
    member = Member(*make_app(own_broker.url, topic_prefix), "a")
    yield member
    member.control.close()


def test_a_reader_waits_for_the_next_leader(own_broker: Broker, writer: Member) -> None:
    """A log whose leader is silent is not taken for an empty one: epochs would be numbered from 1 again."""
    settings, written = writer.settings, writer.claim()
    topic, admin = control_topic(settings.app_id), AdminClient({"bootstrap.servers": own_broker.bootstrap})
    # Its client knows the old leader, as that of a coordinator that has run for a while.
    with closing(reader_of(settings, admin)) as early:
        early.catch_up(soon())
    leader = admin.list_topics(topic, timeout=SECONDS).topics[topic].partitions[0].leader
    frozen = next(node for node in own_broker.pids if node != leader)
    # One of three elects nobody, however long this takes.
    own_broker.pause(frozen)
    own_broker.kill(leader)

    with closing(reader_of(settings, admin)) as reader:
        with pytest.raises(BrokerUnreachable):
            reader.catch_up(soon(0.5))
        own_broker.resume(frozen)
        assert reader.catch_up(soon()) == written


def test_a_reader_whose_clients_hear_nothing_has_others(
    app: tuple[Settings, Cluster], make_member: MakeMember, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are as librdkafka's that have dropped every address (its issue 5301). It goes on where it was."""
    settings, _ = app
    member = make_member("a")
    first = member.claim()
    read: list[Snapshot] = []
    admin = AdminClient({"bootstrap.servers": bootstrap_servers(settings.broker)})
    nowhere = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0, "group.id": "deaf"}
    deaf = Consumer(nowhere)
    with closing(reader_of(settings, admin, read.append)) as reader:
        assert reader.catch_up(soon()) == first
        unused, reader._consumer.client = reader._consumer.client, deaf
        reader._offsets._idle[0].client = Consumer(nowhere)
        second = member.claim()
        # So short that a new one may be replaced, too, before it is answered.
        with monkeypatch.context() as impatient:
            impatient.setattr(hearing, "QUIET_SECONDS", 0.5)
            eventually(lambda: reader._consumer.client is not deaf, SECONDS, "another one was opened")
        assert reader.catch_up(soon()) == second
        assert unused is not None
        unused.close()
    assert read == [first, second]


def reader_of(
    settings: Settings, admin: AdminClient, on_snapshot: Callable[[Snapshot], None] = lambda _: None
) -> ControlReader:
    """One that nobody else listens to."""
    return ControlReader(
        settings, admin, Signatures(None, settings.app_id), Dropped(), on_snapshot, lambda: None, lambda _: None
    )
