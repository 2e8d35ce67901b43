"""The status topic on a real broker: who hears what, in which order, and that nothing there stops anybody."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator

import msgspec
import pytest
from confluent_kafka import Consumer, Producer

from streamcluster.errors import BrokerUnreachable
from streamcluster.kafka import hearing
from streamcluster.settings import Settings, bootstrap_servers, make_settings
from streamcluster_coordinator.admin.brokers import Brokers, Cluster
from streamcluster_coordinator.answers.peer_auth import Secret
from streamcluster_coordinator.broker import Broker
from streamcluster_coordinator.control import bus as control_bus
from streamcluster_coordinator.control.bus import StatusBus
from streamcluster_coordinator.control.topics import STATUS_BYTES_MAX, control_topics
from streamcluster_coordinator.dropped import Dropped
from streamcluster_coordinator.records.report import HostReport
from streamcluster_coordinator.records.signatures import Signatures
from streamcluster_coordinator.records.snapshot import status_topic
from tests.coordinator.controls import SECONDS, delete, make_app, write_what_cannot_be_unpacked
from tests.process.waiting import eventually, pause

MakeBus = Callable[[Settings], "Ear"]


class Ear:
    """A bus, and what it heard: (host, sequence)."""

    def __init__(self, settings: Settings) -> None:
        self.heard: list[tuple[str, int]] = []
        self.dropped = Dropped()
        self.bus = StatusBus(
            settings,
            Signatures(None, settings.app_id),
            self.dropped,
            lambda report: self.heard.append((report.host, report.sequence)),
        )

    def expect(self, *last: tuple[str, int]) -> None:
        """Wait until these are the last that were heard."""
        eventually(lambda: self.heard[-len(last) :] == [*last], SECONDS, f"{last} were heard", lambda: str(self.heard))


@pytest.fixture
def settings(app: tuple[Settings, Cluster]) -> Settings:
    """That app's."""
    return app[0]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that is sent once is not late, however slow the machine is."""
    monkeypatch.setattr(control_bus, "_DELIVERY_MS", int(SECONDS * 1000))
    monkeypatch.setattr(control_bus, "_LAST_WORDS_SECONDS", SECONDS)


@pytest.fixture
def make_bus() -> Iterator[MakeBus]:
    """Makes buses."""
    made: list[Ear] = []

    def make(settings: Settings) -> Ear:
        made.append(Ear(settings))
        return made[-1]

    yield make
    for ear in made:
        ear.bus.close()


def report(host: str, sequence: int, rows: str | None = None) -> HostReport:
    """A report of nothing."""
    return HostReport(
        host=host,
        instance=host,
        pid=1,
        machine="",
        sequence=sequence,
        epoch_read=0,
        state="member",
        shape=None,
        slots=(),
        rows=msgspec.Raw(msgspec.json.encode(rows)),
    )


@pytest.mark.usefixtures("patient")
def test_everybody_hears_all_reports_in_order(settings: Settings, make_bus: MakeBus) -> None:
    """One's own too; from the moment on at which the bus was made, and nothing from before."""
    a = make_bus(settings)
    for sequence in range(50):
        a.bus.publish(report("a", sequence))
    a.expect(("a", 49))

    b = make_bus(settings)
    b.bus.publish(report("b", 0))
    b.expect(("b", 0))
    a.bus.publish(report("a", 50))

    for ear in (a, b):
        ear.expect(("b", 0), ("a", 50))
    assert a.heard == [*(("a", sequence) for sequence in range(50)), ("b", 0), ("a", 50)]
    assert b.heard == [("b", 0), ("a", 50)]


@pytest.mark.usefixtures("patient")
def test_what_is_no_report_is_passed_over_and_said_once(
    settings: Settings, make_bus: MakeBus, caplog: pytest.LogCaptureFixture
) -> None:
    """Another program's records, and those of a version to come."""
    ear = make_bus(settings)
    newer = msgspec.json.encode(msgspec.structs.replace(report("c", 1), format_version=99))
    producer = Producer({"bootstrap.servers": bootstrap_servers(settings.broker)})
    with caplog.at_level(logging.WARNING, "streamcluster.coordinator"):
        for value in (b"hello", newer, None, b"{}"):
            producer.produce(status_topic(settings.app_id), value=value)
        assert producer.flush(SECONDS) == 0
        ear.bus.publish(report("a", 1))
        ear.expect(("a", 1))

    assert ear.heard == [("a", 1)]
    said = [r.getMessage() for r in caplog.records]
    place = f"topic {status_topic(settings.app_id)}"
    assert len(said) == 1
    assert said[0].startswith(f"{place}: not used: the record at offset 0 is no report: DecodeError: JSON is malformed")
    assert [(one.place, one.count) for one in ear.dropped.shown()] == [(place, 4)]


@pytest.mark.usefixtures("patient")
def test_a_batch_that_cannot_be_unpacked_makes_nobody_deaf(settings: Settings, make_bus: MakeBus) -> None:
    """The client tries it for ever, from each offset in it: its consumer is led past it, and it is named."""
    a = make_bus(settings)
    numbers = itertools.count(1)
    publish_until_heard(a, a, numbers)
    topic = status_topic(settings.app_id)
    write_what_cannot_be_unpacked(settings, topic, 5)
    publish_until_heard(a, a, numbers)

    [dropped] = a.dropped.shown()
    assert dropped.place == f"topic {topic}"
    assert "Invalid compressed data" in dropped.last
    # One that begins behind it is as any other.
    b = make_bus(settings)
    publish_until_heard(a, b, numbers)


def test_an_error_that_nobody_foresaw_is_named_and_the_thread_goes_on(
    settings: Settings, make_bus: MakeBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That record is lost, the next one is heard; a thread that did end would be seen."""
    a = make_bus(settings)
    numbers = itertools.count(1)
    publish_until_heard(a, a, numbers)
    with monkeypatch.context() as patched:
        patched.setattr(control_bus, "decode_report", {}.__getitem__)
        a.bus.publish(report("a", next(numbers)))
        eventually(lambda: a.dropped.shown(), SECONDS, "it was named")
    publish_until_heard(a, a, numbers)

    assert "KeyError" in a.dropped.shown()[0].last
    assert a.bus.is_listening()
    a.bus.close()
    assert not a.bus.is_listening()


def test_what_is_not_signed_is_believed_or_not_and_sends_nobody_anywhere(settings: Settings, make_bus: MakeBus) -> None:
    """With a secret, while signatures are optional: its address is not used. Required: nothing of it is."""
    secret = Secret(b"a secret of all hosts")
    peers: list[tuple[str, int, str | None]] = []
    buses = [
        StatusBus(
            settings,
            Signatures(secret, settings.app_id, required=required),
            Dropped(),
            lambda one: peers.append((one.host, one.sequence, one.peer)),
        )
        for required in (False, True)
    ]
    without = make_bus(settings)
    try:
        told = msgspec.structs.replace(report("b", 1), peer="10.0.0.9:7070")

        def heard() -> bool:
            without.bus.publish(told)
            buses[0].publish(msgspec.structs.replace(told, host="a"))
            return len({*peers}) == 2 and peers.count(("a", 1, "10.0.0.9:7070")) > 1

        eventually(heard, SECONDS, "both heard the signed one, one heard the other", lambda: str(peers), every=0.2)
        assert {*peers} == {("a", 1, "10.0.0.9:7070"), ("b", 1, None)}
    finally:
        for bus in buses:
            bus.close()


@pytest.mark.usefixtures("patient")
def test_a_report_that_is_too_large_is_dropped_and_said(
    settings: Settings, make_bus: MakeBus, caplog: pytest.LogCaptureFixture
) -> None:
    """The next one goes out. One of a megabyte does, for it is compressed."""
    ear = make_bus(settings)
    with caplog.at_level(logging.WARNING, "streamcluster.coordinator"):
        ear.bus.publish(report("a", 1, "x" * STATUS_BYTES_MAX))
        ear.bus.publish(report("a", 2, "x" * (STATUS_BYTES_MAX // 2)))
        ear.expect(("a", 2))

    assert ear.heard == [("a", 2)]
    place = f"reports of this host to topic {status_topic(settings.app_id)}"
    assert [(one.place, one.count) for one in ear.dropped.shown()] == [(place, 1)]
    assert place in caplog.text


def test_an_outage_costs_the_reports_of_its_time_only(own_broker: Broker, make_bus: MakeBus) -> None:
    """The broker is frozen, then killed: publishing never waits, and what is heard after is new, and in order."""
    settings, _ = make_app(own_broker.url, "own-")
    a, b = make_bus(settings), make_bus(settings)
    numbers = itertools.count(1)
    publish_until_heard(a, b, numbers)

    own_broker.pause(1)
    publish_for(5, a, numbers)
    own_broker.resume(1)
    publish_until_heard(a, b, numbers)
    own_broker.kill(1)
    publish_for(5, a, numbers)
    own_broker.start(1)
    publish_until_heard(a, b, numbers)

    for ear in (a, b):
        # Those in flight when others time out may come twice (librdkafka's issue 4953), which hosts pass over.
        once = list(dict.fromkeys(ear.heard))
        assert once == sorted(once)


def test_clients_that_hear_nothing_are_replaced(
    settings: Settings, make_bus: MakeBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are as librdkafka's that have dropped every address (its issue 5301); reports go out and come in again."""
    a, b = make_bus(settings), make_bus(settings)
    numbers = itertools.count(1)
    nowhere = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}
    mute, deaf = Producer({**nowhere, "message.timeout.ms": 100}), Consumer({**nowhere, "group.id": "deaf"})
    a.bus._producer.client, unused, b.bus._consumer.client = mute, b.bus._consumer.client, deaf

    def replaced() -> bool:
        a.bus.publish(report("a", next(numbers)))
        return a.bus._producer.client is not mute and b.bus._consumer.client is not deaf

    # So short that new ones may be replaced, too, before they hear anything.
    with monkeypatch.context() as impatient:
        impatient.setattr(hearing, "QUIET_SECONDS", 0.5)
        eventually(replaced, SECONDS, "others were opened")
    publish_until_heard(a, b, numbers)

    assert unused is not None
    unused.close()


def publish_for(seconds: float, ear: Ear, numbers: Iterator[int]) -> None:
    """Publish 100 times a second."""
    began, took = time.monotonic(), []
    while (now := time.monotonic()) < began + seconds:
        ear.bus.publish(report("a", next(numbers)))
        took.append(time.monotonic() - now)
        pause(0.01)
    # Some may be slow on a busy machine. Waiting for a broker would take a second and more, each time.
    assert sorted(took)[len(took) * 9 // 10] < 0.5


def publish_until_heard(a: Ear, b: Ear, numbers: Iterator[int]) -> None:
    """Publish twice a second, from a, until both have heard one of those."""
    first = next(numbers)

    def heard() -> bool:
        a.bus.publish(report("a", next(numbers)))
        return all(ear.heard and ear.heard[-1][1] > first for ear in (a, b))

    eventually(heard, SECONDS, "reports are heard again", every=0.5)


def test_a_topic_that_is_made_anew_is_used_on(app: tuple[Settings, Cluster], make_bus: MakeBus) -> None:
    """Nothing in it is needed."""
    settings, cluster = app
    topic = status_topic(settings.app_id)
    a, b = make_bus(settings), make_bus(settings)
    numbers = itertools.count(1)
    publish_until_heard(a, b, numbers)

    delete(settings, topic)
    brokers = Brokers(settings)
    eventually(lambda: topic not in brokers.topics(()), SECONDS, "it is gone")
    brokers.create(control_topics(settings)[1:], cluster)

    publish_until_heard(a, b, numbers)


@pytest.mark.usefixtures("patient")
def test_the_last_report_is_out_when_the_bus_is_closed(settings: Settings, make_bus: MakeBus) -> None:
    """A host that leaves says so."""
    a, b = make_bus(settings), make_bus(settings)
    a.bus.publish(report("a", 1))
    a.bus.close()

    assert a.bus._producer.client is not None
    assert len(a.bus._producer.client) == 0
    b.expect(("a", 1))


def test_no_broker_is_an_error_with_a_deadline() -> None:
    """Of the operator."""
    settings = make_settings({"id": "app", "broker": "kafka://127.0.0.1:1", "connect_timeout": 1.0})
    with pytest.raises(BrokerUnreachable, match="the end of topic 'app-status' could not be read"):
        StatusBus(settings, Signatures(None, "app"), Dropped(), print)
