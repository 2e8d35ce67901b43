"""Commits on a real broker: what is written, what counts, what is refused. Who is fenced: test_fenced_committer.py."""

from __future__ import annotations

import threading
import time

import pytest
from confluent_kafka import Consumer, TopicPartition

from streamcluster.errors import BrokerUnreachable
from streamcluster.ids import TP, TaskId
from streamcluster.kafka.offsets import Offsets, read_committed_positions
from streamcluster.kafka.opening import Connection, KafkaError
from streamcluster.kafka.verdicts import RecordRefused, ResetNeeded
from streamcluster.output import OutputColumns, output_of
from streamcluster.settings import Settings
from streamcluster.topology.murmur2 import partition_for
from streamcluster_worker.data import positions
from streamcluster_worker.data.begin import Past
from streamcluster_worker.data.clients import Clients
from streamcluster_worker.data.sender import is_refused
from streamcluster_worker.kafka.consumers import open_consumer
from streamcluster_worker.kafka.producers import open_transactional_producer
from tests.columns import columns_of
from tests.conftest import MakeTopic
from tests.process.waiting import eventually
from tests.worker.committing import PATHS, Bench, records


@pytest.fixture(params=PATHS)
def native(request: pytest.FixtureRequest) -> bool:
    """Each way to the client."""
    return bool(request.param)


@pytest.fixture(params=["exactly_once", "at_least_once"])
def bench(request: pytest.FixtureRequest, broker_url: str, topic_prefix: str, native: bool) -> Bench:
    """A bench at each guarantee."""
    return Bench(broker_url, topic_prefix, request.param, native=native)


@pytest.fixture
def once(broker_url: str, topic_prefix: str, native: bool) -> Bench:
    """A bench at exactly once."""
    return Bench(broker_url, topic_prefix, "exactly_once", native=native)


def test_commit_writes_outputs_changelogs_and_offsets(bench: Bench, make_topic: MakeTopic, topic_prefix: str) -> None:
    """All three are there afterwards, the metadata too, and the changelog offsets are where the records landed."""
    out, log, source = (make_topic(topic_prefix + name, 2) for name in ("out", "log", "in"))
    committer = bench.committer()
    metadata = "m" * 4000
    first = committer.commit(
        {out: records(b"1", b"2")}, {TP(log, 1): records(b"a", b"b")}, {TP(source, 0): (5, metadata)}
    )
    second = committer.commit({}, {TP(log, 1): records(b"c"), TP(log, 0): OutputColumns()}, {TP(source, 1): (6, "")})
    assert [message.value() for message in bench.read(out, 2)] == [b"1", b"2"]
    landed = {message.value(): message.offset() or 0 for message in bench.read(log, 2)}
    assert first == {TP(log, 1): landed[b"b"] + 1}
    assert second == {TP(log, 1): landed[b"c"] + 1}
    positions = read_committed_positions(bench.consumer, [TP(source, 0), TP(source, 1)], 10.0)
    assert positions == {TP(source, 0): (5, metadata), TP(source, 1): (6, "")}


def test_position_never_committed_is_none(bench: Bench, make_topic: MakeTopic, topic_prefix: str) -> None:
    """No commit is not offset 0."""
    source = make_topic(topic_prefix + "in", 1)
    assert read_committed_positions(bench.consumer, [TP(source, 0)], 10.0) == {TP(source, 0): (None, "")}


def test_commit_keeps_order_with_headers_timestamps_and_partitions(
    bench: Bench, make_topic: MakeTopic, topic_prefix: str
) -> None:
    """Records that a batch cannot carry stay between their neighbours and keep what they have."""
    out = make_topic(topic_prefix + "out", 2)
    mixed = columns_of(
        [
            output_of(b"k", b"0", partition=1),
            output_of(None, b"1", partition=1, headers=[("h", b"\x00")]),
            output_of(b"", None, partition=1, timestamp=1234),
            output_of(b"k", b"3", partition=1),
        ]
    )
    bench.committer().commit({out: mixed}, {}, {})
    found = bench.read(out, 2)
    assert [(m.key(), m.value(), m.partition()) for m in found] == [
        (b"k", b"0", 1),
        (None, b"1", 1),
        (b"", None, 1),
        (b"k", b"3", 1),
    ]
    assert found[1].headers() == [("h", b"\x00")]
    assert found[2].timestamp()[1] == 1234


def test_commit_larger_than_the_queue_keeps_order(bench: Bench, make_topic: MakeTopic, topic_prefix: str) -> None:
    """90 MB in one commit pass through the 64 MB that are queued at most, in order."""
    out = make_topic(topic_prefix + "out", 1)
    body = b"x" * 30_000
    bench.committer().commit({out: records(*(b"%06d" % n + body for n in range(3000)))}, {}, {})
    assert [int((message.value() or b"")[:6]) for message in bench.read(out)] == list(range(3000))


def test_record_goes_to_the_partition_it_names(bench: Bench, make_topic: MakeTopic, topic_prefix: str) -> None:
    """A record's own partition beats its key's, for each record of a list."""
    out = make_topic(topic_prefix + "out", 4)
    named = columns_of(output_of(b"k", b"%d" % n, partition=n) for n in range(4))
    bench.committer().commit({out: named}, {}, {})
    assert {message.value(): message.partition() for message in bench.read(out, 4)} == {b"%d" % n: n for n in range(4)}


def test_keys_go_to_the_partitions_that_java_gives_them(bench: Bench, make_topic: MakeTopic, topic_prefix: str) -> None:
    """Keys are placed by murmur2, the empty key too, alone and in batches; so other clients' records join ours."""
    out = make_topic(topic_prefix + "out", 7)
    keys = [b"", b"a", b"key-1", b"\xff\x00\x01", "schlüssel".encode()]
    plain = columns_of(output_of(key, b"v") for key in keys)
    dated = columns_of(output_of(key, b"v", timestamp=1) for key in keys)
    committer = bench.committer()
    committer.commit({out: plain}, {}, {})
    committer.commit({out: dated}, {}, {})
    found = [(message.key() or b"", message.partition()) for message in bench.read(out, 7)]
    assert sorted(found) == sorted(2 * [(key, partition_for(key, 7)) for key in keys])


def test_records_produced_early_count_with_their_commit_only(
    once: Bench, make_topic: MakeTopic, topic_prefix: str
) -> None:
    """After abort() early records are gone; after commit() they are there once, before the later ones."""
    out = make_topic(topic_prefix + "out", 1)
    committer = once.committer()
    committer.produce_early({out: records(b"dropped")})
    committer.abort()
    committer.produce_early({out: records(b"early")})
    committer.commit({out: records(b"late")}, {}, {})
    assert [message.value() for message in once.read(out)] == [b"early", b"late"]


def test_pending_offsets_are_waited_for(once: Bench, make_topic: MakeTopic, topic_prefix: str) -> None:
    """Offsets of an open transaction are neither returned nor skipped (H22): the call waits, and then says so."""
    source = make_topic(topic_prefix + "in", 1)
    producer = open_transactional_producer(once.settings, once.slot, once.connection, 30.0)
    producer.begin_transaction()
    group = once.consumer.consumer_group_metadata()
    producer.send_offsets_to_transaction([TopicPartition(source, 0, 9)], group)
    with pytest.raises(BrokerUnreachable):
        read_committed_positions(once.consumer, [TP(source, 0)], 1.0)
    once.committer()
    assert read_committed_positions(once.consumer, [TP(source, 0)], 10.0)[TP(source, 0)].offset is None


def test_record_over_the_client_limit_is_refused(bench: Bench, make_topic: MakeTopic, topic_prefix: str) -> None:
    """The refusal names topic and key, and nothing of the commit is left to be committed."""
    out = make_topic(topic_prefix + "out", 1)
    committer = bench.committer()
    with pytest.raises(RecordRefused) as caught:
        committer.commit({out: columns_of([output_of(b"k", b"ok"), output_of(b"big", b"x" * 2_000_000)])}, {}, {})
    assert (caught.value.topic, caught.value.key, caught.value.verdict) == (out, b"big", "refused")


def test_record_over_the_topic_limit_is_refused(bench: Bench, make_topic: MakeTopic, topic_prefix: str) -> None:
    """The brokers' refusal comes out of commit() as "refused"; the offsets are not committed."""
    out, source = make_topic(topic_prefix + "out", 1, {"max.message.bytes": "2000"}), make_topic(topic_prefix + "in", 1)
    committer = bench.committer()
    with pytest.raises(ResetNeeded) as caught:
        committer.commit({out: records(b"x" * 5000)}, {}, {TP(source, 0): (3, "")})
    assert caught.value.verdict == "refused"
    committer.close()
    if bench.settings.exactly_once:
        bench.committer()
    assert read_committed_positions(bench.consumer, [TP(source, 0)], 10.0)[TP(source, 0)].offset is None


def test_refusal_is_told_also_when_it_comes_while_offsets_are_sent(
    once: Bench, make_topic: MakeTopic, topic_prefix: str
) -> None:
    """librdkafka then ends that call with an error of its own, which does not say why: about one time in ten here."""
    out, source = make_topic(topic_prefix + "out", 1, {"max.message.bytes": "2000"}), make_topic(topic_prefix + "in", 1)
    committer = once.committer()
    told: list[str] = []
    for number in range(100):
        committer.produce_early({out: records(b"x" * 5000)})
        # The record leaves after 5 ms of linger, and its answer is on the way when the offsets are.
        threading.Event().wait(0.006 + 0.00001 * number)
        with pytest.raises(ResetNeeded) as caught:
            committer.commit({}, {}, {TP(source, 0): (3, "")})
        if caught.value.verdict != "refused":
            told.append(str(caught.value))
        committer.abort()
    assert told == []


def test_state_is_not_written_before_its_outputs(bench: Bench, make_topic: MakeTopic, topic_prefix: str) -> None:
    """When an output does not land, its state does not either: an agent that saw it would not send the output again."""
    out, log = make_topic(topic_prefix + "out", 1, {"max.message.bytes": "2000"}), make_topic(topic_prefix + "log", 1)
    committer = bench.committer()
    with pytest.raises(ResetNeeded):
        committer.commit({out: records(b"x" * 5000)}, {TP(log, 0): records(b"1")}, {})
    committer.close()
    if bench.settings.exactly_once:
        bench.committer()
    assert bench.read(log) == []


def test_begins_and_ends_of_many_partitions(once: Bench, make_topic: MakeTopic, topic_prefix: str) -> None:
    """An open transaction moves the end."""
    out = make_topic(topic_prefix + "out", 3)
    committer = once.committer()
    committer.commit({out: columns_of([output_of(b"k", b"1", partition=1)])}, {}, {})
    tps = [TP(out, number) for number in range(3)]
    committer.produce_early({out: columns_of([output_of(b"k", b"2", partition=2)])})
    deadline = time.monotonic() + 20
    while once.offsets.end_offsets(tps)[TP(out, 2)] == 0:
        assert time.monotonic() < deadline
    assert once.offsets.end_offsets(tps) == {TP(out, 0): 0, TP(out, 1): 2, TP(out, 2): 1}
    assert once.offsets.begin_offsets(tps) == dict.fromkeys(tps, 0)


def test_a_topic_that_was_missed_once_is_found(once: Bench, make_topic: MakeTopic, topic_prefix: str) -> None:
    """What the client remembers of a topic that was not there is not believed once it is."""
    for name in [f"{topic_prefix}late-{number}" for number in range(5)]:
        tp = TP(name, 0)
        with pytest.raises(ResetNeeded) as caught:
            # It is looked for until then.
            once.offsets.end_offsets([tp], timeout=1.0)
        assert caught.value.verdict == "missing"
        make_topic(name, 1)
        assert once.offsets.end_offsets([tp]) == {tp: 0}


def test_unreachable_broker_is_named_within_the_time_out() -> None:
    """Opening, positions and offsets each end with BrokerUnreachable when nothing listens."""
    settings = Settings(id="nobody", broker="kafka://127.0.0.1:1", transaction_timeout=1.0)
    connection = Connection()
    began = time.monotonic()
    with pytest.raises(BrokerUnreachable, match=r"127\.0\.0\.1:1"):
        open_transactional_producer(settings, "nobody-slot-0", connection, 1.0)
    with pytest.raises(BrokerUnreachable):
        Offsets(settings, connection).end_offsets([TP("t", 0)], timeout=0.5)
    consumer: Consumer = open_consumer(settings, connection)
    with pytest.raises(BrokerUnreachable):
        read_committed_positions(consumer, [TP("t", 0)], 0.5)
    assert time.monotonic() - began < 10

    def last_error() -> str | None:
        consumer.consume(1, 0.1)
        return connection.last_error

    eventually(last_error, 10, "the connection has an error")


def test_a_topic_that_is_gone_is_no_fault_of_the_record() -> None:
    """A deleted topic may come back, so it means a reset; a partition that never was, or a size, is for the app."""
    assert not is_refused(KafkaError(KafkaError._UNKNOWN_TOPIC))
    assert not is_refused(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
    assert is_refused(KafkaError(KafkaError._UNKNOWN_PARTITION))
    assert is_refused(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))


def test_offsets_that_an_open_transaction_holds_back_are_not_called_a_dead_broker(
    once: Bench, make_topic: MakeTopic, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who reads the message at night restarts the right thing."""
    source = make_topic(f"{topic_prefix}in", 1)
    producer = open_transactional_producer(once.settings, once.slot, once.connection, 30.0)
    producer.begin_transaction()
    held = [TopicPartition(source, 0, 5)]
    producer.send_offsets_to_transaction(held, once.consumer.consumer_group_metadata(), 30.0)
    monkeypatch.setattr(positions, "POSITIONS_SECONDS_MAX", 1.0)
    clients = Clients.open(once.settings, f"{once.slot}-other", 30.0, 10**6)
    tasks = {TaskId(0, 0): [TP(source, 0)]}
    try:
        with pytest.raises(BrokerUnreachable, match=r"answers, and has held back .* 1 partitions .*docs/hosts.md"):
            positions.start_positions(clients, once.settings, tasks, Past({}, {}), {}, {})
        producer.abort_transaction(30.0)
        found = positions.start_positions(clients, once.settings, tasks, Past({}, {}), {}, {})
        assert not found[TaskId(0, 0)].has_committed
    finally:
        clients.close()
