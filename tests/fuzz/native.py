"""The modules in C: this one under wrong arguments, and under clients that come, fail and go in other threads.

    python -m tests.fuzz.native --seconds 60            as they are installed
    python -m tests.fuzz.native --seconds 60 --asan     built anew with sanitizers, for this run

The loops follow, for as long (loop.py). It needs no broker: what is given waits in the client, and is purged; what is
taken comes from the client's own mock.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from operator import index
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition, cimpl

from . import loop, sanitized

_SOURCE = "worker/native/native.c"
# What wrong arguments end with, and nothing else.
DOCUMENTED = (TypeError, ValueError, OverflowError)
NOBODY = "127.0.0.1:1"
_RECORDS_MAX = 60
# What the mock has.
_MOCK_RECORDS = 5000


class _Odd:
    """Runs code when it is asked for a number."""

    def __init__(self, change: Callable[[], object]) -> None:
        self._change = change

    def __index__(self) -> int:
        self._change()
        return 1


def client_options(module: Any, **options: object) -> dict[str, object]:
    """The configuration of a client of no broker, with the module as its plugin."""
    quiet = {"bootstrap.servers": NOBODY, "log_level": 0, "message.timeout.ms": 100}
    return {**quiet, "plugin.library.paths": module.__file__, **options}


def open_producer(module: Any, **options: object) -> Producer:
    """A producer of no broker that the module knows."""
    return Producer(client_options(module, **options))


def _odd_objects(source: random.Random, records: list[Any]) -> list[Any]:
    objects: list[Any] = [None, True, 0, -1, -5, 2**31 - 1, 2**31, -(2**31) - 1, 2**63, 2**70, 1.5, b"", b"nul\0"]
    objects += ["text", "\ud800", "nul\0", bytearray(b"x"), memoryview(b"x"), object(), (), [], {}, {"h": b"v"}]
    objects += [
        type("Bytes", (bytes,), {})(b"more"),
        type("Whole", (int,), {})(3),
        _Odd(records.clear),
        b"x" * source.choice((1, 100, 2_000_000)),
    ]
    pairs: list[Any] = [("h", b"v"), ("h", None), ("h", "text"), ("h", "\ud800"), ("", b""), ("\ud800", b"v")]
    pairs += [None, ("h",), (b"h", b"v"), ("h", 5), ["h", b""], ("h", b"v", 1)]
    objects += [[pair] for pair in pairs]
    objects += [[("h", b"v")] * 500, [("h", b"v"), source.choice(pairs)]]
    return objects


def _damaged_column(source: random.Random, column: list[Any] | None, odd: list[Any], count: int) -> Any:
    """Another length, another kind, or with some odd objects in it."""
    way = source.randrange(6)
    if way == 0 or column is None:
        return source.choice([*odd, (), [source.choice(odd) for _ in range(count)]])
    if way == 1:
        return column[: source.randrange(len(column) + 1)]
    if way == 2:
        return [*column, source.choice(odd)]
    if way == 3:
        return source.choice([tuple(column), iter(column)])
    for at in range(len(column)):
        if source.random() < 0.1:
            column[at] = source.choice(odd)
    return column


def call_arguments(source: random.Random, producers: list[Any]) -> list[Any]:
    """Arguments of `produce`, some of them wrong."""
    count = source.randrange(_RECORDS_MAX)
    columns: list[Any] = [
        [b"key-%d" % number for number in range(count)],
        [b"v" * source.randrange(200) for _ in range(count)],
        source.choice((None, [*range(count)])),
        source.choice((None, [source.choice((-1, 0, 7)) for _ in range(count)])),
        source.choice((None, [source.choice((None, [], [("h", b"v")])) for _ in range(count)])),
    ]
    odd = _odd_objects(source, columns[0])
    for at in range(5):
        if source.random() < 0.1:
            columns[at] = _damaged_column(source, columns[at], odd, count)
    start = source.randrange(count + 1)
    arguments: list[Any] = [source.choice(producers), source.choice(("one", "two")), *columns, -1, start, count]
    if source.random() < 0.3:
        topics = ["", "x" * 300, "x" * 600, "nul\0", "\ud800", "ü"]
        ranges: list[Any] = [start - 1, count + 1, -count]
        if type(columns[0]) is list:
            ranges.append(_Odd(columns[0].clear))
        at = source.choice((0, 1, 7, 8, 9))
        other: dict[int, list[Any]] = {1: topics, 8: ranges, 9: ranges}
        arguments[at] = source.choice([*odd, *other.get(at, [])])
    if source.random() < 0.02:
        arguments = source.choice([arguments[:3], [*arguments, None], []])
    return arguments


def check(module: Any, source: random.Random, producers: list[Any]) -> bool:
    """Make one call; True when records were taken. Raises AssertionError, or what is not documented."""
    arguments = call_arguments(source, producers)
    for column in arguments[2:4]:
        with contextlib.suppress(*DOCUMENTED):
            assert module.measure(column) == sum(
                len(one.encode() if isinstance(one, str) else one or b"") for one in column
            )
    try:
        taken, code = module.produce(*arguments)
    except DOCUMENTED:
        return False
    given = int(arguments[9]) - int(arguments[8])
    assert (taken == given) if code == 0 else (0 <= taken < max(1, given)), (taken, code, given)
    for client in producers:
        module.missed(client)
    return bool(taken)


def check_take(module: Any, source: random.Random, clients: list[Any]) -> int:
    """Make one call of `take`; returns how many records came. Raises AssertionError, or what is not documented."""
    arguments: list[Any] = [source.choice(clients), source.choice((1, 2, 50, 1000)), 0]
    if source.random() < 0.3:
        arguments[source.randrange(3)] = source.choice(_odd_objects(source, []))
    if source.random() < 0.02:
        arguments = source.choice([arguments[:2], [*arguments, None], []])
    # An odd number may be a long wait that is allowed.
    if len(arguments) == 3 and isinstance(arguments[2], int) and 50 < arguments[2] <= 600_000:
        arguments[2] = 1
    try:
        taken = module.take(*arguments)
    except DOCUMENTED:
        return 0
    count = 0
    for one in taken:
        if len(one) == 5:
            assert [type(field) for field in one] == [str, int, int, int, str], one
            continue
        topic, partition, offsets, timestamps, keys, values, headers = one
        assert (topic, partition) == ("mock", 0)
        assert len(offsets) == len(timestamps) == 8 * len(keys) == 8 * len(values)
        assert headers is None or len(headers) == len(keys)
        for offset, key, value in zip(memoryview(offsets).cast("q"), keys, values, strict=True):
            assert (key, value) == record_of(offset)[:2], (offset, key, value)
        for offset, found in zip(memoryview(offsets).cast("q"), headers or (), strict=False):
            assert (found or []) == record_of(offset)[2], (offset, found)
        count += len(keys)
    assert count <= index(arguments[1])
    return count


def record_of(offset: int) -> tuple[bytes | None, bytes | None, list[tuple[str, str | bytes | None]]]:
    """Key, value and headers of what is there to take."""
    headers: list[tuple[str, str | bytes | None]] = [("h", b"v" * (offset % 40)), ("null", None), ("h", b"")]
    key, value = (None, b"", b"key-%d" % offset)[offset % 3], (None, b"", b"v" * (offset % 300))[offset % 5 % 3]
    return key, value, headers if offset % 7 == 3 else []


@contextlib.contextmanager
def mock_broker(records: int) -> Iterator[str]:
    """The address of a broker inside of a client, with so many records in partition 0 of `mock`."""
    producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    for offset in range(records):
        key, value, headers = record_of(offset)
        producer.produce("mock", value, key, 0, headers=headers or None)
    assert producer.flush(30) == 0
    (broker,) = producer.list_topics(timeout=30).brokers.values()
    yield f"{broker.host}:{broker.port}"
    producer.close()


def open_consumer(module: Any, address: str, **options: object) -> Consumer:
    """A consumer of the mock that the module knows, at the begin of its partition."""
    consumer = Consumer(client_options(module, **{"bootstrap.servers": address, "group.id": "any", **options}))
    consumer.assign([TopicPartition("mock", 0, 0)])
    return consumer


@contextlib.contextmanager
def coming_and_going(module: Any, ends: threading.Event, address: str) -> Iterator[list[Any]]:
    """Clients that other threads open, close and fail to open meanwhile; what went wrong there."""
    wrong: list[Any] = []

    def come_and_go(seed: int) -> None:
        source = random.Random(seed)
        try:
            while not ends.is_set():
                _one_life(module, source)
                _one_life_of_consumer(module, source, address)
        except BaseException as error:  # noqa: BLE001 (told by the thread that waits)
            wrong.append(error)

    threads = [threading.Thread(target=come_and_go, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield wrong
    finally:
        ends.set()
        for thread in threads:
            thread.join()


def _one_life(module: Any, source: random.Random) -> None:
    # It fails when it is made already, after its configuration was taken.
    with contextlib.suppress(KafkaException):
        open_producer(module, **{"security.protocol": "SSL", "ssl.ca.location": "/nowhere"})
    producer = open_producer(module, **source.choice(({}, {"transactional.id": "one"})))
    assert module.is_known(producer)
    # From a second thread, while this one closes it: the client then says RuntimeError, and the module ValueError.
    records: list[Any] = [[b"k"] * 500, [b"v"] * 500, [0] * 500, None, [[("h", b"v")]] * 500]

    def give() -> None:
        with contextlib.suppress(ValueError, RuntimeError):
            while True:
                module.produce(producer, "one", *records, -1, 0, 500)
                producer.purge()

    giving = threading.Thread(target=give)
    giving.start()
    producer.purge()
    producer.close()
    giving.join()
    assert not module.is_known(producer)


def _one_life_of_consumer(module: Any, source: random.Random, address: str) -> None:
    consumer = open_consumer(module, source.choice((address, NOBODY)), error_cb=lambda _: None)
    assert module.can_take(consumer)
    closed = threading.Event()

    def take() -> None:
        with contextlib.suppress(ValueError):
            while True:
                module.take(consumer, 100, 5)
                # Who waits for its turn in a consumer sleeps and looks again: others must leave it room.
                closed.wait(0.01)

    taking = [threading.Thread(target=take) for _ in range(source.randrange(1, 3))]
    for thread in taking:
        thread.start()
    # At any moment of what they do.
    closed.wait(source.random() * 0.05)
    consumer.close()
    closed.set()
    for thread in taking:
        thread.join()
    assert not module.can_take(consumer)


def fuzz(module: Any, seed: int, seconds: float) -> tuple[int, int, int]:
    """Call it for so long; returns how many calls there were, in how many records were given, and how many taken."""
    with mock_broker(_MOCK_RECORDS) as address:
        return _fuzz(module, seed, seconds, address)


def _fuzz(module: Any, seed: int, seconds: float, address: str) -> tuple[int, int, int]:
    source = random.Random(seed)
    gone = open_producer(module)
    gone.close()
    small = open_producer(module, **{"queue.buffering.max.messages": 20})
    consumer = open_consumer(module, address)
    producers = [open_producer(module), open_producer(module, **{"enable.idempotence": True}), small]
    calls = gives = taken = 0
    end = time.monotonic() + seconds
    with coming_and_going(module, threading.Event(), address) as wrong:
        while time.monotonic() < end and not wrong:
            gives += check(module, source, [*producers, *producers, gone, consumer])
            taken += check_take(module, source, [consumer, consumer, consumer, gone, small])
            calls += 1
            if calls % 50 == 0:
                consumer.seek(TopicPartition("mock", 0, source.randrange(_MOCK_RECORDS)))
                for producer in producers:
                    producer.purge()
                    producer.poll(0)
    assert wrong == []
    consumer.close()
    return calls, gives, taken


def main() -> int:
    """Run, and say how many calls there were."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.native", description=__doc__)
    sanitized.add_arguments(parser)
    options = parser.parse_args()
    if options.asan:
        own = ["--seconds", str(options.seconds), "--seed", str(options.seed)]
        return sanitized.run("tests.fuzz.native", _SOURCE, own) or loop.run(options)
    if options.module is None:
        from streamcluster_worker import _native as module
    else:
        module = sanitized.load("_native", options.module)
    module.load(cimpl.__file__, module.__file__)
    calls, gives, taken = fuzz(module, options.seed, options.seconds)
    sys.stdout.write(f"{calls} calls, records were given in {gives}, {taken} taken, ok (seed {options.seed})\n")
    sys.stdout.flush()
    return loop.run(options) if options.module is None else 0


if __name__ == "__main__":
    sys.exit(main())
