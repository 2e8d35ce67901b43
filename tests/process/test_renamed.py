"""What an earlier version of an app left in topics that no declaration names any more is said, and waits for a word."""

from __future__ import annotations

import signal

from confluent_kafka.admin import AdminClient

from streamcluster.errors import ExitCode
from tests.conftest import MakeTopic
from tests.process.checker import Row
from tests.process.conftest import StartApp
from tests.process.records import Reader, send
from tests.process.running import Running
from tests.process.waiting import eventually

RECORDS = 20
SECONDS = 40.0


def version(run: Running, number: int) -> None:
    """Which version the next command is about."""
    run.environment["PROCESS_TEST_VERSION"] = str(number)


def refused(run: Running, *topics: str) -> None:
    """The start ends with what is left, and so does `check`; nothing is deleted."""
    run.start(1)
    assert run.wait() == ExitCode.CONFIGURATION, run.log_end()
    checked = run.cli("check")
    assert checked.returncode == ExitCode.CONFIGURATION
    for topic in topics:
        assert topic in checked.stderr
        assert topic in run.log_end()
    assert "--leave" in run.log_end()
    assert (
        set(topics)
        <= AdminClient({"bootstrap.servers": run.broker_url.removeprefix("kafka://")})
        .list_topics(timeout=SECONDS)
        .topics.keys()
    )


def test_renamed_agent_and_table_wait_for_a_word(
    running: StartApp, reader: Reader, bootstrap: str, topic_prefix: str, make_topic: MakeTopic
) -> None:
    """The start says how many records are left and where; the old name finishes them; `--leave` is asked for once."""
    run = running("tests.process.renamed:renamed", drain_timeout=1.0)
    source = make_topic(f"{topic_prefix}in", 1)
    repartition = f"total-{source}-value-repartition"
    send(bootstrap, source, [Row("k", f"v{number % 3}".encode()) for number in range(RECORDS)])
    version(run, 1)
    run.start(1)
    run.until_running()
    eventually(lambda: reader.count(repartition) == RECORDS, SECONDS, "all are forwarded")
    run.signal(signal.SIGTERM)
    run.wait()

    version(run, 2)
    refused(run, repartition)
    assert f"topic '{repartition}' has {RECORDS} records that agent 'total' forwarded" in run.log_end()

    version(run, 4)
    run.start(1)
    run.until_caught_up()
    assert sum(run.table("totals").values()) == RECORDS
    assert run.drain() == ExitCode.DRAINED

    version(run, 3)
    changelog = f"{run.app_id}-totals-changelog"
    refused(run, changelog)
    run.start(1, "--leave")
    run.until_caught_up()
    assert run.table("sums") == {}
    assert run.drain() == ExitCode.DRAINED
    run.start(1)
    run.until_running()
    assert run.drain() == ExitCode.DRAINED
