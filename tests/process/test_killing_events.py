"""Events that kill their process, on real Kafka: found out, given up by the policy, and nothing lost or twice."""

from __future__ import annotations

import pytest

from streamcluster.errors import ExitCode
from tests.conftest import MakeTopic
from tests.long import only_long
from tests.process.checker import Row
from tests.process.conftest import StartApp
from tests.process.records import Reader, headers_of, send, values

EVENTS = 10_000
# Two deaths with all in hand, two alone, and perhaps one more when a commit came between the first two.
DEATHS_MAX = 5


@pytest.fixture
def topics(make_topic: MakeTopic, topic_prefix: str) -> str:
    """Input and outputs with two partitions; returns the prefix."""
    for name in ("in", "out", "copies"):
        make_topic(f"{topic_prefix}{name}", 2)
    return topic_prefix


@pytest.mark.parametrize(
    ("killer", "reason"),
    [
        (b"die 11", b"killed by signal 11 (segmentation fault)"),
        (b"await and then die 9", b"killed by signal 9, perhaps out of memory"),
        pytest.param(b"exit 3", b"it exited with code 3 and did not say why", marks=only_long),
    ],
)
def test_a_killer_goes_to_the_dead_letters_and_nothing_is_twice(
    running: StartApp, reader: Reader, topics: str, bootstrap: str, killer: bytes, reason: bytes
) -> None:
    """What it had sent and counted is undone; its neighbours count once, and the other agent has it."""
    rows = [Row("k", killer if number == EVENTS // 3 else b"v%d" % number) for number in range(EVENTS)]
    acked = send(bootstrap, f"{topics}in", rows, 0)
    others = [Row("other", b"w%d" % number) for number in range(100)]
    send(bootstrap, f"{topics}in", others, 1)
    run = running("killed")
    run.start(1)
    run.until_caught_up()

    table = run.table("seen")
    worker = run.worker()
    assert run.drain() == ExitCode.DRAINED
    good = [row.value for row in rows if row.value != killer]
    out = [row for part in reader.rows(f"{topics}out").values() for row in part]
    assert [row.value for row in out if row.key == "k"] == good
    assert [row.value for row in out if row.key == "other"] == [row.value for row in others]
    assert sorted(map(str, values(reader.rows(f"{topics}copies")))) == sorted(str(row.value) for row in rows + others)
    assert table == {"k": len(good), "other": len(others)}
    (dead,) = [letter for part in reader.messages(f"{run.app_id}-dead-letter").values() for letter in part]
    headers = headers_of(dead)
    assert (dead.key(), dead.value(), headers["dead-letter-agent"]) == (b"k", killer, b"fragile")
    assert {(0, int(headers["dead-letter-offset"]))} == {at for at, row in acked.items() if row.value == killer}
    assert b"killed the worker twice: " + reason in headers["dead-letter-error"]
    assert worker.restarts <= DEATHS_MAX


def test_policy_skip_passes_killers_over(running: StartApp, reader: Reader, topics: str, bootstrap: str) -> None:
    """Two of them, one behind the other: a line in the log is all that is left."""
    send(bootstrap, f"{topics}in", [Row("k", value) for value in (b"a", b"die 11", b"die 6", b"b")], 0)
    run = running("killed", error_action="skip", crash_loop_deaths=20)
    run.start(2)
    run.until_caught_up()

    assert run.drain() == ExitCode.DRAINED
    assert values(reader.rows(f"{topics}out")) == [b"a", b"b"]
    assert not any(reader.messages(f"{run.app_id}-dead-letter").values())
    assert "fragile skips" in run.log()


def test_policy_stop_ends_with_70_at_a_killer(running: StartApp, reader: Reader, topics: str, bootstrap: str) -> None:
    """What came before is committed, the killer is not, and the message says which event it is."""
    send(bootstrap, f"{topics}in", [Row("k", value) for value in (b"a", b"b", b"die 11", b"c")], 1)
    run = running("killed", error_action="stop")
    run.start(2)

    assert run.wait() == ExitCode.CRASH_LOOP
    assert reader.committed(run.app_id, f"{topics}in", ended=True).get(1) == 2
    assert values(reader.rows(f"{topics}out")) == [b"a", b"b"]
    assert f"fragile stops the app at {topics}in[1]@2" in run.log()
    assert "killed the worker twice" in run.log()
