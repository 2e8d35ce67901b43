"""Records as columns, taken in C and made of the client's messages: the same ones, and nothing is kept of them."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from streamcluster.batch import Batch, KafkaRecord
from streamcluster.ids import TP
from streamcluster.kafka.opening import Connection, KafkaError
from streamcluster.output import OutputRecord
from streamcluster.settings import Settings
from streamcluster_worker.kafka.batches import Instead, batches_of, take
from streamcluster_worker.kafka.consumers import open_changelog_consumer, open_consumer
from streamcluster_worker.kafka.native import is_taken_natively, take_natively, with_plugin
from streamcluster_worker.kafka.producers import open_producer
from tests.columns import columns_of
from tests.conftest import MakeTopic
from tests.process.poison import send_with_headers
from tests.process.waiting import eventually
from tests.worker.committing import LEAK_RECORDS, PATHS, SECONDS, leak_timeout
from tests.worker.test_native import MIB, NOBODY, mixed_records, needs_native, sender_of

Place = tuple[TP, int]
Headers = list[tuple[str, str | bytes | None]]


def write(broker_url: str, topic: str, records: list[OutputRecord]) -> None:
    """Send them, and wait until they are there."""
    sender = sender_of(Settings(id="writes", broker=broker_url))
    sender.produce(topic, columns_of(records), time.monotonic() + SECONDS)
    sender.flush(time.monotonic() + SECONDS)
    sender.close()


def take_to_the_end(consumer: Consumer, positions: dict[TP, int], count: int) -> Iterator[Batch | Instead]:
    """What comes until each partition has ended, or has said that it cannot be read there."""
    consumer.incremental_assign([TopicPartition(tp.topic, tp.partition, at) for tp, at in positions.items()])
    left = set(positions)
    deadline = time.monotonic() + SECONDS
    while left:
        assert time.monotonic() < deadline, left
        for one in take(consumer, count, 0.05):
            if isinstance(one, Instead):
                left.discard(one.tp)
            yield one


@needs_native
def test_both_ways_take_the_same(broker_url: str, make_topic: MakeTopic, topic_prefix: str) -> None:
    """Records of all kinds, with headers that cannot be read among them; ends, and an offset that is not there."""
    topic, short = make_topic(topic_prefix + "in", 4), make_topic(topic_prefix + "short", 1)
    records = mixed_records(random.Random(7), 3000, 4)
    write(broker_url, topic, records)
    bad = [(b"fine", b"1"), (b"\xff", b"2")]
    send_with_headers(broker_url.removeprefix("kafka://"), topic, 0, b"bad", bad)
    positions = {TP(topic, number): 0 for number in range(4)} | {TP(short, 0): 10**6}
    taken: list[dict[Place, KafkaRecord]] = []
    instead: list[set[tuple[TP, int, int, str]]] = []
    for native in (False, True):
        consumer = open_changelog_consumer(Settings(id="takes", broker=broker_url, native=native), Connection())
        assert is_taken_natively(consumer) is native
        came = [*take_to_the_end(consumer, positions, 500)]
        consumer.close()
        batches = [one for one in came if isinstance(one, Batch)]
        for one in batches:
            assert list(one.offsets) == sorted(one.offsets)
            assert {len(column) for column in (one.offsets, one.timestamps, one.keys)} == {len(one)}
            assert one.headers is None or any(one.headers)
        found = [(one.tp, one.record(at)) for one in batches for at in range(len(one))]
        taken.append({(tp, record.offset): record for tp, record in found})
        others = [one for one in came if isinstance(one, Instead)]
        instead.append({(one.tp, one.offset, one.error.code(), one.error.str()) for one in others})
    assert len(taken[0]) == len(records) + 1
    assert taken[0] == taken[1]
    assert any(isinstance(record.headers, str) for record in taken[0].values())
    assert instead[0] == instead[1]
    assert {code for _, _, code, _ in instead[0]} == {KafkaError._PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET}


@pytest.mark.parametrize("native", PATHS)
def test_callbacks_are_served(native: bool) -> None:
    """That no broker is there is told to the connection, from within the call; and what waits goes on."""
    connection = Connection()
    consumer = open_consumer(Settings(id="calls", broker=NOBODY, native=native), connection)
    assert is_taken_natively(consumer) is native

    def is_told() -> bool:
        assert take(consumer, 1, 0.05) == []
        return connection.down_since is not None

    eventually(is_told, SECONDS, "the connection hears that it is down")
    consumer.close()


@pytest.mark.parametrize("native", PATHS)
def test_what_a_callback_raises_is_raised(native: bool) -> None:
    """As by the client's own call, whose error it is; once, since closing serves callbacks too."""
    told: list[str | None] = []

    def raises(error: KafkaError) -> None:
        told.append(error.name())
        if len(told) == 1:
            raise LookupError(error.name())

    config = with_plugin(Settings(id="any", native=native), {"bootstrap.servers": "127.0.0.1:1", "group.id": "any"})
    consumer = Consumer({**config, "error_cb": raises, "log_level": 0})
    assert is_taken_natively(consumer) is native

    def has_raised() -> bool:
        try:
            take(consumer, 10, 0.05)
        except LookupError:
            return True
        return False

    eventually(has_raised, SECONDS, "the error comes through")
    consumer.close()


@leak_timeout
@pytest.mark.parametrize("native", PATHS)
def test_records_are_taken_in_bounded_memory(
    broker_url: str, make_topic: MakeTopic, topic_prefix: str, native: bool
) -> None:
    """A million with headers, tombstones and no key, 50 million in the long form: nothing of them is kept."""
    topic = make_topic(topic_prefix + "in", 2)
    kinds: list[OutputRecord] = [
        (b"key", b"v" * 50, 0, 0, None),
        (b"key", None, 0, 0, [("name", b"value"), ("null", None)]),
        (None, b"v" * 50, 1, 0, None),
        (b"", b"", 1, 0, [("name", b"x" * 100)]),
    ]
    count = 40_000
    write(broker_url, topic, [kinds[number // 5000 % 4] for number in range(count)])
    settings = Settings(id="many", broker=broker_url, native=native)
    consumer = open_changelog_consumer(settings, Connection())
    memory: list[int] = []
    for _ in range(LEAK_RECORDS // count):
        positions = {TP(topic, 0): 0, TP(topic, 1): 0}
        came = [len(one) for one in take_to_the_end(consumer, positions, 5000) if isinstance(one, Batch)]
        assert sum(came) == count
        consumer.incremental_unassign([TopicPartition(topic, 0), TopicPartition(topic, 1)])
        memory.append(psutil.Process().memory_info().rss)
    consumer.close()
    # The first rounds fill the pools of both allocators.
    assert memory[-1] - memory[8] < 16 * MIB, [number // MIB for number in memory]


@needs_native
def test_only_an_open_consumer_is_taken_from() -> None:
    """Closed, a producer, anything: refused, and so are counts and times that make no sense."""
    settings = Settings(id="refuses", broker=NOBODY)
    closed = open_consumer(settings, Connection())
    closed.close()
    for nothing in (closed, open_producer(settings, Connection()), object(), None):
        with pytest.raises(ValueError, match="no open consumer"):
            take_natively(nothing, 1, 0)  # type: ignore[arg-type]
    consumer = open_consumer(settings, Connection())
    for count, seconds in ((0, 0.0), (-1, 0.0), (1_000_001, 0.0), (1, -1.0), (1, 601.0)):
        with pytest.raises(ValueError, match="out of range"):
            take_natively(consumer, count, seconds)
    consumer.close()


@needs_native
def test_closing_waits_for_who_takes() -> None:
    """Threads take while the consumer is closed: each ends with nothing, or with a refusal."""
    for _ in range(20):
        consumer = open_consumer(Settings(id="closes", broker=NOBODY), Connection())
        wrong: list[BaseException] = []
        closed = threading.Event()

        def go(
            consumer: Consumer = consumer,
            wrong: list[BaseException] = wrong,
            closed: threading.Event = closed,
        ) -> None:
            try:
                while True:
                    assert take_natively(consumer, 100, 0.01) == []
                    # Who waits for its turn in a consumer sleeps and looks again: others must leave it room.
                    closed.wait(0.01)
            except ValueError:
                return
            except BaseException as error:  # noqa: BLE001 (told by the thread that waits)
                wrong.append(error)

        threads = [threading.Thread(target=go) for _ in range(3)]
        for thread in threads:
            thread.start()
        consumer.close()
        closed.set()
        for thread in threads:
            thread.join(SECONDS)
            assert not thread.is_alive()
        assert wrong == []


class Brittle:
    """A message whose headers cannot be read: who asks a second time would be killed."""

    def __init__(self, message: Message) -> None:
        self._message = message
        self._asked = 0

    def topic(self) -> str | None:
        """As it is."""
        return self._message.topic()

    def partition(self) -> int | None:
        """As it is."""
        return self._message.partition()

    def error(self) -> None:
        """There is none."""

    def key(self) -> object:
        """As it is."""
        return self._message.key()

    def value(self) -> object:
        """As it is."""
        return self._message.value()

    def offset(self) -> int | None:
        """As it is."""
        return self._message.offset()

    def headers(self) -> Headers:
        """What the client does (2.16), without the end."""
        self._asked += 1
        assert self._asked == 1, "asked again, which ends the process"
        raise SystemError("returned a result with an exception set")


def test_headers_that_cannot_be_read_are_asked_for_once() -> None:
    """The others of the batch are as they are."""

    def made(offset: int, headers: Headers | None) -> Message:
        return Message(topic="t", partition=0, offset=offset, key=b"k", value=b"v", headers=headers)

    plain = [made(number, [("h", b"1")] if number == 3 else None) for number in range(5)]
    assert [one.headers for one in batches_of(plain[:3]) if isinstance(one, Batch)] == [None]
    brittle: list[Any] = [Brittle(made(0, None)), Brittle(made(1, None))]
    [batch] = batches_of(brittle)
    assert isinstance(batch, Batch)
    assert batch.headers is not None
    assert [type(one) for one in batch.headers] == [str, str]
    assert [*batch.offsets] == [0, 1]
    [batch] = batches_of(plain)
    assert isinstance(batch, Batch)
    assert [*(batch.headers or ())] == [None, None, None, [("h", b"1")], None]
