"""Poison on real Kafka: records that no honest producer writes, on input topics, while good ones flow everywhere.

Each costs its own event, which goes to the dead letters and is named: all else is committed, no worker dies, and after
a restart the same holds.
"""

from __future__ import annotations

import gzip
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stub forgets some of them
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from streamcluster.errors import ExitCode
from streamcluster_coordinator.records.status import Status
from tests.conftest import MakeTopic
from tests.long import only_long
from tests.process.checker import Row
from tests.process.conftest import StartApp
from tests.process.poison import send_unpackable, send_with_headers
from tests.process.records import Feed, Reader, headers_of, send
from tests.process.running import Running, positions_of

PARTITIONS = 4
POISONED = 1
RATE = 100
# Records trickle in, and by default each few of them would be a commit.
COMMIT_SECONDS = 0.1
# It takes 1 to 2 s; a busy machine takes its time.
COMMITTED_SECONDS = 60.0
MANY = [(b"a", b"")] * 100_000


@dataclass(frozen=True, slots=True)
class Poison:
    """What is written to partition POISONED of topic `topic`. letters: by agent, what is left out and what is why."""

    topic: str
    write: Callable[[str, str], object]
    letters: dict[str, tuple[bytes, bytes]]


def bad_header_names(bootstrap: str, topic: str) -> None:
    """A value that decodes, and a header's name that is not UTF-8."""
    send_with_headers(bootstrap, topic, POISONED, b"7", [(b"bad-\xff", b"v")])


def bad_header_names_and_value(bootstrap: str, topic: str) -> None:
    """The same of a value that does not decode."""
    send_with_headers(bootstrap, topic, POISONED, b"{", [(b"bad-\xff", b"v")])


def unpackable(bootstrap: str, topic: str) -> None:
    """Three records in one batch that the client cannot unpack."""
    send_unpackable(bootstrap, topic, POISONED, 3)


def many_headers(bootstrap: str, topic: str) -> None:
    """A value that decodes, with headers that take as much again."""
    send_with_headers(bootstrap, topic, POISONED, b" " * 900_000 + b"7", MANY)


def many_headers_and_value(bootstrap: str, topic: str) -> None:
    """Larger than any letter."""
    send_with_headers(bootstrap, topic, POISONED, b"{" * 1_150_000, MANY)


def zip_bomb(bootstrap: str, topic: str) -> None:
    """200 kB that become 200 MB."""
    send(bootstrap, topic, [Row("k", gzip.compress(b"0" * 200_000_000))], POISONED)


def deep_json(bootstrap: str, topic: str) -> None:
    """JSON deeper than any decoder's stack."""
    send(bootstrap, topic, [Row("k", gzip.compress(b"[" * 100_000))], POISONED)


HEADERS_LEFT = b"headers (they cannot be read)"
MANY_LEFT = b"headers (100000 with 300003 bytes)"
POISONS = {
    "header names": Poison(
        "in",
        bad_header_names,
        {"counting": (HEADERS_LEFT, b"UnreadableHeaders"), "copying": (HEADERS_LEFT, b"UnreadableHeaders")},
    ),
    "header names and value": Poison(
        "in", bad_header_names_and_value, {"counting": (HEADERS_LEFT, b"ValidationError")}
    ),
    "unpackable": Poison("in", unpackable, {"counting": (b"key, value, headers", b"cannot be unpacked")}),
    "many headers": Poison(
        "in", many_headers, {"counting": (MANY_LEFT, b"more than topic"), "copying": (MANY_LEFT, b"more than topic")}
    ),
    "gzip": Poison("zipped", zip_bomb, {"unzipping": (b"", b"codec_unpacked_bytes_max")}),
    "deep JSON": Poison("zipped", deep_json, {"unzipping": (b"", b"RecursionError")}),
    "many headers and value": Poison("in", many_headers_and_value, {"counting": (b"value", b"ValidationError")}),
}


def good(numbers: Iterator[int]) -> Iterator[Row]:
    """Records for all partitions."""
    return (Row(f"k{number}", b"%d" % number) for number in numbers)


def until_passed(run: Running, reader: Reader, topics: list[str]) -> None:
    """Wait until everything that is there now is committed, on every partition."""
    ends = {(topic, number): reader.high(topic, number) for topic in topics for number in range(PARTITIONS)}
    run.until(
        lambda status: all(positions_of(status).get(at, 0) >= end for at, end in ends.items()),
        f"positions pass {ends}",
        COMMITTED_SECONDS,
    )


@pytest.mark.timeout(300)
def test_each_poison_costs_its_own_event(
    running: StartApp, make_topic: MakeTopic, reader: Reader, topic_prefix: str, bootstrap: str
) -> None:
    """One after the other: all else is committed, no worker dies, each is named; and a restart finds none of it."""
    topics = [make_topic(f"{topic_prefix}{name}", PARTITIONS) for name in ("in", "zipped")]
    for name in ("copies", "out"):
        make_topic(f"{topic_prefix}{name}", PARTITIONS)
    numbers = itertools.count()
    feed = Feed(bootstrap, topics[0], good(numbers), rate=RATE)
    run = running("tests.process.poisoned:app", commit_interval=COMMIT_SECONDS)
    run.start(2)
    run.until_running()
    feed.start()
    until_passed(run, reader, topics)

    places = {}
    for name, poison in POISONS.items():
        topic = f"{topic_prefix}{poison.topic}"
        place = reader.high(topic, POISONED)
        poison.write(bootstrap, topic)
        places[name] = range(place, reader.high(topic, POISONED))
        until_passed(run, reader, topics)
        until_passed(run, reader, topics)
        assert any(f"{topic}[{POISONED}]@{offset}" in run.log() for offset in places[name]), name
    feed.stop()
    status = run.until_caught_up()
    assert [worker.restarts for worker in status.workers] == [0, 0]
    assert run.drain() == ExitCode.DRAINED
    letters = check_letters(reader, run, topic_prefix, places)

    more = list(itertools.islice(good(numbers), 100))
    send(bootstrap, topics[0], more)
    run.start(2)
    run.until_caught_up()
    assert run.drain() == ExitCode.DRAINED
    assert check_letters(reader, run, topic_prefix, places) == letters
    copies = Counter(message.value() for part in reader.messages(f"{topic_prefix}copies").values() for message in part)
    sent = Counter(row.value for row in (*feed.acked.values(), *more))
    assert not sent - copies
    # Poison whose value nobody looked at may be sent on as it is.
    assert (copies - sent).total() <= len(POISONS)


@pytest.mark.parametrize("guarantee", ["exactly_once", pytest.param("at_least_once", marks=only_long)])
def test_a_record_that_the_brokers_refuse_costs_its_own_event(
    running: StartApp, make_topic: MakeTopic, reader: Reader, topic_prefix: str, bootstrap: str, guarantee: str
) -> None:
    """A topic takes less than it did when the app started: the event is found, and all others go on.

    The dead letter of a record that is too large for that topic, too, has nothing of the record.
    """
    topics = [make_topic(f"{topic_prefix}{name}", PARTITIONS) for name in ("in", "zipped")]
    for name in ("copies", "out"):
        make_topic(f"{topic_prefix}{name}", PARTITIONS)
    feed = Feed(bootstrap, topics[0], good(itertools.count()), rate=RATE)
    run = running("tests.process.poisoned:app", processing_guarantee=guarantee, commit_interval=COMMIT_SECONDS)
    run.start(2)
    run.until_running()
    for name in (f"{topic_prefix}copies", f"{run.app_id}-dead-letter"):
        set_config(bootstrap, name, "max.message.bytes", "50000")
    feed.start()
    until_passed(run, reader, topics)

    send(bootstrap, topics[0], [Row("k", b" " * 100_000 + b"1")], POISONED)
    end = reader.high(topics[0], POISONED)
    run.until(lambda status: positions_of(status).get((topics[0], POISONED), 0) >= end, "it is passed")
    until_passed(run, reader, topics)
    feed.stop()
    status = run.until_caught_up()
    assert [worker.restarts for worker in status.workers] == [0, 0]
    assert "MSG_SIZE_TOO_LARGE" in run.log()
    assert run.drain() == ExitCode.DRAINED
    letters = [headers_of(one) for part in reader.messages(f"{run.app_id}-dead-letter").values() for one in part]
    # Nobody knows which of the two agents sent what was refused.
    assert sorted(letter["dead-letter-agent"].decode()[:8] for letter in letters) == ["copying", "counting"]
    assert all(b"value (100001 bytes)" in letter["dead-letter-left-out"] for letter in letters)
    copies = [message.value() for part in reader.messages(f"{topic_prefix}copies").values() for message in part]
    assert set(copies) == {row.value for row in feed.acked.values()}
    if guarantee == "exactly_once":
        assert len(copies) == len(feed.acked)


def test_metadata_of_an_offset_that_nobody_can_read_counts_as_none(
    running: StartApp, make_topic: MakeTopic, reader: Reader, topic_prefix: str, bootstrap: str
) -> None:
    """Whatever somebody committed with an offset, the app goes on from the offset."""
    topics = [make_topic(f"{topic_prefix}{name}", PARTITIONS) for name in ("in", "zipped")]
    for name in ("copies", "out"):
        make_topic(f"{topic_prefix}{name}", PARTITIONS)
    rows = list(itertools.islice(good(itertools.count()), 100))
    send(bootstrap, topics[0], rows, POISONED)
    run = running("tests.process.poisoned:app")
    odd = ("[" * 4000, '{"a":' * 800, "\x01", '{"' + 'x" ' * 1000)
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": run.app_id})
    offsets = [TopicPartition(topics[0], number, 0, odd[number]) for number in range(PARTITIONS)]
    consumer.commit(offsets=offsets, asynchronous=False)
    consumer.close()
    run.start(2)
    status = run.until_caught_up()
    assert [worker.restarts for worker in status.workers] == [0, 0]
    assert run.drain() == ExitCode.DRAINED
    assert reader.count(f"{topic_prefix}copies") == len(rows)


def test_an_absurd_committed_offset_keeps_only_its_task_waiting(
    running: StartApp, make_topic: MakeTopic, reader: Reader, topic_prefix: str, bootstrap: str
) -> None:
    """The task says where it is and where the log ends; the others run, and it does once the offset is right."""
    topics = [make_topic(f"{topic_prefix}{name}", PARTITIONS) for name in ("in", "zipped")]
    for name in ("copies", "out"):
        make_topic(f"{topic_prefix}{name}", PARTITIONS)
    run = running("tests.process.poisoned:app")
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": run.app_id})
    consumer.commit(offsets=[TopicPartition(topics[0], POISONED, 10**15)], asynchronous=False)
    for number in range(PARTITIONS):
        send(bootstrap, topics[0], [Row("k", b"7")] * 10, number)
    run.start(2)
    others = {(topics[0], number): 10 for number in range(PARTITIONS) if number != POISONED}
    said = f"{topics[0]}[{POISONED}]: group {run.app_id} has committed {10**15}, and the log ends at 10"

    def is_said(status: Status) -> bool:
        positions = positions_of(status)
        waiting = [task for task in status.tasks if said in (task.figures.error or "")]
        return len(waiting) == 1 and all(positions.get(at, 0) >= end for at, end in others.items())

    run.until(is_said, "one task says why it waits, and the others run")
    assert f"cannot start: {said}" in run.log()
    consumer.commit(offsets=[TopicPartition(topics[0], POISONED, 4)], asynchronous=False)
    consumer.close()
    status = run.until_caught_up()
    assert [worker.restarts for worker in status.workers] == [0, 0]
    assert run.drain() == ExitCode.DRAINED
    assert reader.count(f"{topic_prefix}copies") == 36


def set_config(bootstrap: str, topic: str, name: str, value: str) -> None:
    """Change one setting of a topic."""
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result(30)


def check_letters(reader: Reader, run: Running, prefix: str, places: dict[str, range]) -> int:
    """Every unit that failed has one letter, which says what it lacks, why, and where the record is; how many."""
    letters = [headers_of(one) for part in reader.messages(f"{run.app_id}-dead-letter").values() for one in part]
    for name, poison in POISONS.items():
        of_it = [
            headers
            for headers in letters
            if headers["dead-letter-topic"].decode() == f"{prefix}{poison.topic}"
            and int(headers["dead-letter-offset"]) in places[name]
        ]
        assert len(of_it) == len(poison.letters), (name, of_it)
        for agent, (left_out, why) in poison.letters.items():
            (headers,) = [one for one in of_it if agent in one["dead-letter-agent"].decode()]
            assert left_out in headers.get("dead-letter-left-out", b""), name
            assert why in headers["dead-letter-error"], name
    assert len(letters) == sum(len(poison.letters) for poison in POISONS.values())
    return len(letters)
