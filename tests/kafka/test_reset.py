"""A worker whose clients are replaced because nobody knows whether its commit counts: what it may do until it is told.

The broker is the test's own and freezes, so that commits come to no end.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streamcluster.errors import ExitCode
from streamcluster.ids import TaskId
from streamcluster.protocol.messages import (
    LAG_UNKNOWN,
    Drain,
    Failed,
    Follow,
    Following,
    Grant,
    ReadTable,
    Ready,
    Released,
    Report,
    Revoke,
    Rows,
    TaskFigures,
    TaskReport,
    WorkerFigures,
)
from streamcluster_coordinator.broker import Broker
from tests.kafka.worker import Link, OneWorker, report_where, wait_caught_up
from tests.process.checker import Row
from tests.process.records import Feed, Reader, send, values
from tests.process.waiting import eventually

NODE = 1
SECONDS = 30


@pytest.fixture
def worker(own_broker: Broker, topic_prefix: str, tmp_path: Path) -> Iterator[OneWorker]:
    """The obedient app on the test's own broker; it does not wait long for it."""
    admin = AdminClient({"bootstrap.servers": own_broker.bootstrap})

    def make_topic(name: str, partitions: int, config: Mapping[str, str] | None = None) -> str:
        topic = NewTopic(name, num_partitions=partitions, config={"retention.ms": "-1", **(config or {})})
        admin.create_topics([topic])[name].result(SECONDS)
        return name

    one = OneWorker(
        "obedient",
        topic_prefix,
        own_broker.url,
        tmp_path,
        make_topic,
        connect_timeout=20,
        transaction_timeout=10,
        commit_interval=2.0,
        heartbeat_interval=0.1,
    )
    yield one
    one.close()


def numbered() -> Iterator[Row]:
    """Numbered values over ten keys, without an end."""
    return (Row(f"k{number % 10}", b"v%d" % number) for number in itertools.count())


def start_feed(broker: Broker, prefix: str, link: Link) -> Feed:
    """Records flow, and are committed."""
    feed = Feed(broker.bootstrap, f"{prefix}in", numbered(), rate=300)
    feed.start()
    report_where(link, has_uncommitted, "commits are made, and there is more to commit")
    return feed


def has_uncommitted(report: Report) -> bool:
    """Whether the next commit has something in it, after the first one. Not what a standby is behind by."""
    return report.figures.commits_total > 0 and any(
        any(task.figures.lag.values()) for task in report.tasks if task.state == "running"
    )


def released(link: Link) -> set[TaskId]:
    """Every task that the worker has released."""
    return {task for said in list(link.said) if isinstance(said, Released) for task in said.tasks}


def has_given_up(report: Report) -> bool:
    """Whether the worker is replacing its clients: the note is about a commit then, not about absent brokers."""
    return report.figures.note is not None and not report.figures.note.startswith("no broker answers")


def report_of_now(link: Link) -> Report:
    """A report that was made after this call: what was on its way comes before the answer."""
    number = sum(isinstance(said, Rows) for said in link.said)
    link.send(ReadTable(request=number, table="seen", rows_max=1))
    link.wait_for(Rows, lambda answer: answer.request == number)
    return report_where(link, lambda _: True, "it is alive")


def freeze(broker: Broker, link: Link) -> Report:
    """Freeze the broker while there is something to commit, or that would not be noticed; a report made after that."""

    def frozen() -> Report | None:
        report_where(link, has_uncommitted, "there is more to commit")
        broker.pause(NODE)
        report = report_of_now(link)
        if has_uncommitted(report):
            return report
        broker.resume(NODE)
        return None

    report = eventually(frozen, SECONDS, "the broker is frozen with something to commit")
    assert report is not None
    return report


def freeze_until_lost(broker: Broker, link: Link) -> None:
    """Freeze the broker until the worker has given its commit up."""

    def is_lost() -> bool:
        frozen = freeze(broker, link)

        def is_over(report: Report) -> bool:
            # The answer to a commit may have been on its way already, and everything in that one.
            is_committed = report.figures.commits_total > frozen.figures.commits_total and not has_uncommitted(report)
            return has_given_up(report) or is_committed

        if has_given_up(report_where(link, is_over, "it gives up")):
            return True
        broker.resume(NODE)
        return False

    eventually(is_lost, SECONDS, "a commit is lost")


def test_what_a_standby_is_behind_by_is_nothing_to_commit() -> None:
    """A freeze that counts it would meet a worker that has nothing to lose, and wait for ever for it to give up."""
    task = TaskReport(task=TaskId(0, 0), state="running", figures=TaskFigures(lag={"in": 0}))
    standby = TaskReport(task=TaskId(0, 1), state="standby", figures=TaskFigures(lag={"changelog": LAG_UNKNOWN}))
    report = Report(slot=0, tasks=(task, standby), figures=WorkerFigures(commits_total=1))

    assert not has_uncommitted(report)
    behind = msgspec.structs.replace(task, figures=TaskFigures(lag={"in": 1}))
    assert has_uncommitted(msgspec.structs.replace(report, tasks=(behind,)))


def test_worker_whose_slot_was_fenced_while_it_was_resetting_has_no_tasks(
    worker: OneWorker, own_broker: Broker, topic_prefix: str
) -> None:
    """Hole H5: its new producer is valid, and its tasks may be another's. It must wait until it is granted anew.

    Here they are another's. A grant that was on its way comes too late, whatever its epoch. Then they come back.
    """
    first = worker.start("a")
    first.send(Grant(epoch=1, tasks=worker.tasks))
    feed = start_feed(own_broker, topic_prefix, first)
    freeze_until_lost(own_broker, first)
    first.send(Grant(epoch=9, tasks=worker.tasks))
    own_broker.resume(NODE)
    ready = first.wait_for(Ready, lambda said: said.session > 1, "again")

    first.send(Grant(epoch=10, tasks=worker.tasks, session=ready.session - 1))
    second = worker.start("b")
    second.send(Grant(epoch=11, tasks=worker.tasks))
    feed.stop()
    wait_caught_up(second, own_broker.bootstrap, 2)
    after = first.said.index(ready)
    reports = [said for said in first.said[after:] if isinstance(said, Report)]
    assert reports
    assert [report.tasks for report in reports if report.tasks] == []

    second.send(Revoke(epoch=12, tasks=worker.tasks))
    eventually(lambda: released(second) == set(worker.tasks), SECONDS, "both are released", second.log_end)
    first.send(Grant(epoch=13, tasks=worker.tasks, session=ready.session))
    send(own_broker.bootstrap, f"{topic_prefix}in", [Row("k0", b"last")])
    wait_caught_up(first, own_broker.bootstrap, 2)
    reader = Reader(own_broker.bootstrap)
    came = sorted(map(str, values(reader.rows(f"{topic_prefix}out"))))
    assert came == sorted(map(str, values(reader.rows(f"{topic_prefix}in"))))
    assert len(came) > len(feed.acked) > 0
    reader.close()


def test_drain_ends_though_nobody_knows_whether_its_commit_counts(
    worker: OneWorker, own_broker: Broker, topic_prefix: str
) -> None:
    """Nothing is released or drained before the new producer has fenced the old one; then it says it was cut short."""
    first = worker.start("a")
    first.send(Grant(epoch=1, tasks=worker.tasks))
    feed = start_feed(own_broker, topic_prefix, first)
    freeze(own_broker, first)
    first.send(Drain())
    report_where(first, has_given_up, "it gives up")
    assert first.process.poll() is None
    assert not [said for said in first.said if isinstance(said, Released)]
    own_broker.resume(NODE)
    assert first.wait() == ExitCode.TEMPORARY_FAILURE
    assert first.wait_for(Failed).exit_code == ExitCode.TEMPORARY_FAILURE
    feed.stop()

    second = worker.start("b")
    second.send(Grant(epoch=2, tasks=worker.tasks))
    wait_caught_up(second, own_broker.bootstrap, 2)
    reader = Reader(own_broker.bootstrap)
    came = sorted(map(str, values(reader.rows(f"{topic_prefix}out"))))
    assert came == sorted(map(str, values(reader.rows(f"{topic_prefix}in"))))
    reader.close()


def test_standbys_are_let_go_too(worker: OneWorker, own_broker: Broker, topic_prefix: str) -> None:
    """After a reset the worker follows nothing, and its store is free; a list of the new session is followed."""
    owned, followed = worker.tasks
    first = worker.start("a")
    first.send(Grant(epoch=1, tasks=(owned,)))
    first.send(Follow(epoch=1, tasks=(followed,)))
    first.wait_for(Following, lambda said: said.tasks == (followed,))
    feed = start_feed(own_broker, topic_prefix, first)
    freeze_until_lost(own_broker, first)
    own_broker.resume(NODE)
    ready = first.wait_for(Ready, lambda said: said.session > 1, "again")
    report_where(first, lambda report: not report.tasks, "it has nothing")
    first.send(Follow(epoch=1, tasks=worker.tasks, session=ready.session))
    report_where(
        first,
        lambda report: [(one.state, sum(one.figures.lag.values())) for one in report.tasks] == [("standby", 0)] * 2,
        "both are followed",
    )
    feed.stop()
    eventually(lambda: first.process.poll() is None, SECONDS, "it is alive")
