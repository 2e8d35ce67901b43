"""A worker as a standby, through its protocol: it follows, answers from what it follows, and is promoted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from streamcluster.ids import TaskId
from streamcluster.kafka.opening import Connection
from streamcluster.protocol.messages import (
    Drain,
    Follow,
    Following,
    Grant,
    ReadTable,
    Released,
    Report,
    Revoke,
    Rows,
    Stored,
)
from streamcluster.topology import BrokerTopic
from streamcluster_worker.kafka.producers import open_transactional_producer
from tests.kafka.conftest import MakeWorker
from tests.kafka.worker import Link, OneWorker, report_where, wait_caught_up
from tests.process.checker import Row
from tests.process.records import Reader, send, values


def rows(count: int, first: int = 0) -> list[Row]:
    """So many records over 25 keys."""
    return [Row(f"k{number % 25}", b"v%d" % number) for number in range(first, first + count)]


def query(link: Link, request: ReadTable) -> Rows:
    """Ask and wait for this request's answer."""
    link.send(request)
    return link.wait_for(Rows, lambda answer: answer.request == request.request, f"to {request}")


def stands_at(task: TaskId, position: int) -> Callable[[Report], bool]:
    """Whether a report has this standby at this position, with nothing to catch up with."""

    def fits(report: Report) -> bool:
        return any(
            (one.task, one.state, one.figures.stored, sum(one.figures.lag.values())) == (task, "standby", position, 0)
            for one in report.tasks
        )

    return fits


def follow_to_the_end(standby: Link, owner: Report, epoch: int) -> None:
    """Have `standby` follow all of the owner's tasks, up to where their owner is."""
    tasks = tuple(task.task for task in owner.tasks)
    standby.send(Follow(epoch=epoch, tasks=tasks))
    standby.wait_for(Following, lambda answer: (answer.epoch, answer.tasks) == (epoch, tasks))
    for task in owner.tasks:
        # Behind the owner's last record there is the marker of its transaction.
        report_where(standby, stands_at(task.task, task.figures.stored + 1), f"{task.task} is at its end")


def fence(worker: OneWorker, host: str) -> None:
    """As the leader does it when a host is gone."""
    producer = open_transactional_producer(worker.settings, worker.transactional_id(host), Connection(), 30.0)
    del producer


def test_a_standby_is_promoted_without_a_restore(
    one_worker: MakeWorker, reader: Reader, bootstrap: str, topic_prefix: str
) -> None:
    """The owner is killed at work and fenced; its standby goes on from the tail, and nothing is lost or done twice."""
    worker = one_worker("obedient", heartbeat_interval=0.02)
    owner, standby = worker.start("a"), worker.start("b")
    owner.send(Grant(epoch=1, tasks=worker.tasks))
    send(bootstrap, f"{topic_prefix}in", rows(20_000))
    before = wait_caught_up(owner, bootstrap, 2)
    follow_to_the_end(standby, before, 1)

    send(bootstrap, f"{topic_prefix}in", rows(5_000, 20_000))
    owner.process.kill()
    owner.process.wait(30)
    fence(worker, "a")
    ends = sum(reader.high(worker.topology.tables[0].changelog, number) for number in (0, 1))
    standby.send(Grant(epoch=2, tasks=worker.tasks))
    report = wait_caught_up(standby, bootstrap, 2)

    # How long it takes is measured elsewhere (tests/bench/hosts.py).
    assert sum(one.figures.restored for one in report.tasks) <= ends - sum(one.figures.stored for one in before.tasks)
    sent = sorted(str(row.value) for row in rows(25_000))
    assert sorted(map(str, values(reader.rows(f"{topic_prefix}out")))) == sent
    assert sorted(query(standby, ReadTable(request=1, table="seen")).rows) == sorted(
        (f'"k{n}"', "1000") for n in range(25)
    )


def test_a_standby_of_a_table_of_a_topic_is_where_its_owner_is(
    one_worker: MakeWorker, reader: Reader, bootstrap: str, topic_prefix: str
) -> None:
    """It follows the topic up to the owner's positions, answers, and goes on with what it has when it is promoted."""
    topic = BrokerTopic(name=f"{topic_prefix}users", partitions=2, config={"cleanup.policy": "compact"})
    worker = one_worker("table_topic_apps:asked", topics=(topic,), heartbeat_interval=0.02)
    assert [(table.changelog, table.feeder) for table in worker.topology.tables] == [(topic.name, "users-source")]
    owner, standby = worker.start("a"), worker.start("b")
    owner.send(Grant(epoch=1, tasks=worker.tasks))
    send(bootstrap, topic.name, [Row(f"k{number % 25}", b"%d" % number) for number in range(5_000)])
    wait_caught_up(owner, bootstrap, 2)
    standby.send(Follow(epoch=1, tasks=worker.tasks))
    ends = {number: reader.high(topic.name, number) for number in (0, 1)}
    for task in worker.tasks:
        report_where(standby, stands_at(task, ends[task.partition]), f"{task} is at its end")
    expected = sorted((f'"k{n}"', str(4_975 + n)) for n in range(25))
    found = query(standby, ReadTable(request=1, table="users", standby=True))
    assert (sorted(found.rows), found.lag) == (expected, 0)

    send(bootstrap, topic.name, [Row("k0", b"1")])
    wait_caught_up(owner, bootstrap, 2)
    owner.process.kill()
    owner.process.wait(30)
    fence(worker, "a")
    standby.send(Grant(epoch=2, tasks=worker.tasks))
    report = wait_caught_up(standby, bootstrap, 2)
    assert sum(one.figures.restored for one in report.tasks) <= 1
    assert dict(query(standby, ReadTable(request=2, table="users")).rows) == dict(expected) | {'"k0"': "1"}


def test_a_standby_answers_from_what_it_follows(one_worker: MakeWorker, bootstrap: str, topic_prefix: str) -> None:
    """By key and by page, with its lag; asked for what it owns, it has nothing."""
    worker = one_worker("obedient")
    owner, standby = worker.start("a"), worker.start("b")
    owner.send(Grant(epoch=1, tasks=worker.tasks))
    send(bootstrap, f"{topic_prefix}in", rows(100))
    follow_to_the_end(standby, wait_caught_up(owner, bootstrap, 2), 1)

    found: dict[str, str] = {}
    after: str | None = None
    for request in range(100):
        page = query(standby, ReadTable(request=request, table="seen", after=after, rows_max=4, standby=True))
        assert (page.error, page.lag) == (None, 0)
        found.update(page.rows)
        after = page.after
        if after is None:
            break

    assert found == {f'"k{n}"': "4" for n in range(25)}
    one = query(standby, ReadTable(request=200, table="seen", key='"k7"', standby=True))
    assert (one.rows, one.lag, one.owner) == ((('"k7"', "4"),), 0, True)
    assert query(standby, ReadTable(request=201, table="seen", key='"none"', standby=True)).owner is False
    assert query(standby, ReadTable(request=202, table="seen", key='"k7"')).owner is False
    assert query(owner, ReadTable(request=203, table="seen", key='"k7"')).lag is None
    assert query(owner, ReadTable(request=204, table="seen", key='"k7"', standby=True)).owner is False
    assert "no table 'sean'" in str(query(standby, ReadTable(request=205, table="sean", standby=True)).error)


def change_places(owner: Link, standby: Link, tasks: tuple[TaskId, ...], epoch: int) -> None:
    """The standby gets the tasks, and their owner follows them from then on."""
    owner.send(Revoke(epoch=epoch, tasks=tasks))
    for task in tasks:
        owner.wait_for(Released, partial(releases, epoch, task))
    owner.send(Follow(epoch=epoch + 1, tasks=tasks))
    standby.send(Grant(epoch=epoch + 1, tasks=tasks))
    owner.wait_for(Following, lambda said: (said.epoch, said.tasks) == (epoch + 1, tasks))


def releases(epoch: int, task: TaskId, said: Released) -> bool:
    """Whether this is the answer to a revocation of the task."""
    return said.epoch == epoch and task in said.tasks


def test_an_owner_becomes_a_standby_and_the_other_way_round(
    one_worker: MakeWorker, reader: Reader, bootstrap: str, topic_prefix: str
) -> None:
    """Tasks change places, twice: each hand-over finds the state there, and no event is lost or done twice."""
    worker = one_worker("obedient")
    links = [worker.start("a"), worker.start("b")]
    sent = 0
    links[0].send(Grant(epoch=1, tasks=worker.tasks))
    for turn in range(3):
        owner, standby = links[turn % 2], links[(turn + 1) % 2]
        send(bootstrap, f"{topic_prefix}in", rows(500, sent))
        sent += 500
        report = wait_caught_up(owner, bootstrap, 2)
        if turn:
            # The marker behind what it had; and nothing that it had before.
            assert sum(one.figures.restored for one in report.tasks) <= 2 * 2
        follow_to_the_end(standby, report, 10 * turn + 2)
        change_places(owner, standby, worker.tasks, 10 * turn + 3)
    wait_caught_up(links[1], bootstrap, 2)
    assert sorted(map(str, values(reader.rows(f"{topic_prefix}out")))) == sorted(str(row.value) for row in rows(sent))


def test_what_is_not_followed_any_more_is_free(one_worker: MakeWorker, bootstrap: str, topic_prefix: str) -> None:
    """After Following another worker of the host may be granted the task; a list of an older epoch is ignored."""
    worker = one_worker("obedient")
    first, second = worker.tasks
    owner, standby = worker.start("a"), worker.start("b")
    owner.send(Grant(epoch=1, tasks=worker.tasks))
    send(bootstrap, f"{topic_prefix}in", rows(100))
    follow_to_the_end(standby, wait_caught_up(owner, bootstrap, 2), 5)
    standby.send(Follow(epoch=4, tasks=()))
    standby.send(Follow(epoch=6, tasks=(second,)))
    answer = standby.wait_for(Following, lambda said: said.epoch == 6)
    assert answer.tasks == (second,)
    assert not [said for said in standby.said if isinstance(said, Following) and said.epoch == 4]

    # A second worker on host b, in a slot of its own: the disk of the first.
    (worker.directory / "c").symlink_to(worker.directory / "b")
    other = worker.start("c", inventory=True)
    stored = other.wait_for(Stored)
    assert list(stored.positions) == [str(first)]
    assert stored.positions[str(first)] > 0
    other.send(Follow(epoch=7, tasks=(first,)))
    report_where(
        other,
        lambda report: (
            [(one.state, one.figures.error) for one in report.tasks] == [("standby", None)]
            and sum(report.tasks[0].figures.lag.values()) == 0
        ),
        "it is followed from there",
    )
    standby.send(Drain())
    assert standby.wait() == 0


def test_a_standby_that_is_granted_and_revoked_at_once_is_free(
    one_worker: MakeWorker, bootstrap: str, topic_prefix: str
) -> None:
    """Taken back before they are opened, tasks are followed no more either: another worker of the host has them."""
    worker = one_worker("obedient")
    owner, standby = worker.start("a"), worker.start("b")
    owner.send(Grant(epoch=1, tasks=worker.tasks))
    send(bootstrap, f"{topic_prefix}in", rows(100))
    wait_caught_up(owner, bootstrap, 2)
    owner.process.kill()
    owner.process.wait(30)
    fence(worker, "a")

    tasks = worker.tasks
    standby.send(Follow(epoch=5, tasks=tasks), Grant(epoch=6, tasks=tasks), Revoke(epoch=7, tasks=tasks))
    for task in tasks:
        standby.wait_for(Released, partial(releases, 7, task))

    (worker.directory / "c").symlink_to(worker.directory / "b")
    other = worker.start("c")
    other.send(Grant(epoch=8, tasks=tasks))
    wait_caught_up(other, bootstrap, 2)
