"""Following on a real broker: a standby gets to the end of its changelogs, stays there, and is left in good order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import pytest
from confluent_kafka.admin import AdminClient

from streamcluster.ids import TaskId
from streamcluster.protocol.messages import LAG_UNKNOWN
from streamcluster.settings import bootstrap_servers
from streamcluster.stores import MemoryStore, TaskStore
from streamcluster_worker.state.follow import Standing
from streamcluster_worker.state.memory import Memory
from streamcluster_worker.state.restore import Restorer
from streamcluster_worker.state.rocks import RocksStore
from streamcluster_worker.state.store_errors import CorruptStore
from tests.conftest import MakeTopic
from tests.process.waiting import eventually
from tests.worker.changelogs import abort, commit, trim
from tests.worker.following import SECONDS, TASK, Rig, numbered

MIB = 1024 * 1024
OPEN_AND_PRINT = """
import sys
from pathlib import Path
from streamcluster_worker.state.rocks import RocksStore
from streamcluster_worker.state.memory import Memory
store = RocksStore.open(Path(sys.argv[1]), ["t"], Memory(1 << 20, 1 << 20))
print(store.shard("t").scan())
"""
FOLLOW_UNTIL_KILLED = """
import os, sys, time
from pathlib import Path
import msgspec
from streamcluster.ids import TaskId
from streamcluster.settings import Settings
from streamcluster_worker.state.follow import Follower
from streamcluster.kafka.opening import Connection
from streamcluster.kafka.offsets import Offsets
from streamcluster_worker.state.rocks import RocksStore
from streamcluster_worker.state.memory import Memory

class Here:
    def open(self, task):
        return RocksStore.open(Path(sys.argv[1]), ["t"], Memory(1 << 20, 1 << 20))

settings = msgspec.json.decode(sys.argv[2], type=Settings)
follower = Follower(settings, Connection(), Offsets(settings, Connection()), Here())
follower.follow(TaskId(1, 0), [("t", sys.argv[3], 0)])
while True:
    print(sum(follower.standing(TaskId(1, 0)).lag.values()), flush=True)
    time.sleep(0.05)
"""


@pytest.fixture(params=["memory", "rocks"])
def rig(request: pytest.FixtureRequest, broker_url: str, topic_prefix: str, tmp_path: Path) -> Iterator[Rig]:
    """A follower over stores of each kind, stopped at the end."""
    memory = Memory(MIB, MIB)

    def make(task: TaskId) -> TaskStore:
        if request.param == "memory":
            return MemoryStore(["t"])
        return RocksStore.open(tmp_path / str(task), ["t"], memory)

    made = Rig(broker_url, topic_prefix, make)
    yield made
    made.follower.stop()
    for task in list(made.shelf.stores):
        made.shelf.close(task)


@pytest.fixture
def topic(make_topic: MakeTopic, topic_prefix: str) -> str:
    """A changelog."""
    return make_topic(topic_prefix + "log", 1, {"cleanup.policy": "compact"})


def test_standby_gets_everything_and_stays_at_the_end(rig: Rig, topic: str) -> None:
    """From an empty store to the end, and on with every transaction; aborted ones never show."""
    producer = rig.producer()
    commit(producer, topic, numbered(25_000))
    abort(producer, topic, [(b"000001", b"wrong"), (b"other", b"wrong")])
    rig.follower.follow(TASK, [("t", topic, 0)])
    rig.wait_for_end(topic)
    assert rig.rows() == numbered(25_000)

    for number in range(20):
        commit(producer, topic, [(b"000000", b"%d" % number), (b"000001", None)])
        abort(producer, topic, [(b"000000", b"wrong"), (b"other", b"wrong")])
        assert (b"other", b"wrong") not in rig.rows()
    rig.wait_for_end(topic)
    assert rig.rows() == [(b"000000", b"19"), *numbered(25_000)[2:]]


def test_lag_is_told_while_it_is_far_behind(rig: Rig, topic: str) -> None:
    """Unknown before the first look; then what is left, and how much of it is done; near the end only the lag."""
    rig.is_restoring.set()
    commit(rig.producer(), topic, numbered(60_000))
    rig.follower.follow(TASK, [("t", topic, 0)])
    assert rig.standing() == Standing({topic: LAG_UNKNOWN}, 0, 0, None, None)

    rig.is_restoring.clear()
    seen: list[Standing] = []

    def is_there() -> bool:
        seen.append(rig.standing())
        return seen[-1].lag == {topic: 0}

    eventually(is_there, SECONDS, "the standby is at the end", every=0.001)
    # Between its steps it is seen for sure, and amid them if it is slow enough.
    far, amid = ([one for one in standings if one.total] for standings in (rig.steps, seen))
    assert {one.total for one in far} == {60_001}
    assert {one.total for one in amid} <= {60_001}
    assert [one.restored for one in far] == sorted(one.restored for one in far)
    assert [one.restored for one in amid] == sorted(one.restored for one in amid)
    assert all(one.restored + one.lag[topic] == one.total for one in (*far, *amid))
    assert (seen[-1].restored, seen[-1].total) == (0, 0)


def test_near_the_end_only_the_lag_is_told_at_once(rig: Rig, topic: str) -> None:
    """Also when it gets there between two looks at how far the log has grown."""
    commit(rig.producer(), topic, numbered(12_000))
    rig.follower.follow(TASK, [("t", topic, 0)])
    seen: list[Standing] = []

    def is_there() -> bool:
        seen.append(rig.standing())
        return seen[-1].lag == {topic: 0}

    eventually(is_there, SECONDS, "the standby is at the end", every=0.001)
    assert {one.total for one in seen if one.lag[topic] <= 10_000} == {0}


def test_follower_steps_aside_while_a_task_is_restored(rig: Rig, topic: str) -> None:
    """Nothing is opened or applied meanwhile, and everything afterwards."""
    rig.is_restoring.set()
    rig.follower.follow(TASK, [("t", topic, 0)])
    # The producer's start takes longer than the follower's look at its orders.
    commit(rig.producer(), topic, numbered(3))
    assert rig.standing().store is None
    rig.is_restoring.clear()
    rig.wait_for_end(topic)
    assert rig.rows() == numbered(3)


def test_promotion_replays_only_the_tail(rig: Rig, topic: str) -> None:
    """A standby that is left is restored by what came since: the rows that it had are not read again."""
    producer = rig.producer()
    commit(producer, topic, numbered(20_000))
    rig.follower.follow(TASK, [("t", topic, 0)])
    rig.wait_for_end(topic)
    rig.follower.leave([TASK])
    commit(producer, topic, [(b"000000", b"tail")])

    done = threading.Event()
    restorer = Restorer(
        rig.settings,
        rig.connection,
        rig.offsets,
        done=lambda _: done.set(),
        failed=lambda task, error: pytest.fail(f"{task}: {error}"),
    )
    restorer.start(TASK, rig.shelf.stores[TASK], [("t", topic, 0)])
    assert done.wait(SECONDS)
    # The record, and the marker behind it.
    assert restorer.progress(TASK) == (2, 2)
    restorer.stop()
    assert rig.rows() == [(b"000000", b"tail"), *numbered(20_000)[1:]]


def test_standby_that_is_left_is_not_touched_any_more(rig: Rig, topic: str, make_topic: MakeTopic) -> None:
    """After leave() the store is the caller's, and others are followed on."""
    other_topic = make_topic(topic + "-other", 1)
    producer = rig.producer()
    commit(producer, topic, numbered(1))
    other = TaskId(1, 1)
    rig.follower.follow(TASK, [("t", topic, 0)])
    rig.follower.follow(other, [("t", other_topic, 0)])
    rig.wait_for_end(topic)
    rig.follower.leave([TASK])
    assert rig.follower.standing(TASK) is None
    commit(producer, topic, numbered(5, b"unseen"))
    commit(producer, other_topic, numbered(5, b"seen"))
    eventually(
        lambda: (
            other in rig.shelf.stores and rig.shelf.stores[other].changelog_next_offset("t") == rig.end(other_topic) > 5
        ),
        SECONDS,
        "the other one is at its end",
    )
    assert rig.rows() == numbered(1)


def test_standby_that_is_followed_again_at_once_misses_nothing(rig: Rig, topic: str) -> None:
    """What the follower had taken from the consumer when the task left, it did not apply: it must be read again."""
    producer = rig.producer()
    commit(producer, topic, numbered(1))
    rig.follower.follow(TASK, [("t", topic, 0)])
    rig.wait_for_end(topic)

    def leave_when_taken(_: Mapping[TaskId, Standing]) -> bool:
        # No store is written meanwhile: the thread comes to stand before `_apply`, with the records in its hands; or
        # before its next step, without any.
        commit(producer, topic, [(b"taken", b"1")])
        eventually(lambda: functions_of(rig)[-1] == "__enter__", SECONDS, "the follower waits for its lock")
        if "_apply" not in functions_of(rig):
            return False
        rig.follower.leave([TASK])
        rig.follower.follow(TASK, [("t", topic, 0)])
        return True

    def was_left_when_taken() -> bool:
        rig.wait_for_end(topic)
        return rig.follower.read(leave_when_taken)

    eventually(was_left_when_taken, SECONDS, "the follower stands there with records")
    commit(producer, topic, [(b"later", b"1")])
    rig.wait_for_end(topic)
    assert rig.rows() == [*numbered(1), (b"later", b"1"), (b"taken", b"1")]


def functions_of(rig: Rig) -> list[str]:
    """What the follower's thread is in, the innermost last."""
    thread = rig.follower._replay.thread
    assert thread is not None
    assert thread.ident is not None
    return [frame.name for frame in traceback.extract_stack(sys._current_frames()[thread.ident])]


def test_trimmed_log_empties_the_standby(rig: Rig, topic_prefix: str, make_topic: MakeTopic) -> None:
    """A standby that was behind the log's begin starts again from there: what it had may have been deleted since."""
    topic = make_topic(topic_prefix + "log", 1)
    producer = rig.producer()
    commit(producer, topic, [(b"old", b"1")])
    rig.follower.follow(TASK, [("t", topic, 0)])
    rig.wait_for_end(topic)
    rig.is_restoring.set()
    commit(producer, topic, [(b"middle", b"2")])
    commit(producer, topic, [(b"new", b"3")])
    trim(rig.settings, topic, 4)
    rig.is_restoring.clear()
    rig.wait_for_end(topic)
    assert (b"new", b"3") in rig.rows()


def test_topic_that_comes_later_is_followed_then(rig: Rig, topic_prefix: str, make_topic: MakeTopic) -> None:
    """While it is not there the standing says why; it is asked for again."""
    rig.follower.follow(TASK, [("t", topic_prefix + "late", 0)])
    eventually(lambda: rig.standing().error, SECONDS, "the standing says what is wrong")
    assert rig.standing().lag == {topic_prefix + "late": LAG_UNKNOWN}
    topic = make_topic(topic_prefix + "late", 1)
    commit(rig.producer(), topic, numbered(3))
    rig.wait_for_end(topic)
    assert rig.rows() == numbered(3)
    assert rig.standing().error is None


def test_store_that_cannot_be_opened_is_tried_again(rig: Rig, topic: str) -> None:
    """An error of one store is told and is not the end of the follower."""
    rig.shelf.fault = CorruptStore(Path("/nowhere"), "it is made up")
    commit(rig.producer(), topic, numbered(3))
    rig.follower.follow(TASK, [("t", topic, 0)])
    rig.wait_for_end(topic)
    assert rig.rows() == numbered(3)


def test_task_without_tables_is_followed_by_doing_nothing(rig: Rig) -> None:
    """Its lag is nothing at once."""
    rig.follower.follow(TASK, [])
    eventually(lambda: rig.standing().store is not None, SECONDS, "its store is open")
    assert (rig.standing().lag, rig.standing().error) == ({}, None)


def test_reading_sees_what_is_stored(rig: Rig, topic: str) -> None:
    """A look gets every standby with its store and lag."""
    commit(rig.producer(), topic, numbered(3))
    rig.follower.follow(TASK, [("t", topic, 0)])
    rig.wait_for_end(topic)

    def look(followed: object) -> object:
        assert isinstance(followed, dict)
        (standing,) = followed.values()
        return standing.store.shard("t").scan(), standing.lag

    assert rig.follower.read(look) == (numbered(3), {topic: 0})


@pytest.mark.parametrize("rig", ["rocks"], indirect=True)
def test_dropped_standby_can_be_opened_by_another_process(rig: Rig, topic: str, tmp_path: Path) -> None:
    """When drop() returns the store is free, also if it was only being opened."""
    commit(rig.producer(), topic, numbered(3))
    for wait in (True, False):
        rig.follower.follow(TASK, [("t", topic, 0)])
        if wait:
            rig.wait_for_end(topic)
        rig.follower.drop([TASK])
        ran = subprocess.run(
            [sys.executable, "-c", OPEN_AND_PRINT, str(tmp_path / str(TASK))],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (ran.stdout, ran.stderr) == (f"{numbered(3)}\n", "")


def test_killed_standby_goes_on_where_it_was(
    broker_url: str, topic_prefix: str, make_topic: MakeTopic, tmp_path: Path
) -> None:
    """kill -9 loses nothing that was applied: the store knows its offset, and the rest is read from there."""
    rig = Rig(broker_url, topic_prefix, lambda _: MemoryStore(["t"]))
    topic = make_topic(topic_prefix + "log", 1)
    commit(rig.producer(), topic, numbered(20_000))
    settings = msgspec.json.encode(rig.settings).decode()
    command = [sys.executable, "-c", FOLLOW_UNTIL_KILLED, str(tmp_path / "s"), settings, topic]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        deadline = time.monotonic() + SECONDS
        while process.stdout.readline().strip() != "0":
            assert time.monotonic() < deadline
        os.kill(process.pid, signal.SIGKILL)
    store = RocksStore.open(tmp_path / "s", ["t"], Memory(MIB, MIB))
    assert store.changelog_next_offset("t") == rig.end(topic)
    assert store.shard("t").scan(rows_max=100_000) == numbered(20_000)
    store.close()


def test_topic_made_anew_empties_the_standby(rig: Rig, topic: str, make_topic: MakeTopic) -> None:
    """A log that is deleted and made again under a standby is another log: its rows replace what was there."""
    commit(rig.producer(), topic, numbered(50))
    rig.follower.follow(TASK, [("t", topic, 0)])
    rig.wait_for_end(topic)
    admin = AdminClient({"bootstrap.servers": bootstrap_servers(rig.settings.broker)})
    admin.delete_topics([topic])[topic].result(SECONDS)
    eventually(lambda: rig.standing().error, SECONDS, "the standing says that it is gone", lambda: str(rig.standing()))
    make_topic(topic, 1)
    commit(rig.producer(), topic, [(b"new", b"1")])
    rig.wait_for_end(topic)
    assert rig.rows() == [(b"new", b"1")]
