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
    assert worker.dead_letters_total == 1
    assert worker.rollbacks_total >= 1


def test_policy_stop_ends_with_70_and_does_not_pass_the_offset(
    running: StartApp, reader: Reader, topics: str, bootstrap: str
) -> None:
    """What came before is committed, the failing event is not, and the message says which event it is."""
    send(bootstrap, f"{topics}in", [Row("k", value) for value in (b"a", b"b", b"fail", b"c")], 1)
    run = running("stopping")
    run.start()

    assert run.wait() == ExitCode.CRASH_LOOP
    assert reader.committed(run.app_id, f"{topics}in").get(1) == 2
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
    assert b"3000000 bytes" in headers_of(dead)["dead-letter-error"]


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
