"""The control topic on a real broker: claims, fences, order, and what makes it refuse."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from streamcluster.errors import BrokerUnreachable, Fenced, StateIncompatible
from streamcluster.ids import SlotId
from streamcluster.kafka.fencing import open_fencing
from streamcluster.outside import Unreadable
from streamcluster.settings import Settings, bootstrap_servers
from streamcluster_coordinator.admin.brokers import Cluster
from streamcluster_coordinator.answers.peer_auth import Secret
from streamcluster_coordinator.records.snapshot import (
    SNAPSHOT_BYTES_MAX,
    SNAPSHOT_KEY,
    Snapshot,
    check_origin,
    control_topic,
    decode_snapshot,
    encode_snapshot,
    slot_transactional_id,
)
from tests.conftest import MakeTopic
from tests.coordinator.controls import SECONDS, MakeMember, Member, after, soon, write_what_cannot_be_unpacked
from tests.process.waiting import eventually


def open_transaction(settings: Settings, transactional_id: str, topic: str, value: bytes) -> Producer:
    """A producer in the middle of a transaction, its record in the log."""
    producer = open_fencing(settings, transactional_id, SECONDS)
    producer.begin_transaction()
    producer.produce(topic, key=SNAPSHOT_KEY, value=value, partition=0)
    assert producer.flush(SECONDS) == 0
    return producer


def plain_producer(settings: Settings) -> Producer:
    """A producer of some other program."""
    return Producer({"bootstrap.servers": bootstrap_servers(settings.broker)})


def committed_values(settings: Settings, topic: str) -> list[bytes | None]:
    """What read_committed readers see of a topic."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers(settings.broker),
            "group.id": "look",
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    consumer.subscribe([topic])
    found: list[bytes | None] = []
    try:
        while True:
            message = consumer.poll(SECONDS)
            assert message is not None
            if (error := message.error()) is not None:
                assert error.code() == KafkaError._PARTITION_EOF, error.str()
                return found
            found.append(message.value())
    finally:
        consumer.close()


def test_a_claim_counts_terms_and_fences_the_predecessor(make_member: MakeMember) -> None:
    """The second leader has the next term; the first can write nothing any more, and hears of it in the log."""
    first, second = make_member("a"), make_member("b")

    one = first.claim()
    first.write(after(one))
    two = second.claim()

    assert (two.term, two.epoch) == (one.term + 1, one.epoch + 2)
    eventually(lambda: first.heard[-1:] == [two], SECONDS, "the first heard of the second")
    for _ in range(2):
        with pytest.raises(Fenced, match=r"leads now, in term 2: b, pid 7 on m"):
            first.write(after(one))
    assert second.write(after(two)) == after(two)


def test_snapshots_are_heard_in_order_from_the_first(make_member: MakeMember) -> None:
    """Who comes later gets everything that the log still has, each once, in order, before catch_up returns."""
    leader = make_member("a")
    written = [leader.claim()]
    for _ in range(20):
        written.append(leader.write(after(written[-1])))

    late = make_member("b")

    assert late.catch_up() == written[-1]
    assert late.heard == written
    assert leader.catch_up() == written[-1]
    assert leader.heard == written


def test_claims_that_race_have_one_winner_per_term(make_member: MakeMember) -> None:
    """However they meet, terms and epochs of the log strictly grow, and who believes to have won is in it."""
    members = [make_member(name) for name in "abc"]
    won: list[Snapshot] = []
    barrier = threading.Barrier(len(members))

    def race(member: Member) -> None:
        for _ in range(5):
            barrier.wait(SECONDS)
            try:
                won.append(member.claim_once())
            except Fenced:
                continue

    with ThreadPoolExecutor(len(members)) as pool:
        for done in [pool.submit(race, member) for member in members]:
            done.result()

    observer = make_member("observer")
    observer.catch_up()
    log = observer.heard
    assert [s.term for s in log] == list(range(1, len(log) + 1))
    assert [s.epoch for s in log] == list(range(1, len(log) + 1))
    assert {s.term: s.leader for s in won}.items() <= {s.term: s.leader for s in log}.items()
    assert len({s.term for s in won}) == len(won)
    assert won


def test_a_dead_leaders_open_transaction_ends_with_the_next_claim(
    app: tuple[Settings, Cluster], make_member: MakeMember
) -> None:
    """It pins the log, so nobody may believe to be at its end (H3, H23); a claim aborts it."""
    settings, _ = app
    topic = control_topic(settings.app_id)
    one = make_member("a").claim()
    other = make_member("b")
    other.catch_up()
    hung = open_transaction(settings, topic, topic, b"never committed")

    # Long enough to be told where the end is, and too short for the broker to end the transaction by itself.
    with pytest.raises(BrokerUnreachable, match="could not be read to its end in time"):
        other.catch_up(4)
    two = other.claim()

    assert other.heard == [one, two]
    assert other.failures == []
    with pytest.raises(KafkaException, match="FENCED"):
        hung.commit_transaction(SECONDS)


def test_a_leader_that_was_fenced_by_no_claim_goes_on(app: tuple[Settings, Cluster], make_member: MakeMember) -> None:
    """A claimer that died after its fence, or an older leader that looked at the log, costs liveness only."""
    settings, _ = app
    leader = make_member("a")
    one = leader.claim()
    open_fencing(settings, control_topic(settings.app_id), SECONDS)

    assert leader.write(after(one)) == after(one)
    assert leader.catch_up() == after(one)


def test_a_claim_that_refuses_leaves_the_leader_in_place(make_member: MakeMember) -> None:
    """What `make` raises ends the claim: here, a topic that was copied from another cluster."""
    leader, other = make_member("a"), make_member("b")
    one = leader.claim()

    def refuse(last: Snapshot | None) -> Snapshot:
        check_origin(last, "elsewhere", one.topic_id, topic="t")
        raise AssertionError

    with pytest.raises(StateIncompatible, match=f"is about Kafka cluster {one.cluster_id}, but this is elsewhere"):
        other.control.claim(refuse, soon())
    with pytest.raises(Fenced):
        other.write(after(one))
    assert leader.write(after(one)) == after(one)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b'{"format_version": 99}', r"another version of streamcluster wrote it \(format 99"),
        (b"hello", "JSON is malformed"),
        (None, "Input data was truncated"),
        (b'{"format_version":3,"cluster_id":"\xff"}', "UnicodeDecodeError"),
        (b'{"format_version":3,"x":' + b"[" * 5_000, "RecursionError"),
    ],
)
def test_foreign_records_are_passed_over_while_it_runs_and_refused_at_a_start(
    app: tuple[Settings, Cluster], make_member: MakeMember, value: bytes | None, text: str
) -> None:
    """What another version or program wrote is not guessed at; once the leader has written anew, it is history."""
    settings, _ = app
    running = make_member("a")
    one = running.claim()
    producer = plain_producer(settings)
    producer.produce(control_topic(settings.app_id), key=b"leader", value=value)
    assert producer.flush(SECONDS) == 0

    eventually(lambda: running.unread, SECONDS, "it was told")
    assert running.catch_up() == one
    with pytest.raises(StateIncompatible, match=f"what no coordinator of this app writes.*offset 2.*{text}"):
        make_member("b").begin()
    two = running.write(after(one))
    late = make_member("c")
    assert late.begin() == two
    # The next leader goes on from there: no epoch is given twice.
    assert late.claim().epoch == two.epoch + 1
    assert running.failures == late.failures == []
    assert [(one.count, bool(re.search(text, one.last))) for one in late.dropped.shown()] == [(1, True)]


@pytest.mark.parametrize("records", [1, 5])
def test_a_batch_that_cannot_be_unpacked_is_passed_over(
    app: tuple[Settings, Cluster], make_member: MakeMember, records: int
) -> None:
    """What is right behind it is read, by those that run and those that start; alone at the end it is refused."""
    settings, _ = app
    leader = make_member("a")
    one = leader.claim()
    write_what_cannot_be_unpacked(settings, control_topic(settings.app_id), records)
    eventually(lambda: leader.unread, SECONDS, "it was told")
    with pytest.raises(StateIncompatible, match="cannot be unpacked"):
        make_member("b").begin()
    two = leader.write(after(one))

    assert leader.catch_up() == two
    late = make_member("c")
    assert late.begin() == two
    assert late.heard == [one, two]
    assert [member.dropped.shown()[0].count for member in (leader, late)] == [1, 1]


def test_an_older_snapshot_is_passed_over(app: tuple[Settings, Cluster], make_member: MakeMember) -> None:
    """Somebody has repeated it: from there on, epochs would be given twice."""
    settings, _ = app
    leader = make_member("a")
    one = leader.claim()
    two = leader.write(after(one))
    producer = plain_producer(settings)
    for old in (one, after(one, lead="x/0")):
        producer.produce(control_topic(settings.app_id), key=b"snapshot", value=encode_snapshot(old))
    assert producer.flush(SECONDS) == 0

    eventually(lambda: len(leader.unread) == 2, SECONDS, "both were told")
    assert leader.catch_up() == two
    late = make_member("b")
    assert late.claim().epoch == two.epoch + 1


def test_with_a_secret_only_signed_snapshots_count(app: tuple[Settings, Cluster]) -> None:
    """A newer one that anybody may have written changes nothing, and who has another secret does not start."""
    settings, cluster = app
    secret = Secret(b"a secret of all hosts")
    leader = Member(settings, cluster, "a", secret=secret)
    other = Member(settings, cluster, "b", secret=Secret(b"another secret of hosts"))
    try:
        one = leader.claim()
        producer = plain_producer(settings)
        value = encode_snapshot(after(one, owners={}, drained=("a",)))
        producer.produce(control_topic(settings.app_id), key=b"snapshot", value=value)
        assert producer.flush(SECONDS) == 0
        eventually(lambda: leader.unread, SECONDS, "it was told")
        two = leader.write(after(one))

        assert leader.catch_up() == two
        with pytest.raises(StateIncompatible, match="signed with another secret"):
            other.begin()
        with pytest.raises(StateIncompatible, match="signed with another secret"):
            other.claim()
    finally:
        leader.control.close()
        other.control.close()


def test_a_snapshot_that_is_too_large_is_refused_before_it_is_sent(make_member: MakeMember) -> None:
    """With the number of tasks; the leader goes on."""
    leader = make_member("a")
    one = leader.claim()
    owners = {f"450000_{number}": "a/0" for number in range(SNAPSHOT_BYTES_MAX // 2)}

    with pytest.raises(StateIncompatible, match=f"the assignment of {len(owners)} tasks"):
        leader.write(after(one, owners=owners))
    large = after(one, owners=dict(list(owners.items())[: len(owners) * 9 // 10]))
    assert leader.write(large) == large


def test_fenced_slots_can_commit_nothing(
    app: tuple[Settings, Cluster], make_member: MakeMember, make_topic: MakeTopic
) -> None:
    """Several at once, also one that was never filled; what their workers had written is never seen."""
    settings, _ = app
    output = make_topic(f"{settings.app_id}-output", 1)
    slots = [SlotId("a", number) for number in range(4)]
    ids = [slot_transactional_id(settings.app_id, slot) for slot in slots]
    workers = [open_transaction(settings, name, output, b"lost") for name in ids[:3]]
    leader = make_member("b")

    with ThreadPoolExecutor(len(slots)) as pool:
        for _ in pool.map(lambda slot: leader.control.fence(slot, soon()), slots):
            continue

    for worker in workers:
        with pytest.raises(KafkaException) as caught:
            worker.commit_transaction(SECONDS)
        assert caught.value.args[0].name() == "_FENCED"
    new = open_transaction(settings, ids[0], output, b"kept")
    new.commit_transaction(SECONDS)
    assert committed_values(settings, output) == [b"kept"]


def test_what_is_no_snapshot_is_not_decoded() -> None:
    """Text that is no JSON."""
    with pytest.raises(Unreadable, match="malformed"):
        decode_snapshot(b"hello")
