"""Clients that never hear again: librdkafka may drop every address that it has, without a word (its issue 5301).

That happens when a client is told of no broker at all, as by a lone one that was paused and is still fenced. It takes
luck (4 of 96 clients that asked just then, and 5 of 96 on a busy machine), so these tests have clients that never knew
where brokers are, which looks the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import ModuleType

import pytest

from streamcluster.ids import TP, TaskId
from streamcluster.kafka import hearing, offsets, opening
from streamcluster.kafka.offsets import Offsets
from streamcluster.kafka.opening import Connection, Consumer, connect, open_group_consumer
from streamcluster.kafka.verdicts import ResetNeeded
from streamcluster.output import output_of
from streamcluster.settings import Settings
from streamcluster.stores import MemoryStore
from streamcluster_coordinator.broker import Broker
from streamcluster_worker.data import clients as clients_module
from streamcluster_worker.data import committer, sender
from streamcluster_worker.data.clients import Clients
from streamcluster_worker.data.committer import Committer
from streamcluster_worker.kafka.consumers import open_consumer
from streamcluster_worker.kafka.producers import open_producer, open_transactional_producer
from streamcluster_worker.state import follow, restore
from tests.columns import columns_of
from tests.conftest import MakeTopic
from tests.process import topics
from tests.process.waiting import eventually
from tests.worker import following
from tests.worker.changelogs import commit
from tests.worker.following import numbered

SECONDS = 30.0
QUIET_SECONDS = 0.5
OFFSETS_PATIENCE = f"{offsets.__name__}._PATIENCE_SECONDS"
CONNECT_PATIENCE = f"{connect.__module__}._CONNECT_SECONDS"
REPLAY_PATIENCE = f"{hearing.__name__}.QUIET_SECONDS"
NOWHERE = Settings(id="deaf", broker="kafka://127.0.0.1:1")

Open = Callable[[Settings, Connection], Consumer]


def first_is_deaf(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, patience: str) -> list[Consumer]:
    """Of what is opened there the first knows no broker. Returns what was opened.

    patience: the constant that says how long one may be silent.
    """
    opened: list[Consumer] = []
    usual: Open = getattr(module, name)

    def open_one(settings: Settings, connection: Connection) -> Consumer:
        if opened:
            # On a busy machine an answer takes a while, and a third one would be no fault.
            monkeypatch.setattr(patience, SECONDS)
        opened.append(usual(settings if opened else NOWHERE, connection))
        return opened[-1]

    monkeypatch.setattr(module, name, open_one)
    if patience.endswith(".QUIET_SECONDS"):
        monkeypatch.setattr(patience, QUIET_SECONDS)
    return opened


def test_offsets_are_asked_of_another_one(
    monkeypatch: pytest.MonkeyPatch, broker_url: str, make_topic: MakeTopic, topic_prefix: str
) -> None:
    """Who got no answer is not asked again, neither for offsets nor whether brokers answer."""
    tp = TP(make_topic(f"{topic_prefix}in", 1), 0)
    for ask in (Offsets.end_offsets, Offsets.begin_offsets):
        opened = first_is_deaf(monkeypatch, offsets, "open_offsets_consumer", OFFSETS_PATIENCE)
        assert ask(Offsets(Settings(id=topic_prefix, broker=broker_url), Connection()), [tp]) == {tp: 0}
        assert len(opened) == 2
        monkeypatch.undo()
    first_is_deaf(monkeypatch, offsets, "open_offsets_consumer", OFFSETS_PATIENCE)
    asked = Offsets(Settings(id=topic_prefix, broker=broker_url), Connection())
    assert [asked.is_answered(1.0), asked.is_answered(SECONDS)] == [False, True]


@pytest.mark.parametrize("name", ["open_consumer", "open_group_consumer"])
def test_clients_that_are_opened_get_an_answer(
    monkeypatch: pytest.MonkeyPatch, broker_url: str, topic_prefix: str, name: str
) -> None:
    """Who gets none within 2 s is replaced, long before the time-out."""
    opened = first_is_deaf(monkeypatch, clients_module, name, CONNECT_PATIENCE)
    settings = Settings(id=f"{topic_prefix}app", broker=broker_url)
    clients = Clients.open(settings, f"{topic_prefix}slot", SECONDS, 1_000_000)
    clients.close()
    assert len(opened) == 2


def test_a_deaf_reader_is_known_by_what_others_hear(
    monkeypatch: pytest.MonkeyPatch, broker_url: str, topic_prefix: str
) -> None:
    """Not after one try; and one that hears is never called deaf, nor is any while no broker answers."""
    monkeypatch.setattr(hearing, "QUIET_SECONDS", 0.0)
    settings = Settings(id=f"{topic_prefix}app", broker=broker_url)
    clients = Clients.open(settings, f"{topic_prefix}slot", SECONDS, 1_000_000)

    def told(tries: int, seconds: float) -> list[bool]:
        answers = []
        for _ in range(tries):
            clients.look_for_brokers(seconds)
            answers.append(clients.is_deaf)
        return answers

    assert told(4, SECONDS) == [False] * 4
    usual, clients.consumer = clients.consumer, open_consumer(NOWHERE, clients.connection)
    assert told(3, SECONDS) == [False, False, True]
    clients.heard()
    clients.offsets = Offsets(NOWHERE, clients.connection)
    assert told(4, 0.05) == [False] * 4
    usual.close()
    clients.close()


def test_a_task_is_restored_by_another_one(
    monkeypatch: pytest.MonkeyPatch, broker_url: str, make_topic: MakeTopic, topic_prefix: str
) -> None:
    """A consumer that brings nothing to a task that waits is replaced."""
    opened = first_is_deaf(monkeypatch, restore, "open_changelog_consumer", REPLAY_PATIENCE)
    rig = following.Rig(broker_url, topic_prefix, lambda _: MemoryStore(["t"]))
    topic, store, ended = make_topic(f"{topic_prefix}log", 1), MemoryStore(["t"]), list[Exception | None]()
    commit(rig.producer(), topic, numbered(100))
    restorer = restore.Restorer(
        rig.settings,
        rig.connection,
        rig.offsets,
        done=lambda _: ended.append(None),
        failed=lambda _, error: ended.append(error),
    )
    restorer.start(TaskId(1, 0), store, [("t", topic, 0)])
    eventually(lambda: ended, SECONDS, "it is restored")
    restorer.stop()
    assert ended == [None]
    assert store.shard("t").scan() == numbered(100)
    assert len(opened) == 2


def test_a_standby_is_fed_by_another_one(
    monkeypatch: pytest.MonkeyPatch, broker_url: str, make_topic: MakeTopic, topic_prefix: str
) -> None:
    """A consumer that brings nothing of a log that grows is replaced; one that has nothing to bring is not."""
    opened = first_is_deaf(monkeypatch, follow, "open_follower_consumer", REPLAY_PATIENCE)
    rig = following.Rig(broker_url, topic_prefix, lambda _: MemoryStore(["t"]))
    topic = make_topic(f"{topic_prefix}log", 1)
    commit(rig.producer(), topic, numbered(100))
    rig.follower.follow(following.TASK, [("t", topic, 0)])
    rig.wait_for_end(topic)
    assert rig.rows() == numbered(100)
    monkeypatch.setattr(REPLAY_PATIENCE, QUIET_SECONDS)
    at_end = time.monotonic()
    eventually(lambda: time.monotonic() - at_end > 3 * QUIET_SECONDS, SECONDS, "it was quiet for a while")
    rig.follower.stop()
    assert len(opened) == 2


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit soon looks whether its producer is deaf."""
    monkeypatch.setattr(committer, "QUIET_SECONDS", QUIET_SECONDS)
    for module, name in (
        (sender, "QUIET_SECONDS"),
        (sender, "_LOOK_SECONDS"),
        (opening, "_DEAF_SECONDS"),
        (opening, "_AGAIN_HEARD_SECONDS"),
    ):
        monkeypatch.setattr(module, name, QUIET_SECONDS)


@pytest.mark.usefixtures("impatient")
def test_a_commit_does_not_wait_for_a_deaf_producer(broker_url: str, topic_prefix: str) -> None:
    """It is given up while others are answered, and the time-out is not waited for."""
    nobody, settings = (
        Settings(id=topic_prefix, broker=url, processing_guarantee="at_least_once", transaction_timeout=20.0)
        for url in (NOWHERE.broker, broker_url)
    )
    group = open_group_consumer(settings, Connection())
    producer = open_transactional_producer(settings, f"{topic_prefix}slot", Connection(), SECONDS)
    one = Committer(settings, producer, group, open_producer(nobody, Connection()))
    with pytest.raises(ResetNeeded, match="do not answer this one"):
        one.commit({f"{topic_prefix}out": columns_of([output_of(b"k", b"v")])}, {}, {})
    one.close()
    group.close()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("early", [False, True], ids=["records", "end"])
def test_a_transaction_does_not_wait_for_a_deaf_producer(
    monkeypatch: pytest.MonkeyPatch, own_broker: Broker, topic_prefix: str, *, early: bool
) -> None:
    """Neither for its records' answers nor for that of its end."""
    out = f"{topic_prefix}out"
    topics.create(own_broker.bootstrap, [out], 1)
    settings = Settings(id=topic_prefix, broker=own_broker.url, transaction_timeout=20.0)
    group = open_group_consumer(settings, Connection())
    producer = open_transactional_producer(settings, f"{topic_prefix}slot", Connection(), SECONDS)
    one, records = Committer(settings, producer, group), {out: columns_of([output_of(b"k", b"v")])}
    one.commit(records, {}, {})
    if early:
        one.produce_early(records)
        assert producer.flush(SECONDS) == 0
    own_broker.pause(1)
    # As if the broker answered others.
    monkeypatch.setattr(opening, "find_group", lambda *_: None)
    with pytest.raises(ResetNeeded, match="do not answer this one"):
        one.commit({} if early else records, {}, {})
    one.close()
    group.close()
