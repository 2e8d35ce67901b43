"""Where a partition begins is decided once, and committed before a record of it is read."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streamcluster.ids import TP, TaskId
from streamcluster.protocol.messages import Grant, Released, Revoke
from streamcluster.settings import Settings
from streamcluster_worker.data.begin import Past
from streamcluster_worker.data.clients import Clients
from streamcluster_worker.data.positions import start_positions
from tests.conftest import MakeTopic
from tests.kafka.worker import OneWorker, report_where, wait_caught_up
from tests.process.checker import Row
from tests.process.records import Reader, send, values
from tests.process.waiting import eventually

MakeWorker = Callable[..., OneWorker]
SECONDS = 30.0
GUARANTEES = ["exactly_once", "at_least_once"]


def rows(count: int, text: str) -> list[Row]:
    """`count` records over five keys."""
    return [Row(f"k{number % 5}", f"{text}{number}".encode()) for number in range(count)]


def wait_for_positions(reader: Reader, group: str, topic: str, ends: dict[int, int]) -> None:
    """Until the group has these positions."""
    eventually(lambda: reader.committed(group, topic) == ends, SECONDS, f"{group} has {ends}")


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_what_comes_while_a_killed_worker_is_replaced_is_processed(
    one_worker: MakeWorker, reader: Reader, bootstrap: str, topic_prefix: str, guarantee: str
) -> None:
    """Under `latest`, of a worker that never had a record; one partition is empty; what was there is not read."""
    worker = one_worker("obedient", consumer_auto_offset_reset="latest", processing_guarantee=guarantee)
    topic = f"{topic_prefix}in"
    send(bootstrap, topic, rows(20, "old"), 0)
    link = worker.start()
    link.send(Grant(epoch=1, tasks=worker.tasks))
    report_where(
        link, lambda report: all(task.figures.positions for task in report.tasks) and len(report.tasks) == 2, "they run"
    )
    wait_for_positions(reader, worker.settings.app_id, topic, {0: 20, 1: 0})

    link.process.kill()
    link.wait()
    sent = [*rows(10, "a"), *rows(10, "b")]
    send(bootstrap, topic, sent[:10], 0)
    send(bootstrap, topic, sent[10:], 1)
    again = worker.start()
    again.send(Grant(epoch=2, tasks=worker.tasks))
    wait_caught_up(again, bootstrap, 2)

    assert sorted(values(reader.rows(f"{topic_prefix}out")), key=str) == sorted((row.value for row in sent), key=str)


def test_task_that_is_taken_back_before_a_record_came_has_begun(
    one_worker: MakeWorker, reader: Reader, bootstrap: str, topic_prefix: str
) -> None:
    """It is granted and revoked at once: once it is released, what comes is for whoever has it next."""
    worker = one_worker("obedient", consumer_auto_offset_reset="latest")
    topic = f"{topic_prefix}in"
    send(bootstrap, topic, rows(20, "old"), 0)
    link = worker.start()
    link.send(Grant(epoch=1, tasks=worker.tasks), Revoke(epoch=2, tasks=worker.tasks))
    link.wait_for(Released, lambda released: worker.tasks[0] in released.tasks)
    link.wait_for(Released, lambda released: worker.tasks[1] in released.tasks)
    wait_for_positions(reader, worker.settings.app_id, topic, {0: 20, 1: 0})

    send(bootstrap, topic, rows(10, "a"), 0)
    other = worker.start("b")
    other.send(Grant(epoch=3, tasks=worker.tasks))
    wait_caught_up(other, bootstrap, 2)

    assert reader.count(f"{topic_prefix}out") == 10


def test_place_that_was_decided_stays_when_nobody_knows_whether_it_was_committed(
    broker_url: str, bootstrap: str, topic_prefix: str, make_topic: MakeTopic
) -> None:
    """The clients were replaced meanwhile, and the end is somewhere else; a position that is there counts more."""
    topic = make_topic(f"{topic_prefix}in", 2)
    settings = Settings(id=f"{topic_prefix}app", broker=broker_url, consumer_auto_offset_reset="latest")
    tps = [TP(topic, 0), TP(topic, 1)]
    clients = Clients.open(settings, f"{topic_prefix}slot", SECONDS, 1_000_000)
    tasks = {TaskId(2, tp.partition): [tp] for tp in tps}
    first = start_positions(clients, settings, tasks, Past({}, {}), {}, {})
    decided = {tp: at for start in first.values() for tp, at in start.new.items()}

    send(bootstrap, topic, rows(7, "a"), 0)
    clients.committer.commit({}, {}, {TP(topic, 1): (0, "")})
    send(bootstrap, topic, rows(7, "a"), 1)
    again = start_positions(clients, settings, tasks, Past({}, {}), decided, {})

    assert [start.positions[tp].next_offset for tp, start in zip(tps, again.values(), strict=True)] == [0, 0]
    assert [bool(start.new) for start in again.values()] == [True, False]
    clients.close()
