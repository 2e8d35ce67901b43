"""Records on a real broker, from outside of the app: produced with their acknowledged offsets, read when committed.

It decides nothing about right and wrong.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from tests.process.checker import Row
from tests.process.waiting import eventually, pause

Headers = dict[str, bytes]
REQUEST_SECONDS = 30.0
_BATCHES_A_SECOND = 20
_PURGED = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)
# A call that runs callbacks ends with the second when one of them ran after a fatal error (confluent-kafka 2.16).
_FATAL_ERRORS = (KafkaException, SystemError)
# A client that asks a lone broker which has just come back may hear of none, and then never again (librdkafka 5301).
# Others must be answered so often, so long after each other: a healthy one may take 10 s to connect again.
_QUIET_SECONDS = 12.0
_QUIET_LOOKS = 2


def send(bootstrap: str, topic: str, rows: Iterable[Row], partition: int | None = None) -> dict[tuple[int, int], Row]:
    """Produce rows and wait for all acknowledgements; (partition, offset) -> row."""
    feed = Feed(bootstrap, topic, iter(rows), rate=None, partition=partition)
    feed.run()
    return feed.acked


class Feed:
    """A producer in a thread: rows at a steady rate, or as fast as it goes, until they or the time end.

    A producer that does not hear brokers which others hear is replaced, and what it had is sent again: then rows may be
    there twice, and not in their order. stamp: the timestamp of a row, in ms; None: when it is sent.

    may_miss: rows may be given up on. An idempotent producer that has lost count with its brokers is then replaced,
    too; it is not known of its last rows whether they are there, and they are not sent again.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        rows: Iterable[Row],
        *,
        rate: int | None,
        partition: int | None = None,
        may_miss: bool = False,
        stamp: Callable[[Row], int] | None = None,
    ) -> None:
        self._bootstrap = bootstrap
        self._producer = self._open()
        self._may_miss = may_miss
        self._topic = topic
        self._rows = iter(rows)
        self._rate = rate
        self._stamp = stamp
        # -1 lets the key decide.
        self._partition = -1 if partition is None else partition
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self.run, daemon=True)
        # time.monotonic() when it was last told of a record, had none to be told of, or was found to be quiet.
        self._heard_at = time.monotonic()
        self._quiet_looks = 0
        # What a producer that was replaced still had, and is to be sent again.
        self._again: list[Row] = []
        # (partition, offset) -> record; the offset is negative where the broker could not tell it any more.
        self.acked: dict[tuple[int, int], Row] = {}
        self.errors: list[KafkaError] = []

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more, and wait until everything sent is acknowledged, or (if it may be) given up on."""
        self._enough.set()
        self._thread.join(REQUEST_SECONDS * 3)
        assert not self._thread.is_alive(), "the producer did not end"
        assert self._may_miss or not self.errors, self.errors[:3]

    def run(self) -> None:
        """Send until there is no more, or `stop`."""
        begin = time.monotonic()
        for sent, row in enumerate(self._rows, 1):
            if self._enough.is_set():
                break
            self._send(row)
            if self._rate is not None and sent % max(1, self._rate // _BATCHES_A_SECOND) == 0:
                self._serve(lambda: self._producer.poll(0))
                self._replace_if_deaf()
                pause(max(0.0, begin + sent / self._rate - time.monotonic()))
        deadline = time.monotonic() + 2 * REQUEST_SECONDS
        while left := self._serve(lambda: self._producer.flush(1.0)):
            assert time.monotonic() < deadline, f"{left} records were not acknowledged"
            self._replace_if_deaf()

    def _open(self) -> Producer:
        return Producer(
            {
                "bootstrap.servers": self._bootstrap,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "linger.ms": 5,
                # Brokers that are away are what tests are about; what is lost is in `errors`.
                "log_level": 2,
                "message.max.bytes": 10_000_000,
            }
        )

    def _serve(self, call: Callable[[], int]) -> int:
        """Make a call that runs callbacks, which raises when the producer has had a fatal error."""
        try:
            return call()
        except _FATAL_ERRORS as error:
            self._replace(error)
            return 0

    def _replace(self, error: Exception) -> None:
        """Go on with a new producer after a fatal error; what the old one still had is told as errors."""
        if not self._may_miss:
            raise error
        self._producer.purge()
        with contextlib.suppress(*_FATAL_ERRORS):
            self._producer.poll(1.0)
        self._producer = self._open()

    def _replace_if_deaf(self) -> None:
        """Go on with a new producer when this one hears nothing, and another client does."""
        if not len(self._producer):
            self._is_heard()
        if time.monotonic() - self._heard_at < _QUIET_SECONDS:
            return
        self._heard_at = time.monotonic()
        other = self._open()
        if not is_answered(other, self._topic):
            return
        self._quiet_looks += 1
        if self._quiet_looks < _QUIET_LOOKS:
            return
        self._producer.purge()
        self._producer.flush(REQUEST_SECONDS)
        self._producer = other
        again, self._again = self._again, []
        for row in again:
            self._send(row)

    def _is_heard(self) -> None:
        self._heard_at = time.monotonic()
        self._quiet_looks = 0

    def _send(self, row: Row) -> None:
        def delivered(error: KafkaError | None, message: Message) -> None:
            self._is_heard()
            if error is not None and error.code() in _PURGED and not self._may_miss:
                self._again.append(row)
            elif error is not None:
                self.errors.append(error)
            else:
                partition, offset = message.partition(), message.offset()
                assert partition is not None
                # A record that was sent again after a broker's death is known to be there already, but not where.
                self.acked[partition, -1 - len(self.acked) if offset is None else offset] = row

        while True:
            try:
                self._producer.produce(
                    self._topic,
                    row.value,
                    row.key.encode(),
                    self._partition,
                    on_delivery=delivered,
                    # 0: now.
                    timestamp=0 if self._stamp is None else self._stamp(row),
                )
            except BufferError:
                self._serve(lambda: self._producer.poll(0.1))
                self._replace_if_deaf()
            except KafkaException as error:
                self._replace(error)
            else:
                return


def is_answered(client: Producer, topic: str) -> bool:
    """Whether brokers answer a client that was just opened."""
    try:
        return bool(client.list_topics(topic, timeout=2.0).brokers)
    except KafkaException:
        return False


class Reader:
    """Reads what is on topics, without a group of its own that matters."""

    def __init__(self, bootstrap: str) -> None:
        self._config = {
            "bootstrap.servers": bootstrap,
            "group.id": "process-tests-reader",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
        }
        self._consumer = Consumer({**self._config, "isolation.level": "read_committed"})
        self._uncommitted = Consumer({**self._config, "isolation.level": "read_uncommitted"})

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has."""
        return len(self._uncommitted.list_topics(topic, timeout=REQUEST_SECONDS).topics[topic].partitions)

    def messages(self, topic: str) -> dict[int, list[Message]]:
        """Every committed record of a topic up to its end, by partition; waits for transactions that are ending."""
        eventually(lambda: self.is_settled(topic), REQUEST_SECONDS, f"no transaction is open on {topic}")
        found: dict[int, list[Message]] = {number: [] for number in range(self.partitions(topic))}
        self.scan(topic, lambda partition, message: found[partition].append(message))
        return found

    def scan(
        self,
        topic: str,
        take: Callable[[int, Message], object],
        seconds: float = 2 * REQUEST_SECONDS,
        begin: Mapping[int, int] | None = None,
    ) -> None:
        """Hand over every committed record of a topic up to its last stable offset, with its partition.

        begin: where to begin, if not with the oldest, by partition.
        """
        count = self.partitions(topic)
        begins = [(begin or {}).get(number, OFFSET_BEGINNING) for number in range(count)]
        self._consumer.assign([TopicPartition(topic, number, begins[number]) for number in range(count)])
        ended: set[int] = set()
        deadline = time.monotonic() + seconds
        while len(ended) < count:
            assert time.monotonic() < deadline, f"{topic}: only partitions {sorted(ended)} came to their end"
            for message in self._consumer.consume(5000, 0.2):
                partition = message.partition()
                assert partition is not None
                error = message.error()
                if error is None:
                    take(partition, message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended.add(partition)
        self._consumer.unassign()

    def follow(self, topic: str, take: Callable[[int, Message], object], ended: threading.Event) -> None:
        """Hand over every committed record of a topic from the oldest on, until `ended`."""
        self._consumer.assign(
            [TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(self.partitions(topic))]
        )
        while not ended.is_set():
            for message in self._consumer.consume(5000, 0.2):
                partition = message.partition()
                assert partition is not None
                if message.error() is None:
                    take(partition, message)
        self._consumer.unassign()

    def rows(self, topic: str) -> dict[int, list[Row]]:
        """Every committed record of a topic as key and value, by partition."""
        return {number: [row_of(message) for message in part] for number, part in self.messages(topic).items()}

    def count(self, topic: str) -> int:
        """How many committed records a topic has."""
        return sum(len(part) for part in self.messages(topic).values())

    def ends(self, topics: Sequence[str]) -> dict[tuple[str, int], tuple[int, int]]:
        """Last stable offset and high watermark of every partition: they differ while a transaction is open."""
        return {
            (topic, number): (self._end(self._consumer, topic, number), self._end(self._uncommitted, topic, number))
            for topic in topics
            for number in range(self.partitions(topic))
        }

    def is_reached(self, positions: Mapping[tuple[str, int], int]) -> bool:
        """Whether these "next" positions are at the ends that the partitions have now."""
        return all(at >= self.high(topic, partition) for (topic, partition), at in positions.items())

    def is_settled(self, topic: str) -> bool:
        """Whether every transaction on a topic has ended, and its end is visible."""
        return all(stable == high for stable, high in self.ends([topic]).values())

    def high(self, topic: str, partition: int) -> int:
        """The end of a partition, open transactions included."""
        return self._end(self._uncommitted, topic, partition)

    @staticmethod
    def _end(consumer: Consumer, topic: str, partition: int) -> int:
        found: list[int] = []

        def ask() -> bool:
            try:
                answer = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=REQUEST_SECONDS)
            except KafkaException as error:
                # Of a partition that was made a moment ago, and of a broker that has just come back.
                if not error.args[0].retriable() and error.args[0].code() != KafkaError.NOT_LEADER_FOR_PARTITION:
                    raise
                return False
            found.extend(answer)
            return True

        eventually(ask, REQUEST_SECONDS, f"{topic}[{partition}] says its end")
        return found[1]

    def committed(self, group: str, topic: str, *, ended: bool = False) -> dict[int, int]:
        """The committed "next" offset per partition; partitions without one are left out.

        ended: the group's transactions are over or about to be, and the last one counts.
        """
        asked = [TopicPartition(topic, number) for number in range(self.partitions(topic))]
        return {tp.partition: tp.offset for tp in self._of_group(group, asked, ended=ended) if tp.offset >= 0}

    def metadata(self, group: str, topic: str, partition: int) -> str:
        """The text committed with an offset."""
        return str(self._of_group(group, [TopicPartition(topic, partition)], ended=False)[0].metadata or "")

    def _of_group(self, group: str, asked: list[TopicPartition], *, ended: bool) -> list[TopicPartition]:
        # With read_committed the broker answers only when no transaction is open on the group.
        level = "read_committed" if ended else "read_uncommitted"
        consumer = Consumer({**self._config, "group.id": group, "isolation.level": level})
        found: list[TopicPartition] = []

        def ask() -> bool:
            try:
                found.extend(consumer.committed(asked, timeout=REQUEST_SECONDS))
            except KafkaException as error:
                # Of a group whose coordinator has just come to be.
                if error.args[0].code() not in (KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS):
                    raise
                return False
            return True

        eventually(ask, REQUEST_SECONDS, f"group {group} says its offsets")
        consumer.close()
        return found

    def close(self) -> None:
        """Let go of the connections."""
        self._consumer.close()
        self._uncommitted.close()


def row_of(message: Message) -> Row:
    """Key and value of a record."""
    key = message.key()
    return Row("" if key is None else key.decode(), message.value())


def headers_of(message: Message) -> Headers:
    """A record's headers by name."""
    found = message.headers() or []
    return {str(name): value for name, value in list(found) if isinstance(value, bytes)}


def values(rows: Mapping[int, Sequence[Row]]) -> list[bytes | None]:
    """All values, partition by partition."""
    return [row.value for number in sorted(rows) for row in rows[number]]
