"""The yardstick: the same work in plain confluent-kafka loops, as well as one can write them by hand.

Run as `python -m tests.bench.bare WORK ...`, one process per pair of partitions. It decides how much a framework may
cost at all, so it does nothing that the work does not need, and it imports nothing of streamcluster.
"""

from __future__ import annotations

import argparse
import gc
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from rocksdict import Options, Rdict, WriteBatch

CONSUME_RECORDS = 10_000
QUEUED_RECORDS_MAX = 500_000
GIVE_UP_S = 30.0


class Order(msgspec.Struct, gc=False):
    """The value of an order (orders.py)."""

    account_id: str
    amount: int
    currency: str
    country: str
    product: str
    sent_at: int


decode: Callable[[Any], Order] = msgspec.json.Decoder(Order).decode
encode = msgspec.json.Encoder().encode


class Session:
    """One producer, the consumers that feed it, and a commit at either guarantee."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._client = {
            "bootstrap.servers": options.bootstrap,
            # As the workers have it: the defaults wait 100 ms and more between two transactions.
            "retry.backoff.ms": 5,
            "retry.backoff.max.ms": 50,
        }
        self._group = options.group
        self._exactly_once = options.guarantee == "exactly_once"
        self._consumers: list[tuple[Consumer, list[TopicPartition]]] = []
        config: dict[str, Any] = {
            **self._client,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "linger.ms": 5,
            "queue.buffering.max.messages": 2 * QUEUED_RECORDS_MAX,
            "queue.buffering.max.kbytes": 512 * 1024,
            "delivery.report.only.error": True,
            "on_delivery": _stop_on_error,
        }
        if self._exactly_once:
            config["transactional.id"] = f"{options.group}-{options.partitions[0]}"
        self.producer = Producer(config)
        if self._exactly_once:
            self.producer.init_transactions(GIVE_UP_S)
            self.producer.begin_transaction()

    def consumer(self, topic: str, partitions: Sequence[int]) -> Consumer:
        """A consumer of these partitions, from the start; its positions become part of each commit."""
        consumer = Consumer(
            {
                **self._client,
                "group.id": self._group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed" if self._exactly_once else "read_uncommitted",
                "fetch.queue.backoff.ms": 5,
                "queued.min.messages": 100_000,
                "queued.max.messages.kbytes": 32 * 1024,
            }
        )
        assigned = [TopicPartition(topic, partition, 0) for partition in partitions]
        consumer.assign(assigned)
        self._consumers.append((consumer, assigned))
        return consumer

    def send(self, topic: str, batch: list[dict[str, Any]]) -> None:
        """Queue a batch; waits while librdkafka's queue is full."""
        producer = self.producer
        while len(producer) > QUEUED_RECORDS_MAX:
            producer.poll(0.005)
        if producer.produce_batch(topic, batch) != len(batch):
            raise RuntimeError(f"librdkafka refused records of a batch for {topic}.")
        producer.poll(0)

    def commit(self) -> None:
        """Commit outputs and positions, and begin anew."""
        for consumer, assigned in self._consumers:
            positions = [found for found in consumer.position(assigned) if found.offset >= 0]
            if not positions:
                continue
            if self._exactly_once:
                self.producer.send_offsets_to_transaction(positions, consumer.consumer_group_metadata(), GIVE_UP_S)
            else:
                self.producer.flush(GIVE_UP_S)
                consumer.commit(offsets=positions, asynchronous=False)
        if self._exactly_once:
            self.producer.commit_transaction(GIVE_UP_S)
            self.producer.begin_transaction()


class Totals:
    """A table by hand: a dict in front of RocksDB, and a changelog."""

    def __init__(self, session: Session, changelog: str, directory: str) -> None:
        self._session = session
        self._changelog = changelog
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        self._database = Rdict(directory, options)
        self._totals: dict[str, int] = {}
        self._changed: dict[str, int] = {}

    def add(self, orders: Sequence[Order]) -> None:
        """Add each order's amount to its account."""
        totals, changed, read = self._totals, self._changed, self._read
        for order in orders:
            key = order.account_id
            total = totals.get(key)
            if total is None:
                total = read(key)
            changed[key] = totals[key] = total + order.amount

    def commit(self) -> None:
        """Changelog first, then the transaction, then RocksDB."""
        rows = [(key.encode(), b"%d" % total) for key, total in self._changed.items()]
        self._changed.clear()
        if rows:
            self._session.send(self._changelog, [{"key": key, "value": value} for key, value in rows])
        self._session.commit()
        batch = WriteBatch(raw_mode=True)
        rows.sort()
        for key, value in rows:
            batch[key] = value
        self._database.write(batch)

    def _read(self, key: str) -> int:
        found = self._database.get(key.encode())
        return 0 if found is None else int(found)


def count(options: argparse.Namespace) -> None:
    """Sum the amounts per account in a table with a changelog."""
    session = Session(options)
    totals = Totals(session, options.changelog, options.state_dir)
    consumer = session.consumer(options.source, options.partitions)

    def step() -> None:
        messages = consumer.consume(CONSUME_RECORDS, 0.05)
        orders = [decode(message.value()) for message in messages if message.error() is None]
        totals.add(orders)
        _check(messages, len(orders))

    _repeat(step, totals.commit, options.commit_interval)


def mapping(options: argparse.Namespace) -> None:
    """Decode, change, encode, produce under the same key."""
    session = Session(options)
    consumer = session.consumer(options.source, options.partitions)

    def step() -> None:
        batch = []
        messages = consumer.consume(CONSUME_RECORDS, 0.05)
        for message in messages:
            if message.error() is None:
                order = decode(message.value())
                order.amount += 1
                batch.append({"key": message.key(), "value": encode(order)})
        _check(messages, len(batch))
        if batch:
            session.send(options.output, batch)

    _repeat(step, session.commit, options.commit_interval)


def grouped(options: argparse.Namespace) -> None:
    """Send each order to a repartition topic under its account; count per account what comes out of there."""
    session = Session(options)
    totals = Totals(session, options.changelog, options.state_dir)
    source = session.consumer(options.source, options.partitions)
    regrouped = session.consumer(options.output, options.partitions)

    def step() -> None:
        batch = []
        messages = source.consume(CONSUME_RECORDS, 0)
        for message in messages:
            if message.error() is None:
                value = message.value()
                batch.append({"key": decode(value).account_id, "value": value})
        _check(messages, len(batch))
        if batch:
            session.send(options.output, batch)
        # Waiting is right only where nothing came from the other side.
        messages = regrouped.consume(CONSUME_RECORDS, 0 if batch else 0.02)
        orders = [decode(message.value()) for message in messages if message.error() is None]
        totals.add(orders)
        _check(messages, len(orders))

    _repeat(step, totals.commit, options.commit_interval)


def _repeat(step: Callable[[], None], commit: Callable[[], None], commit_interval_s: float) -> None:
    """Run `step` until SIGTERM, and `commit` every `commit_interval_s`."""
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopping.append(number))
    # Nothing here makes cycles, and the lists of a batch would have the collector run a dozen times over each.
    gc.disable()
    commit_at = time.monotonic() + commit_interval_s
    while not stopping:
        step()
        now = time.monotonic()
        if now >= commit_at:
            commit()
            commit_at = now + commit_interval_s
    commit()


def _check(messages: Sequence[Message], sound: int) -> None:
    """Raise for the first lasting error among `messages`, of which `sound` were records."""
    if sound == len(messages):
        return
    for message in messages:
        error = message.error()
        if error is not None and not error.retriable():
            raise RuntimeError(f"the consumer reports: {error}")


def _stop_on_error(error: object, message: Message) -> None:
    raise RuntimeError(f"a record for {message.topic()} was not delivered: {error}")


WORKS = {"count": count, "mapping": mapping, "grouped": grouped}


def main() -> None:
    """Read the options and run one work."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=sorted(WORKS))
    for name in ("bootstrap", "group", "source", "output", "changelog", "state-dir"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--guarantee", choices=("exactly_once", "at_least_once"), required=True)
    parser.add_argument("--partitions", type=lambda text: [int(part) for part in text.split(",")], required=True)
    parser.add_argument("--commit-interval", type=float, default=1.0)
    options = parser.parse_args()
    WORKS[options.work](options)


if __name__ == "__main__":
    main()
