"""The control topic while brokers freeze, die and come back, and when it is deleted under a running coordinator."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from streamcluster.errors import BrokerUnreachable, Fenced, StateIncompatible
from streamcluster.settings import Settings
from streamcluster_coordinator.admin.brokers import Brokers, Cluster
from streamcluster_coordinator.broker import Broker
from streamcluster_coordinator.control import watch as control_watch
from streamcluster_coordinator.control.topics import control_topics
from streamcluster_coordinator.records.snapshot import Snapshot, control_topic
from tests.coordinator.controls import SECONDS, MakeMember, after, delete, make_app, soon
from tests.process.waiting import eventually


@pytest.fixture
def app(own_broker: Broker, topic_prefix: str) -> tuple[Settings, Cluster]:
    """An app on that broker."""
    return make_app(own_broker.url, topic_prefix)


def test_a_write_with_no_answer_is_in_the_log_once(own_broker: Broker, make_member: MakeMember) -> None:
    """The broker freezes at some moment of a write. Once it goes on, the same write says how it ended, or ends it."""
    leader = make_member("a")
    written = [leader.claim()]
    freezes = threading.Event()

    def write_on() -> Snapshot:
        while True:
            try:
                written.append(leader.write(after(written[-1]), 2))
            except BrokerUnreachable:
                # Before that the machine was too slow; it is written again.
                if freezes.is_set():
                    raise

    for _ in range(3):
        freezes.clear()
        count = len(written)
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write_on)
            eventually(lambda: len(written) > count, SECONDS, "writes go on", every=0.001)  # noqa: B023
            freezes.set()
            own_broker.pause(1)
            with pytest.raises(BrokerUnreachable):
                writing.result(SECONDS)
        own_broker.resume(1)
        written.append(leader.write(after(written[-1])))

    late = make_member("b")
    assert late.catch_up() == written[-1]
    assert late.heard == written


def test_who_was_succeeded_while_it_could_not_write_steps_down(own_broker: Broker, make_member: MakeMember) -> None:
    """It looks how its write ended, which fences its successor; that one finds its own term in the log, and goes on."""
    old, new = make_member("a"), make_member("b")
    one = old.claim()
    own_broker.pause(1)
    with pytest.raises(BrokerUnreachable):
        old.write(after(one), 1)
    own_broker.resume(1)

    two = new.claim()

    with pytest.raises(Fenced, match="leads now, in term 2"):
        old.write(after(one))
    assert new.write(after(two)) == after(two)
    with pytest.raises(Fenced):
        old.write(after(one))
    assert new.write(after(after(two))) == after(after(two))


def test_a_broker_that_comes_back_is_no_failure(own_broker: Broker, make_member: MakeMember) -> None:
    """Killed and started again: reading and leading go on."""
    leader, other = make_member("a"), make_member("b")
    one = leader.claim()

    own_broker.kill(1)
    with pytest.raises(BrokerUnreachable):
        other.catch_up(1)
    own_broker.start(1)

    assert leader.write(after(one)) == after(one)
    assert other.catch_up() == after(one)
    assert leader.failures == other.failures == []


def test_a_deleted_topic_is_told_to_a_running_coordinator(
    app: tuple[Settings, Cluster], make_member: MakeMember
) -> None:
    """Not only to who reads or writes next (H17)."""
    settings, _ = app
    topic = control_topic(settings.app_id)
    leader, idle = make_member("a"), make_member("b")
    one = leader.claim()
    idle.catch_up()

    delete(settings, topic)

    eventually(lambda: idle.failures and leader.failures, SECONDS, "both were told")
    assert "is gone: was it deleted? Stop every coordinator" in str(idle.failures[0])
    with pytest.raises(StateIncompatible, match="is gone"):
        leader.write(after(one))
    with pytest.raises(StateIncompatible, match="is gone"):
        idle.catch_up()


def test_a_topic_that_was_made_anew_is_told_to_a_running_coordinator(
    app: tuple[Settings, Cluster], make_member: MakeMember, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when somebody leads in the new one already (H17)."""
    # However long it takes to make it, it is not taken for gone.
    monkeypatch.setattr(control_watch, "_GONE_SECONDS", 2 * SECONDS)
    settings, cluster = app
    topic = control_topic(settings.app_id)
    old = make_member("a")
    old.write(after(old.claim()))
    old_id = old.control.topic_id(soon())

    delete(settings, topic)
    brokers = Brokers(settings)
    eventually(lambda: topic not in brokers.topics(()), SECONDS, "it is gone")
    brokers.create(control_topics(settings)[:1], cluster)
    new = make_member("b").claim()

    assert new.term == 1
    eventually(lambda: old.failures, SECONDS, "it was told")
    assert f"made anew while this coordinator ran (its id was {old_id} and is {new.topic_id})" in str(old.failures[0])
    assert new not in old.heard
