"""The native path beside the one from Python: same records, same order, same errors; and it keeps and leaks nothing."""

from __future__ import annotations

import random
import re
import shutil
import sys
import sysconfig
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from streamcluster.errors import ConfigurationError, StreamclusterError
from streamcluster.ids import TP
from streamcluster.kafka.offsets import Offsets
from streamcluster.kafka.opening import Connection, Producer
from streamcluster.kafka.verdicts import ResetNeeded
from streamcluster.output import OutputColumns, OutputRecord, Pairs, output_of
from streamcluster.settings import Settings
from streamcluster_worker.data.sender import Sender
from streamcluster_worker.kafka.native import give, size_of, take_missed, why_not_for, why_not_native, with_plugin
from streamcluster_worker.kafka.producers import open_producer, open_transactional_producer
from tests.columns import columns_of
from tests.conftest import MakeTopic
from tests.process.waiting import eventually
from tests.worker.committing import LEAK_RECORDS, PATHS, SECONDS, Bench, leak_timeout

NOBODY = "kafka://127.0.0.1:1"
needs_native = pytest.mark.skipif(bool(why_not_native(Settings(id="any"))), reason=why_not_native(Settings(id="any")))
MIB = 1024 * 1024


def sender_of(settings: Settings) -> Sender:
    """A sender over a producer without transactions."""
    return Sender(settings, open_producer(settings, Connection()), in_transaction=False)


def mixed_records(source: random.Random, count: int, partitions: int) -> list[OutputRecord]:
    """Records of all kinds; one that has no key names its partition."""

    def one(number: int) -> OutputRecord:
        # Text is none of what records have by their type, and what a codec of the user's may give all the same.
        key: Any = source.choice(
            (None, b"", f"ü{number % 50}", b"k%d" % (number % 50), bytes(source.randrange(256) for _ in range(9)))
        )
        value: Any = source.choice((None, b"", "text", b"v" * source.randrange(300), b"%d" % number))
        partition = source.randrange(partitions) if not key or source.random() < 0.5 else -1
        headers = source.choice((None, None, [], [("n", b"%d" % number), ("n", None), ("ü", b"")]))
        return output_of(key, value, partition=partition, timestamp=1_700_000_000_000 + number, headers=headers)

    return [one(number) for number in range(count)]


def test_it_is_there_where_it_can_be_built() -> None:
    """With a compiler and Python's headers the installation has made it."""
    header = Path(sysconfig.get_path("include"), "Python.h")
    if shutil.which("cc") is None or not header.exists():
        pytest.skip("no C compiler, or no Python.h")
    assert why_not_native(Settings(id="any")) == ""


def test_the_setting_turns_it_off() -> None:
    """Then producers are made as they always were, and who starts the app is told."""
    settings = Settings(id="off", broker=NOBODY, native=False)
    assert with_plugin(settings, {"linger.ms": 5}) == {"linger.ms": 5}
    assert why_not_for(settings, open_producer(settings, Connection())) == "the setting native is off"


def test_one_file_serves_every_python() -> None:
    """References are counted by functions of the Python that runs: macros are those of whatever headers were there."""
    text = (Path(__file__).parents[2] / "worker/native/native.c").read_text(encoding="utf-8")
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    assert re.findall(r"Py_X?(?:INC|DEC)REF|Py_RETURN_\w+|Py_X?NewRef|Py_CLEAR|Py_SETREF", code) == []
    assert "Py_IncRef" in code


@needs_native
def test_plugins_of_the_operator_stay() -> None:
    """Theirs come first, and one that is not there is an error as it was without ours."""
    assert why_not_native(Settings(id="any")) == ""
    theirs = {"plugin.library.paths": "their-own"}
    paths = str(with_plugin(Settings(id="any"), theirs)["plugin.library.paths"]).split(";")
    assert (len(paths), paths[0]) == (2, "their-own")
    with pytest.raises(ConfigurationError, match="their-own"):
        open_producer(Settings(id="any", broker=NOBODY, broker_options={**theirs}), Connection())


def test_both_ways_write_the_same(broker_url: str, make_topic: MakeTopic, topic_prefix: str) -> None:
    """Keys, values, headers, timestamps, partitions and order are those of the list, however records are given."""
    records = mixed_records(random.Random(13), 3000, 4)
    found = []
    for native in (False, True):
        bench = Bench(broker_url, f"{topic_prefix}{native}-", "at_least_once", native=native)
        topic = make_topic(f"{topic_prefix}{native}", 4)
        sender = sender_of(bench.settings)
        for start in range(0, len(records), 700):
            sender.produce(topic, columns_of(records[start : start + 700]), time.monotonic() + SECONDS)
        sender.flush(time.monotonic() + SECONDS)
        read = sorted(bench.read(topic, 4), key=lambda m: (m.partition() or 0, m.offset() or 0))
        found.append([(m.partition(), m.offset(), m.key(), m.value(), m.timestamp(), m.headers()) for m in read])
    assert len(found[0]) == len(records)
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "bad",
    [
        output_of(b"bad", b"x" * 2_000_000),
        output_of(b"bad", b"x", headers=[("h", b"x" * 2_000_000)]),
        output_of(b"bad", b"x", partition=99),
        output_of(b"bad", b"x", partition=-5),
    ],
    ids=["large", "large header", "partition 99", "partition -5"],
)
def test_both_ways_refuse_the_same(
    broker_url: str, make_topic: MakeTopic, topic_prefix: str, bad: OutputRecord
) -> None:
    """The error is the same in kind, words and key, and what came before the record is written."""
    told = []
    for native in (False, True):
        bench = Bench(broker_url, f"{topic_prefix}{native}-", "at_least_once", native=native)
        topic = make_topic(f"{topic_prefix}{native}", 1)
        sender = sender_of(bench.settings)
        # Until the client knows the topic it takes any partition.
        sender.produce(topic, columns_of([output_of(b"first", b"1")]), time.monotonic() + SECONDS)
        sender.flush(time.monotonic() + SECONDS)
        columns = columns_of([output_of(b"k", b"2"), bad, output_of(b"k", b"3")])
        with pytest.raises(StreamclusterError) as caught:
            sender.produce(topic, columns, time.monotonic() + SECONDS)
        sender.producer.flush(SECONDS)
        words = str(caught.value).replace(topic, "TOPIC")
        told.append((type(caught.value), words, [message.value() for message in bench.read(topic)]))
    assert told[0] == told[1]
    assert told[0][2] == [b"1", b"2"]


@pytest.mark.parametrize("native", PATHS)
def test_a_full_queue_starts_anew(native: bool) -> None:
    """It is told as a reset, since its bounds should have prevented it."""
    options: dict[str, str | int | float | bool] = {"queue.buffering.max.messages": 10}
    sender = sender_of(Settings(id="full", broker=NOBODY, native=native, broker_options=options))
    with pytest.raises(ResetNeeded, match="queue is full"):
        sender.produce("any", columns_of([output_of(b"k", b"v")] * 20), time.monotonic() + 1)
    sender.close()


@leak_timeout
@needs_native
@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_records_are_delivered_in_bounded_memory(
    broker_url: str, make_topic: MakeTopic, topic_prefix: str, guarantee: str
) -> None:
    """A million, 50 million in the long form. None asks for a callback, all arrive, and nothing of them is kept."""
    topic = make_topic(topic_prefix + "out", 4)
    settings = Settings(id=topic_prefix.rstrip("-"), broker=broker_url)
    if guarantee == "exactly_once":
        producer = open_transactional_producer(settings, f"{topic_prefix}slot", Connection(), SECONDS)
    else:
        producer = open_producer(settings, Connection())
    assert why_not_for(settings, producer) == ""
    sender = Sender(settings, producer, in_transaction=guarantee == "exactly_once")
    columns = columns_of((b"key-%d" % n, b"v" * 30, -1, 1_700_000_000_000 + n, None) for n in range(50_000))
    some = (columns.keys[7], columns.values[7], columns.timestamps[7])
    counts = [*map(sys.getrefcount, some)]
    memory: list[int] = []
    rounds = LEAK_RECORDS // len(columns)
    for _ in range(rounds):
        if guarantee == "exactly_once":
            producer.begin_transaction()
        sender.produce(topic, columns, time.monotonic() + SECONDS)
        sender.flush(time.monotonic() + SECONDS)
        if guarantee == "exactly_once":
            producer.commit_transaction(SECONDS)
        memory.append(psutil.Process().memory_info().rss)
    assert counts == [*map(sys.getrefcount, some)]
    offsets = Offsets(settings, Connection())
    tps = [TP(topic, number) for number in range(4)]
    # A transaction ends each partition with a marker, which may be there a little later.
    count = LEAK_RECORDS + (4 * rounds if guarantee == "exactly_once" else 0)
    eventually(lambda: sum(offsets.end_offsets(tps).values()) == count, SECONDS, "all records are there")
    # The first rounds fill the allocator's pools.
    assert memory[-1] - memory[4] < 16 * MIB, [number // MIB for number in memory]


def open_with_room_for(count: int) -> Producer:
    """A producer without a broker that takes so many records."""
    options: dict[str, str | int | float | bool] = {"queue.buffering.max.messages": count}
    return open_producer(Settings(id="room", broker=NOBODY, broker_options=options), Connection())


def columns_with(**wrong: Any) -> OutputColumns:
    """Twenty records with all columns, of which these are others."""
    headers: list[Pairs | None] = [[("h", b"v" * 1000)] for _ in range(20)]
    columns = OutputColumns([b"key"] * 20, [b"value"] * 20, [1] * 20, [-1] * 20, headers)
    for name, column in wrong.items():
        setattr(columns, name, [*column] if type(column) is list else column)
    return columns


# What is wrong in the columns -> the error, and what it says.
WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"keys": None}, TypeError, "must be list, not None"),
    ({"values": (b"v",) * 20}, TypeError, "must be list, not tuple"),
    ({"timestamps": (1,) * 20}, TypeError, "the timestamps are neither a list nor None"),
    ({"headers": {}}, TypeError, "the headers are neither a list nor None"),
    ({"keys": [b"k"] * 19}, ValueError, "19 keys for the records up to 20"),
    ({"values": []}, ValueError, "0 values for the records up to 20"),
    ({"timestamps": [1] * 19}, ValueError, "19 timestamps for the records up to 20"),
    ({"partitions": []}, ValueError, "0 partitions for the records up to 20"),
    ({"headers": [None]}, ValueError, "1 headers for the records up to 20"),
    ({"keys": [*[b"k"] * 19, 5]}, TypeError, "the key of record 19 is neither bytes, text nor None"),
    ({"values": [*[b"v"] * 19, bytearray(b"v")]}, TypeError, "the value of record 19 is neither"),
    ({"timestamps": [*[1] * 19, 1.0]}, TypeError, "the timestamp of record 19 is no int"),
    ({"timestamps": [*[1] * 19, 2**63]}, OverflowError, "too big"),
    ({"partitions": [*[-1] * 19, None]}, TypeError, "the partition of record 19 is no int"),
    ({"partitions": [*[-1] * 19, 2**31]}, OverflowError, "the partition of record 19 has more than 32 bits"),
    ({"headers": [*[[("h", b"v" * 1000)]] * 19, [("h", 5)]]}, TypeError, "the value of a header of record 19"),
    ({"headers": [*[[("h", b"v" * 1000)]] * 19, ()]}, TypeError, "the headers of record 19 are no list"),
]


@needs_native
def test_wrong_columns_leave_nothing_behind() -> None:
    """An error says what is wrong, none of the records is given, and neither they nor their headers are kept."""
    producer = open_with_room_for(20)
    kept = (b"one key", b"one value", [("h", b"v" * 1000)])
    before = [*map(sys.getrefcount, kept)]
    memory: list[int] = []
    for _ in range(10):
        for wrong, error, words in WRONG:
            columns = columns_with(**wrong)
            lists: list[Any] = [columns.keys, columns.values, columns.headers]
            for column, one in zip(lists, kept, strict=True):
                if type(column) is list and len(column) > 3:
                    column[3] = one
            for _ in range(30):
                with pytest.raises(error, match=re.escape(words)):
                    give(producer, "any", columns, -1, 0, 20)
            del columns, lists, column, one
        memory.append(psutil.Process().memory_info().rss)
    for start, end in ((-1, 3), (3, 2), (0, 21), (20, 21), (2**62, 2**62)):
        with pytest.raises(ValueError, match=r"no range of records|for the records up to"):
            give(producer, "any", columns_with(), -1, start, end)
    assert give(producer, "any", columns_with(), -1, 0, 20) is None
    assert [*map(sys.getrefcount, kept)] == before
    # Headers alone were 20 kB a call, 5,000 times.
    assert memory[-1] - memory[4] < 16 * MIB, [number // MIB for number in memory]


@needs_native
def test_a_part_of_columns_is_given_and_measured() -> None:
    """Of a range those records and no others; columns that say nothing may be None; sizes are those of Python."""
    producer = open_with_room_for(22)
    columns = columns_with(partitions=None, headers=None)
    for start, end in ((0, 0), (20, 20), (5, 7), (0, 20)):
        assert give(producer, "any", columns, -1, start, end) is None
    full = give(producer, "any", columns, -1, 0, 20)
    assert full is not None
    assert full.at == 0
    column = [b"", None, b"four", "ü", b"x" * 3_000_000]
    assert size_of(column, native=True) == 3_000_006  # type: ignore[arg-type]
    assert size_of([b"", None, b"four"], native=False) == size_of([b"", None, b"four"], native=True) == 4
    with pytest.raises(TypeError, match="record 1 is neither"):
        size_of([b"", 5], native=True)  # type: ignore[list-item]


@needs_native
def test_a_producer_that_is_gone_is_not_used() -> None:
    """Closed, and collected: the module knows it no more, and another one at its address is not taken for it."""
    settings = Settings(id="gone", broker=NOBODY)
    closed = open_producer(settings, Connection())
    closed.close()
    columns = columns_of([output_of(b"k", b"v")])
    for nothing in (closed, object(), None):
        with pytest.raises(ValueError, match="no open producer"):
            give(nothing, "any", columns, -1, 0, 1)  # type: ignore[arg-type]
    assert take_missed(closed) is None
    for _ in range(50):
        producer = open_producer(settings, Connection())
        assert give(producer, "any", columns, -1, 0, 1) is None
        producer.purge()
        del producer


@needs_native
def test_producers_opened_at_once_are_told_apart() -> None:
    """Eight threads open, fail to open and use their own, whose queue is as long as no other's."""
    wrong: list[object] = []
    begin = threading.Barrier(8)

    def open_and_give(number: int) -> None:
        length: dict[str, str | int | float | bool] = {"queue.buffering.max.messages": number + 1}
        settings = Settings(id="own", broker=NOBODY, broker_options=length)
        bad = Settings(id="bad", broker=NOBODY, ssl_ca_location="/nowhere", broker_security_protocol="SSL")
        begin.wait()
        for _ in range(5):
            with pytest.raises(StreamclusterError):
                open_producer(bad, Connection())
            own = open_producer(settings, Connection())
            not_taken = give(own, "any", columns_of([output_of(b"k", b"v")] * 20), -1, 0, 20)
            if not_taken is None or not_taken.at != number + 1:
                wrong.append((number, not_taken))
            own.purge()

    threads = [threading.Thread(target=open_and_give, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert wrong == []
