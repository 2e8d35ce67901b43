"""One worker process on real Kafka, through its protocol: grants, revocations, queries, reports, drain."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from confluent_kafka.admin import AdminClient

from streamcluster.ahead import short_name
from streamcluster.errors import ExitCode
from streamcluster.protocol.messages import Drain, Failed, Grant, ReadTable, Ready, Released, Revoke, Rows
from streamcluster_worker.kafka.native import why_not_native
from tests.conftest import MakeTopic
from tests.kafka.worker import Link, OneWorker, report_where, wait_caught_up
from tests.process.checker import Row
from tests.process.records import Feed, Reader, headers_of, send, values
from tests.process.waiting import eventually

MakeWorker = Callable[..., OneWorker]


def rows(count: int, key: str = "k") -> list[Row]:
    """`count` records over five keys."""
    return [Row(f"{key}{number % 5}", b"v%d" % number) for number in range(count)]


def query(link: Link, request: ReadTable) -> Rows:
    """Ask and wait for this request's answer."""
    link.send(request)
    return link.wait_for(Rows, lambda answer: answer.request == request.request, f"to {request}")


def test_a_grant_is_worked_to_lag_0_and_a_drain_ends_with_0(
    one_worker: MakeWorker, reader: Reader, bootstrap: str, topic_prefix: str
) -> None:
    """All fields of the report say what happened: positions, lag, events, commits, memory; the end is clean."""
    worker = one_worker("obedient")
    sent = rows(50)
    acked = send(bootstrap, f"{topic_prefix}in", sent)
    link = worker.start()

    link.send(Grant(epoch=1, tasks=worker.tasks))
    wait_caught_up(link, bootstrap, 2)
    # The ends of the logs are noted a few times a second.
    lag = [{f"{topic_prefix}in": 0}] * 2
    report = report_where(link, lambda report: [task.figures.lag for task in report.tasks] == lag, "both are at lag 0")
    link.send(Drain())

    assert link.wait() == ExitCode.DRAINED
    assert sorted(values(reader.rows(f"{topic_prefix}out")), key=str) == sorted((r.value for r in sent), key=str)
    positions = {task.task.partition: task.figures.positions[f"{topic_prefix}in"] for task in report.tasks}
    assert positions == {n: sum(partition == n for partition, _ in acked) for n in (0, 1)}
    assert reader.committed(worker.settings.app_id, f"{topic_prefix}in", ended=True) == positions
    figures = report.figures
    assert (figures.events_total, figures.dead_letters_total, figures.rollbacks_total) == (50, 0, 0)
    assert figures.commits_total > 0
    assert figures.rss_bytes > 10_000_000
    assert (report.broker, figures.note) == ("up", None)
    assert (figures.native, figures.native_not) == (not (reason := why_not_native(worker.settings)), reason)


def test_a_revoked_task_is_released_and_the_other_goes_on(
    one_worker: MakeWorker, reader: Reader, bootstrap: str, topic_prefix: str
) -> None:
    """After Released nothing of that task is read any more, until it is granted again; then nothing is twice."""
    worker = one_worker("obedient")
    link = worker.start()
    link.send(Grant(epoch=1, tasks=worker.tasks))
    send(bootstrap, f"{topic_prefix}in", rows(40))
    wait_caught_up(link, bootstrap, 2)
    kept, lost = worker.tasks

    link.send(Revoke(epoch=2, tasks=(lost,)))
    released = link.wait_for(Released)
    for partition in (0, 1):
        send(bootstrap, f"{topic_prefix}in", rows(10, f"p{partition}-"), partition)
    wait_caught_up(link, bootstrap, 1)
    meanwhile = reader.rows(f"{topic_prefix}out")
    link.send(Grant(epoch=3, tasks=(lost,)))
    wait_caught_up(link, bootstrap, 2)

    assert released.tasks == (lost,)
    assert {row.key[:3] for part in meanwhile.values() for row in part if row.key.startswith("p")} == {
        f"p{kept.partition}-"
    }
    assert reader.count(f"{topic_prefix}out") == 60


def test_messages_of_an_older_epoch_are_ignored(one_worker: MakeWorker) -> None:
    """A late revocation does not take a task away, a late grant does not give one."""
    worker = one_worker("obedient")
    link = worker.start()
    first, second = worker.tasks
    link.send(Grant(epoch=5, tasks=(first,)))
    report_where(link, lambda report: len(report.tasks) == 1, "one task is there")

    link.send(Revoke(epoch=4, tasks=(first,)))
    link.send(Grant(epoch=4, tasks=(second,)))
    link.send(ReadTable(request=1, table="seen"))
    link.wait_for(Rows)
    report = report_where(link, lambda report: True, "it is alive")

    assert [task.task for task in report.tasks] == [first]


def test_tables_are_read_by_key_and_by_page(one_worker: MakeWorker, bootstrap: str, topic_prefix: str) -> None:
    """A key, a missing key, pages that together are the whole table, and an unknown table by its name."""
    worker = one_worker("obedient")
    send(bootstrap, f"{topic_prefix}in", [Row(f"k{n % 25}", b"v") for n in range(100)])
    link = worker.start()
    link.send(Grant(epoch=1, tasks=worker.tasks))
    wait_caught_up(link, bootstrap, 2)

    found: dict[str, str] = {}
    after: str | None = None
    for request in range(100):
        page = query(link, ReadTable(request=request, table="seen", after=after, rows_max=4))
        assert len(page.rows) <= 4
        assert not found.keys() & dict(page.rows).keys()
        found.update(page.rows)
        after = page.after
        if after is None:
            break

    assert found == {f'"k{n}"': "4" for n in range(25)}
    assert query(link, ReadTable(request=200, table="seen", key='"k7"')).rows == (('"k7"', "4"),)
    assert query(link, ReadTable(request=201, table="seen", key='"none"')).owner is False
    assert "no table 'sean'" in str(query(link, ReadTable(request=202, table="sean")).error)


def test_a_killed_worker_leaves_no_half_event(
    one_worker: MakeWorker, reader: Reader, bootstrap: str, topic_prefix: str
) -> None:
    """kill -9 and a new process in the slot: outputs once each, and table and offsets fit them."""
    worker = one_worker("obedient")
    # The first process cannot come to the end, however late it is killed.
    sent = [*(Row(f"k{n % 5}", b"v%d" % n) for n in range(30_000)), Row("k0", b"hang once")]
    send(bootstrap, f"{topic_prefix}in", sent)
    link = worker.start()
    link.send(Grant(epoch=1, tasks=worker.tasks))
    eventually(lambda: reader.high(f"{topic_prefix}out", 0) > 0, 30, "records flow")
    link.process.kill()
    link.process.wait(30)
    (worker.directory / "hung").touch()
    done = reader.committed(worker.settings.app_id, f"{topic_prefix}in")

    again = worker.start()
    again.send(Grant(epoch=1, tasks=worker.tasks))
    wait_caught_up(again, bootstrap, 2)

    assert sum(done.values()) < len(sent)
    assert sorted(values(reader.rows(f"{topic_prefix}out")), key=str) == sorted((r.value for r in sent), key=str)
    counts = [6001, 6000, 6000, 6000, 6000]
    assert sorted(query(again, ReadTable(request=1, table="seen")).rows) == [
        (f'"k{n}"', str(count)) for n, count in enumerate(counts)
    ]


def test_a_second_process_in_the_slot_fences_the_first(
    one_worker: MakeWorker, bootstrap: str, topic_prefix: str
) -> None:
    """The first says that it was fenced and exits 76, as soon as it has something to commit."""
    worker = one_worker("obedient", store="memory://")
    first = worker.start()
    first.send(Grant(epoch=1, tasks=worker.tasks))
    report_where(first, lambda report: len(report.tasks) == 2, "the tasks are there")
    worker.start()

    send(bootstrap, f"{topic_prefix}in", rows(5))

    assert first.wait() == ExitCode.FENCED
    assert first.wait_for(Failed).exit_code == ExitCode.FENCED


def test_a_changelog_that_is_gone_is_waited_for_without_tasks(
    one_worker: MakeWorker, make_topic: MakeTopic, bootstrap: str, topic_prefix: str
) -> None:
    """What cannot be restored is given back with everything else; granted again when the topic is there, it runs."""
    worker = one_worker("obedient")
    changelog = worker.topology.tables[0].changelog
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.delete_topics([changelog])[changelog].result(30)
    # The broker goes on with it after its answer.
    eventually(lambda: changelog not in admin.list_topics(timeout=30).topics, 30, "the changelog is gone")
    link = worker.start()
    link.send(Grant(epoch=1, tasks=worker.tasks))
    link.wait_for(Ready, lambda said: said.session == 2, "again")
    report_where(link, lambda report: not report.tasks, "it has no tasks")

    make_topic(changelog, 2)
    send(bootstrap, f"{topic_prefix}in", rows(10))
    link.send(Grant(epoch=1, tasks=worker.tasks, session=2))
    wait_caught_up(link, bootstrap, 2)
    assert query(link, ReadTable(request=1, table="seen", key='"k1"')).rows == (('"k1"', "2"),)


def test_worker_whose_client_hears_nothing_opens_another(
    one_worker: MakeWorker, reader: Reader, bootstrap: str, topic_prefix: str
) -> None:
    """Records that nobody brings are no silence of the brokers: it finds out, lets its tasks go, and asks for more."""
    worker = one_worker("deaf:obedient", heartbeat_interval=0.1)
    link = worker.start()
    link.send(Grant(epoch=1, tasks=worker.tasks))
    send(bootstrap, f"{topic_prefix}in", [Row("k", b"v")])
    ready = link.wait_for(Ready, lambda said: said.session > 1, "again")
    assert "brokers answer others, and not the client that reads" in link.log_end()

    link.send(Grant(epoch=2, tasks=worker.tasks, session=ready.session))
    wait_caught_up(link, bootstrap, len(worker.tasks))
    assert values(reader.rows(f"{topic_prefix}out")) == [b"v"]


def test_agents_that_are_ahead_are_noted_in_the_commit(
    one_worker: MakeWorker, reader: Reader, bootstrap: str, topic_prefix: str
) -> None:
    """A fast agent's outputs are committed while a slow one holds the offset back; a crash repeats neither's."""
    worker = one_worker("paced")
    # The slow one stays at the tenth. A commit waits for events in hand, so it is made between two that come before.
    expected = [b"hold once" if n == 10 else b"v%d" % n for n in range(30)]
    send(bootstrap, f"{topic_prefix}in", [Row("k", value) for value in expected], 0)
    link = worker.start()
    link.send(Grant(epoch=1, tasks=worker.tasks))
    group = worker.settings.app_id
    text = eventually(
        lambda: reader.metadata(group, f"{topic_prefix}in", 0), 30, "the metadata notes who is ahead", link.log_end
    )
    link.process.kill()
    link.process.wait(30)
    (worker.directory / "held").touch()
    offset = reader.committed(group, f"{topic_prefix}in")[0]
    again = worker.start()
    again.send(Grant(epoch=1, tasks=worker.tasks))
    wait_caught_up(again, bootstrap, 2)

    assert list(json.loads(text)) == [short_name("fast")]
    assert offset <= 10
    assert values(reader.rows(f"{topic_prefix}fast")) == expected
    assert values(reader.rows(f"{topic_prefix}slow")) == expected
    assert reader.metadata(group, f"{topic_prefix}in", 0) == ""


@pytest.mark.parametrize("value", [b"\xff\xfe", b"not a number"])
def test_an_undecodable_value_is_a_dead_letter_in_the_same_commit(
    one_worker: MakeWorker, reader: Reader, bootstrap: str, topic_prefix: str, value: bytes
) -> None:
    """It is passed with its bytes and its reason, once, and what stands around it is processed."""
    worker = one_worker("ledger")
    good = b'{"number": %d, "account": "a", "amount": 2}'
    send(bootstrap, f"{topic_prefix}in", [Row("a", good % 1), Row("a", value), Row("a", good % 2)], 1)
    link = worker.start()
    link.send(Grant(epoch=1, tasks=worker.tasks))
    wait_caught_up(link, bootstrap, 2)

    dead = reader.messages(worker.settings.dead_letters)[0]
    assert {message.value() for message in dead} == {value}
    gave_up = [headers_of(message)["dead-letter-agent"] for message in dead]
    assert 1 <= len(gave_up) == len(set(gave_up)), "an agent that decodes gives a record up once"
    assert query(link, ReadTable(request=1, table="sums", key='"a"')).rows == (('"a"', "4"),)
    assert reader.count(f"{topic_prefix}echo") == 3, "the agent that takes bytes has no trouble with it"


def test_a_trickle_with_failing_events_loses_and_repeats_nothing(
    one_worker: MakeWorker, reader: Reader, bootstrap: str, topic_prefix: str
) -> None:
    """A rollback while the polling thread brings a record: what it brings must not count as the next after the rewind.

    Records come one at a time, so that the thread is nearly always out when an event fails.
    """
    worker = one_worker("obedient")
    sent = [Row("k", b"fail %d" % n if n % 20 == 19 else b"v%d" % n) for n in range(240)]
    link = worker.start()
    link.send(Grant(epoch=1, tasks=worker.tasks))
    feed = Feed(bootstrap, f"{topic_prefix}in", sent, rate=100, partition=0)
    feed.run()
    wait_caught_up(link, bootstrap, 2)

    good = [row.value for row in sent if not (row.value or b"").startswith(b"fail")]
    failing = [row.value for row in sent if (row.value or b"").startswith(b"fail")]
    assert values(reader.rows(f"{topic_prefix}out")) == good
    assert [message.value() for message in reader.messages(worker.settings.dead_letters)[0]] == failing
    assert query(link, ReadTable(request=1, table="seen", key='"k"')).rows == (('"k"', str(len(good))),)
