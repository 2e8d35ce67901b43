"""Records that are deleted before they are read, and positions that are gone: what became of them is said, and once."""

from __future__ import annotations

from confluent_kafka.admin import AdminClient

from streamcluster.errors import ExitCode
from tests.conftest import MakeTopic
from tests.process.checker import Row
from tests.process.conftest import StartApp
from tests.process.records import Reader, send
from tests.process.running import Running
from tests.process.waiting import eventually
from tests.worker.changelogs import trim

SECONDS = 40.0


def rows(count: int) -> list[Row]:
    """Records of one key."""
    return [Row("k", f"{number}".encode()) for number in range(count)]


def restart(run: Running) -> None:
    """Until it has caught up."""
    run.start(1)
    run.until_caught_up()


def settle(run: Running, reader: Reader, topic: str) -> None:
    """Run until the control topic has noted that every partition has a position, and stop."""
    restart(run)
    control = f"{run.app_id}-ctl"
    noted = f'"read":{{"{topic}":2'.encode()
    eventually(lambda: noted in (reader.messages(control)[0][-1].value() or b""), SECONDS, "it is noted")
    assert run.drain() == ExitCode.DRAINED


def said_once(run: Running, words: str) -> None:
    """In the log and in the status of this start, and not after the next."""
    restart(run)
    assert run.log().count(words) == 1, run.log_end()
    assert words in run.cli("status").stdout
    assert run.drain() == ExitCode.DRAINED
    restart(run)
    assert run.log().count(words) == 1
    assert words not in run.cli("status").stdout
    assert run.drain() == ExitCode.DRAINED


def test_what_is_deleted_before_it_is_read_is_said_once(
    running: StartApp, reader: Reader, bootstrap: str, topic_prefix: str, make_topic: MakeTopic
) -> None:
    """With topic, partition, offsets and how many; so is a group whose offsets are gone, with what is read again."""
    topic = make_topic(f"{topic_prefix}in", 2)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    run = running("tests.process.growing:copying", consumer_auto_offset_reset="earliest")
    send(bootstrap, topic, rows(10), 0)
    settle(run, reader, topic)

    send(bootstrap, topic, rows(10), 0)
    trim(run.settings, topic, 17)
    said_once(run, f"{topic}[0]: 7 records, 10 to 16, were deleted before {run.app_id} had read them")
    assert reader.count(f"{topic_prefix}copies") == 13

    admin.delete_consumer_groups([run.app_id])[run.app_id].result(SECONDS)
    said_once(run, f"{topic}[0]: 3 records, 17 to 19, are read, whether they had been or not")
    assert reader.count(f"{topic_prefix}copies") == 16


def test_table_whose_positions_are_gone_is_not_fed_from_anywhere(
    running: StartApp, reader: Reader, bootstrap: str, topic_prefix: str, make_topic: MakeTopic
) -> None:
    """Neither from the beginning nor from the end: the app ends, and says what to do."""
    topic = make_topic(f"{topic_prefix}in", 2)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    run = running("tests.process.growing:counting", consumer_auto_offset_reset="latest")
    restart(run)
    send(bootstrap, topic, rows(10), 0)
    eventually(lambda: run.table("seen") == {"k": 10}, SECONDS, "all are counted")
    assert run.drain() == ExitCode.DRAINED

    admin.delete_consumer_groups([run.app_id])[run.app_id].result(SECONDS)
    run.start(1)
    assert run.wait() == ExitCode.STATE_INCOMPATIBLE
    assert f"no committed offset for {topic}[0]" in run.log()
