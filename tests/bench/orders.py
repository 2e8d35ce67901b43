"""The benches' input: 130-byte JSON orders, loaded into topics of 4 partitions with `produce_batch`.

It decides what the records look like. It must not know what is measured with them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from confluent_kafka import Producer

PARTITIONS = 4
KEYS = 50_000
# Records are made once and sent again and again: making one costs more than sending it.
BLOCK_RECORDS = 500_000
# librdkafka's queue is never filled beyond this, so that no record of a batch is refused.
QUEUED_RECORDS_MAX = 1_000_000
SEND_RECORDS = 10_000
VALUE_BYTES = 130

Record = dict[str, bytes]


def account(number: int) -> str:
    """The name of an account."""
    return f"account-{number:06}"


def order_json(account_id: str, amount: int, *, sent_at: int = 0) -> bytes:
    """One order of exactly VALUE_BYTES bytes. sent_at: nanoseconds of the monotonic clock, 0 where nobody looks."""
    text = (
        f'{{"account_id":"{account_id}","amount":{amount},"currency":"EUR","country":"DE","product":"",'
        f'"sent_at":{sent_at}}}'
    )
    filler = "p" * (VALUE_BYTES - len(text))
    return text.replace('"product":""', f'"product":"{filler}"').encode()


def keyed_orders(count: int, *, seed: int = 1) -> list[Record]:
    """Orders keyed by their account: a table of accounts finds each key on one partition."""
    choose = random.Random(seed)
    accounts = [account(choose.randrange(KEYS)) for _ in range(count)]
    return [{"key": name.encode(), "value": order_json(name, choose.randrange(1, 1000))} for name in accounts]


def scattered_orders(count: int, *, seed: int = 2) -> list[Record]:
    """Orders keyed by order number: `group_by` account has to move three of four to another partition."""
    choose = random.Random(seed)
    return [
        {
            "key": f"order-{choose.randrange(10**9):09}".encode(),
            "value": order_json(account(choose.randrange(KEYS)), choose.randrange(1, 1000)),
        }
        for _ in range(count)
    ]


def distinct_rows(count: int) -> Iterator[list[Record]]:
    """`count` records with distinct keys of 15 bytes and values of 43 (with JSON's quotes), in blocks."""
    for first in range(0, count, SEND_RECORDS):
        numbers = range(first, min(count, first + SEND_RECORDS))
        yield [{"key": f"row-{n:011}".encode(), "value": f'"{n:041}"'.encode()} for n in numbers]


def load_repeated(bootstrap: str, topic: str, block: list[Record], count: int) -> None:
    """Send `block` over and over until `topic` has got `count` records."""
    pieces = [block[first : first + SEND_RECORDS] for first in range(0, len(block), SEND_RECORDS)]

    def batches() -> Iterator[list[Record]]:
        left = count
        while left > 0:
            for piece in pieces:
                if left <= 0:
                    return
                yield piece[:left]
                left -= len(piece)

    load(bootstrap, topic, batches())


def load(bootstrap: str, topic: str, batches: Iterator[list[Record]]) -> None:
    """Send `batches` and wait until the broker has all of it; keys choose the partition as Java clients do."""
    failed: list[str] = []
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "linger.ms": 20,
            "batch.size": 1_000_000,
            "queue.buffering.max.messages": 2 * QUEUED_RECORDS_MAX,
            "queue.buffering.max.kbytes": 1024 * 1024,
            "delivery.report.only.error": True,
            "on_delivery": lambda error, _message: failed.append(str(error)),
        }
    )
    for batch in batches:
        while len(producer) > QUEUED_RECORDS_MAX:
            producer.poll(0.01)
        queued = producer.produce_batch(topic, batch)
        if queued != len(batch):
            raise RuntimeError(f"loading {topic}: librdkafka took {queued} of {len(batch)} records of a batch.")
    waiting = producer.flush(120)
    if waiting or failed:
        raise RuntimeError(f"loading {topic}: {waiting} records not delivered after 120 s, errors: {failed[:3]}.")
