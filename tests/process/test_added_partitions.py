"""Partitions are added to a topic while apps read it: they are read, or it is said which are not, and what to do."""

from __future__ import annotations

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from streamcluster.errors import ExitCode
from streamcluster_coordinator.admin.watch import WATCH_SECONDS
from streamcluster_coordinator.records.status import Status
from tests.conftest import MakeTopic
from tests.process.checker import Row
from tests.process.conftest import StartApp
from tests.process.records import Reader, send
from tests.process.waiting import eventually

SECONDS = 60.0


def add_partitions(bootstrap: str, reader: Reader, topic: str, count: int) -> None:
    """As an operator may."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_partitions([NewPartitions(topic, count)])[topic].result(SECONDS)
    eventually(lambda: reader.partitions(topic) == count, SECONDS, f"{topic} has {count} partitions")


def rows(count: int, text: str) -> list[Row]:
    """Records with keys of their own."""
    return [Row(f"{text}{number}", b"v") for number in range(count)]


def test_app_without_state_reads_them_from_their_beginning(
    running: StartApp, reader: Reader, bootstrap: str, topic_prefix: str, make_topic: MakeTopic
) -> None:
    """Under `latest` too, with what came before they were noticed; a stop meanwhile is one."""
    topic = make_topic(f"{topic_prefix}in", 2)
    run = running("tests.process.growing:copying")
    run.start(2)
    run.until_running()
    send(bootstrap, topic, rows(10, "a"), 0)
    add_partitions(bootstrap, reader, topic, 4)
    for partition in range(4):
        send(bootstrap, topic, rows(10, f"b{partition}-"), partition)

    run.until(lambda status: len(status.tasks) == 4, "the new ones are tasks", 2 * WATCH_SECONDS + SECONDS)
    status = run.until_caught_up()

    copied = [row.key for part in reader.rows(f"{topic_prefix}copies").values() for row in part]
    assert sorted(copied) == sorted(row.key for text in ("a", "b0-", "b1-", "b2-", "b3-") for row in rows(10, text))
    assert [task.task for task in status.tasks] == ["4_0", "4_1", "4_2", "4_3"]
    assert f"topic '{topic}' has 4 partitions now, and had 2" in run.log()
    assert f"{topic}[3] was added to its topic" in run.log()
    assert run.drain() == ExitCode.DRAINED


def test_app_with_a_table_says_which_are_not_read(
    running: StartApp, reader: Reader, bootstrap: str, topic_prefix: str, make_topic: MakeTopic
) -> None:
    """It goes on with the others; what waits counts as behind; after a restart it is so still, and `check` knows it."""
    topic = make_topic(f"{topic_prefix}in", 2)
    run = running("tests.process.growing:counting")
    run.start(1)
    run.until_running()
    add_partitions(bootstrap, reader, topic, 3)
    for partition in range(3):
        send(bootstrap, topic, rows(10, f"b{partition}-"), partition)

    def is_said(status: Status) -> bool:
        waiting = {task.task: task.figures.lag for task in status.tasks if task.state == "not read"}
        return waiting == {"3_2": {topic: 10}} and len(status.notes) == 1

    run.until(is_said, "partition 2 counts as behind", 2 * WATCH_SECONDS + SECONDS)
    eventually(lambda: len(run.table("seen")) == 20, SECONDS, "the others are processed")
    said = f"topic '{topic}' has 3 partitions now, and partition 2 is not read"
    assert said in run.cli("status").stdout
    assert run.log().count(said) == 1
    assert run.drain() == ExitCode.DRAINED

    checked = run.cli("check")
    assert (checked.returncode, said in checked.stderr) == (ExitCode.DRAINED, True)
    run.start(1)
    run.until(is_said, "it is so after a restart", SECONDS)
    assert run.log().count(said) == 2
    assert run.drain() == ExitCode.DRAINED
