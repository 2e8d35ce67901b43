"""Tables whose changelog is the compacted topic that they are made of, on a real broker."""

from __future__ import annotations

import shutil
from collections.abc import Iterable

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stub forgets them
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from streamcluster.errors import ExitCode
from tests.conftest import MakeTopic
from tests.process.checker import Row
from tests.process.conftest import StartApp
from tests.process.records import Feed, Reader
from tests.process.running import Running
from tests.process.waiting import eventually

KEYS = 50
RECORDS, RATE = 30_000, 3_000
SECONDS = 60.0
APP = "tests.process.table_topic_apps:asked"
Record = tuple[bytes, bytes | None]


def change(bootstrap: str, topic: str, records: Iterable[Record]) -> None:
    """Produce records, some of them without a value."""
    errors: list[object] = []
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"})
    for key, value in records:
        producer.produce(topic, key=key, value=value, on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(SECONDS) == 0
    assert not any(errors), errors


def set_policy(bootstrap: str, topic: str, policy: str) -> None:
    """Have brokers clean up the topic in another way."""
    entry = ConfigEntry("cleanup.policy", policy, incremental_operation=AlterConfigOpType.SET)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    asked = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin.incremental_alter_configs([asked])[asked].result(SECONDS)

    def is_set() -> bool:
        [found] = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
        return bool(found.result(SECONDS)["cleanup.policy"].value == policy)

    eventually(is_set, SECONDS, f"the policy is {policy}")


def topics_there(bootstrap: str) -> set[str]:
    """The names of all topics."""
    return set(AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=SECONDS).topics)


def forget(run: Running) -> None:
    """The host's disk is lost."""
    shutil.rmtree(run.state_dir)


@pytest.fixture
def users(topic_prefix: str, make_topic: MakeTopic) -> str:
    """The topic of the table, compacted; with that of the questions."""
    make_topic(f"{topic_prefix}in", 2)
    return make_topic(f"{topic_prefix}users", 2, {"cleanup.policy": "compact"})


def test_killed_hosts_without_a_disk_have_the_rows_of_the_topic(
    running: StartApp, reader: Reader, bootstrap: str, topic_prefix: str, users: str
) -> None:
    """Killed in the middle, with the disk lost each time: the same rows, each answer once, and no changelog."""
    run = running(APP)
    letters = f"{run.app_id}-dead-letter"
    change(bootstrap, users, [(b"bad", b"1"), (b"bad", b"no number"), (b"gone", b"1"), (b"kept", b"7")])
    run.start(2)
    run.until_caught_up()
    assert run.table("users") == {"bad": 1, "gone": 1, "kept": 7}
    feed = Feed(bootstrap, users, (Row(f"k{n % KEYS}", b"%d" % n) for n in range(RECORDS)), rate=RATE)
    feed.start()
    questions = Feed(bootstrap, f"{topic_prefix}in", (Row(f"k{n % KEYS}", b'"?"') for n in range(RECORDS)), rate=RATE)
    questions.start()
    for _ in range(2):
        run.until(lambda status: sum(task.figures.positions.get(users, 0) for task in status.tasks), "it reads")
        run.kill()
        run.close()
        forget(run)
        run.start(2)
        run.until_running()
    for one in (feed, questions):
        eventually(lambda one=one: len(one.acked) == RECORDS, SECONDS, "all is sent")  # type: ignore[misc]
        one.stop()
    change(bootstrap, users, [(b"gone", None)])
    run.until_caught_up()

    expected = {f"k{n}": RECORDS - KEYS + n for n in range(KEYS)} | {"bad": 1, "kept": 7}
    assert run.table("users") == expected
    assert reader.count(f"{topic_prefix}out") == RECORDS
    run.drain()
    forget(run)
    run.start(2)
    run.until_caught_up()
    assert run.table("users") == expected
    assert reader.count(letters) == 1
    assert f"{run.app_id}-users-changelog" not in topics_there(bootstrap)
    assert f"topic {users} is its changelog" in run.log()


def test_a_topic_that_is_not_compacted_any_more_is_said(
    running: StartApp, bootstrap: str, topic_prefix: str, users: str
) -> None:
    """Said at once. The app does not start then, nor with a table that wants a changelog; as it was it does."""
    run = running(APP)
    change(bootstrap, users, [(b"a", b"1"), (b"b", b"2")])
    run.start(1)
    run.until_caught_up()
    set_policy(bootstrap, users, "compact,delete")
    run.until(lambda status: any("brokers delete rows of the table" in note for note in status.notes), "it is said")
    run.drain()
    forget(run)

    run.start(1)
    assert run.wait() == ExitCode.STATE_INCOMPATIBLE
    assert "has cleanup.policy=compact,delete now" in run.log_end()
    assert f"Set cleanup.policy=compact on '{users}'" in run.log_end()
    checked = run.cli("check")
    assert checked.returncode == ExitCode.STATE_INCOMPATIBLE
    set_policy(bootstrap, users, "compact")
    run.app = "tests.process.table_topic_apps:keeps"
    run.start(1)
    assert run.wait() == ExitCode.STATE_INCOMPATIBLE
    assert "ttl= deletes rows that the topic has" in run.log_end()

    run.app = APP
    run.start(1)
    run.until_caught_up()
    assert run.table("users") == {"a": 1, "b": 2}
    assert f"{run.app_id}-users-changelog" not in topics_there(bootstrap)


def test_a_topic_takes_over_from_a_changelog_that_is_deleted(
    running: StartApp, bootstrap: str, topic_prefix: str, users: str
) -> None:
    """The rows of the disk are those of another log, so they are restored from the topic: the same ones."""
    run = running(APP)
    changelog = f"{run.app_id}-users-changelog"
    set_policy(bootstrap, users, "delete")
    change(bootstrap, users, [(b"a", b"1"), (b"b", b"2"), (b"b", None)])
    run.start(1)
    run.until_caught_up()
    assert run.table("users") == {"a": 1}
    assert changelog in topics_there(bootstrap)
    run.drain()

    set_policy(bootstrap, users, "compact")
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.delete_topics([changelog])[changelog].result(SECONDS)
    eventually(lambda: changelog not in topics_there(bootstrap), SECONDS, "the changelog is gone")
    change(bootstrap, users, [(b"c", b"3")])
    run.start(1)
    run.until_caught_up()
    assert run.table("users") == {"a": 1, "c": 3}
    assert changelog not in topics_there(bootstrap)
