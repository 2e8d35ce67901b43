"""Brokers that answer with an older committed offset than they had confirmed: nothing is done twice.

Group coordinators of Kafka 4 do that when their broker is killed and up again at once, while they read the group's
commits a second time. Here the group's offset is set back by another client, which looks the same to the worker.
"""

from __future__ import annotations

from confluent_kafka import Consumer, TopicPartition

from streamcluster.protocol.messages import Grant, Released, Report, Revoke
from tests.kafka.conftest import MakeWorker
from tests.kafka.worker import report_where, wait_caught_up
from tests.process.checker import Row
from tests.process.records import Reader, send, values

FORGOTTEN, COUNT = 7, 40


def test_a_worker_waits_for_the_offset_that_it_has_committed(
    one_worker: MakeWorker, reader: Reader, bootstrap: str, topic_prefix: str
) -> None:
    """The task waits and says why, the other goes on, and with the offset back all is there once."""
    worker = one_worker("obedient")
    source, group = f"{topic_prefix}in", worker.settings.app_id
    link = worker.start()
    link.send(Grant(epoch=1, tasks=worker.tasks))
    for partition in (0, 1):
        send(bootstrap, source, [Row(f"k{number}", b"v%d" % number) for number in range(COUNT)], partition)
    wait_caught_up(link, bootstrap, 2)
    kept, moved = worker.tasks
    link.send(Revoke(epoch=2, tasks=(moved,)))
    link.wait_for(Released)
    partition = moved.partition
    right = reader.committed(group, source, ended=True)[partition]

    def commit(offset: int) -> None:
        client = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False})
        client.commit(offsets=[TopicPartition(source, partition, offset)], asynchronous=False)
        client.close()

    def waits(report: Report) -> bool:
        return any(
            one.task == moved and "its coordinator says now 7" in (one.figures.error or "") for one in report.tasks
        )

    commit(FORGOTTEN)
    link.send(Grant(epoch=3, tasks=(moved,)))
    report = report_where(link, waits, "the task says why it waits")
    assert [one.state for one in report.tasks if one.task == kept] == ["running"]
    commit(right)
    wait_caught_up(link, bootstrap, 2)

    assert sorted(values(reader.rows(f"{topic_prefix}out")), key=str) == sorted(
        [b"v%d" % number for number in range(COUNT)] * 2, key=str
    )
