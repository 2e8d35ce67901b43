"""Events that fail, on real Kafka: rolled back, tried again, put aside or stopped at, and nothing twice."""

from __future__ import annotations

import pytest

from streamcluster.errors import ExitCode
from tests.conftest import MakeTopic
from tests.process.checker import Row
from tests.process.conftest import StartApp
from tests.process.records import Reader, headers_of, send, values


@pytest.fixture
def topics(make_topic: MakeTopic, topic_prefix: str) -> str:
    """Input and output with two partitions; returns the prefix."""
    for name in ("in", "out"):
        make_topic(f"{topic_prefix}{name}", 2)
    return topic_prefix


def test_a_failing_event_goes_to_the_dead_letters_and_nothing_is_twice(
    running: StartApp, reader: Reader, topics: str, bootstrap: str
) -> None:
    """What the failing event had sent and counted is undone; its neighbours count once; the reason is with it."""
    sent = [Row("k", b"fail here" if number == 300 else b"v%d" % number) for number in range(600)]
    acked = send(bootstrap, f"{topics}in", sent, 0)
    run = running("obedient")
    run.start()
    run.until_caught_up()

    table = run.table("seen")
    worker = next(worker for worker in run.until_caught_up().workers if "2_0" in worker.tasks)
    assert run.drain() == ExitCode.DRAINED
    good = [row.value for row in sent if row.value != b"fail here"]
    assert values(reader.rows(f"{topics}out")) == good
    assert table == {"k": len(good)}
    (dead,) = reader.messages(f"{run.app_id}-dead-letter")[0]
    headers = headers_of(dead)
    assert (dead.key(), dead.value()) == (b"k", b"fail here")
    assert headers["dead-letter-topic"].decode() == f"{topics}in"
    assert (0, int(headers["dead-letter-offset"])) in {at for at, row in acked.items() if row.value == b"fail here"}
    assert b"told to fail here" in headers["dead-letter-error"]
    assert b"ValueError" in headers["dead-letter-traceback"]
    assert worker.figures.dead_letters_total == 1
    assert worker.figures.rollbacks_total >= 1


def test_policy_stop_ends_with_70_and_does_not_pass_the_offset(
    running: StartApp, reader: Reader, topics: str, bootstrap: str
) -> None:
    """What came before is committed, the failing event is not, and the message says which event it is."""
    send(bootstrap, f"{topics}in", [Row("k", value) for value in (b"a", b"b", b"fail", b"c")], 1)
    run = running("stopping")
    run.start()

    assert run.wait() == ExitCode.CRASH_LOOP
    assert reader.committed(run.app_id, f"{topics}in", ended=True).get(1) == 2
    assert values(reader.rows(f"{topics}out")) == [b"a", b"b"]
    assert f"{topics}in[1]@2" in run.log()
    assert "told to fail" in run.log()


def test_a_record_larger_than_the_broker_takes_is_its_events_failure(
    running: StartApp, reader: Reader, topics: str, bootstrap: str
) -> None:
    """The event that sends it becomes a dead letter, and the others go on."""
    rows = [Row("k", value) for value in (b"a", b"big 3000000", b"b", b"big 900000", b"c")]
    send(bootstrap, f"{topics}in", rows, 0)
    run = running("obedient")
    run.start()
    run.until_caught_up()

    assert run.drain() == ExitCode.DRAINED
    assert values(reader.rows(f"{topics}out")) == [b"a", b"b", b"big 900000", b"b" * 900_000, b"c"]
    (dead,) = reader.messages(f"{run.app_id}-dead-letter")[0]
    assert dead.value() == b"big 3000000"
    assert b"a record of 3000001 bytes is more than topic" in headers_of(dead)["dead-letter-error"]


def test_values_of_all_shapes_pass(
    running: StartApp, make_topic: MakeTopic, reader: Reader, topics: str, bootstrap: str
) -> None:
    """Tombstones, empty values and keys, and a value near the limit go through bytes and come out as they were."""
    rows = [Row("k", value) for value in (b"", None, b"x" * 990_000, b"\x00\xff")] + [Row("", b"of no key")]
    run = running("ledger")
    for name in ("echo", "sums", "counts"):
        make_topic(f"{topics}{name}", 2)
    send(bootstrap, f"{topics}in", rows, 0)
    run.start()
    run.until_caught_up()

    assert run.drain() == ExitCode.DRAINED
    found = [message for part in reader.messages(f"{topics}echo").values() for message in part]
    assert [message.value() for message in found if message.key() == b"k"] == [row.value for row in rows[:-1]]
    assert [message.value() for message in found if message.key() == b""] == [b"of no key"]


def test_what_brokers_refuse_is_its_events_failure(
    running: StartApp, reader: Reader, topics: str, bootstrap: str
) -> None:
    """Timestamps too far ahead, partitions that are not there, table rows over the limit: dead letters, and on it goes.

    Without a check in the event each would fail every commit that it is in, for ever.
    """
    good = [b"a", b"at -86400", b"at 0", b"part 1", b"row 900000", b"z"]
    bad = [b"at 32503680000", b"part 2", b"row 3000000"]
    send(bootstrap, f"{topics}in", [Row("k", value) for value in [*good[:2], *bad, *good[2:]]], 0)
    run = running("refused")
    run.start()
    run.until_caught_up()
    table = run.table("large")

    assert run.drain() == ExitCode.DRAINED
    assert sorted(map(str, values(reader.rows(f"{topics}out")))) == sorted(map(str, good))
    came = {m.value(): m.timestamp()[1] for part in reader.messages(f"{topics}out").values() for m in part}
    assert (came[b"at -86400"], came[b"at 0"]) == (-86_400_000, 1)
    assert table == {"900000": "x" * 900_000}
    letters = [letter for part in reader.messages(f"{run.app_id}-dead-letter").values() for letter in part]
    assert [letter.value() for letter in letters] == bad
    assert b"message.timestamp.after.max.ms" in headers_of(letters[0])["dead-letter-error"]


def test_a_failing_record_larger_than_a_dead_letter_is_passed_with_its_place(
    running: StartApp, make_topic: MakeTopic, reader: Reader, topic_prefix: str, bootstrap: str
) -> None:
    """An input may take more than the app sends: the letter then says where the record is, and leaves its value out."""
    make_topic(f"{topic_prefix}in", 2, {"max.message.bytes": "5000000"})
    make_topic(f"{topic_prefix}out", 2)
    send(bootstrap, f"{topic_prefix}in", [Row("k", value) for value in (b"a", b"fail" + b"x" * 3_000_000, b"b")], 0)
    run = running("obedient")
    run.start()
    run.until_caught_up()

    assert run.drain() == ExitCode.DRAINED
    assert values(reader.rows(f"{topic_prefix}out")) == [b"a", b"b"]
    (dead,) = reader.messages(f"{run.app_id}-dead-letter")[0]
    assert (dead.key(), dead.value()) == (b"k", None)
    assert headers_of(dead)["dead-letter-left-out"] == b"value (3000004 bytes)"
    assert headers_of(dead)["dead-letter-offset"] == b"1"
