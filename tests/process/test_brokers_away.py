"""A broker that restarts, dies, freezes, or loses a topic while the app runs: said, and recovered without loss."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import pytest
from confluent_kafka.admin import AdminClient

from streamcluster_coordinator.broker import Broker
from tests.conftest import MakeTopic
from tests.process import topics
from tests.process.checker import Row
from tests.process.conftest import StartApp
from tests.process.records import Feed, Reader, send, values
from tests.process.running import Running
from tests.process.waiting import eventually

NODE = 1
REQUEST_SECONDS = 30


@pytest.fixture
def own_reader(own_broker: Broker) -> Iterator[Reader]:
    """A reader of the test's own broker."""
    reader = Reader(own_broker.bootstrap)
    yield reader
    reader.close()


@pytest.fixture
def run(own_broker: Broker, running: StartApp, topic_prefix: str) -> Running:
    """The obedient app on the test's own broker, with its topics, started and at work."""
    topics.create(own_broker.bootstrap, [f"{topic_prefix}in", f"{topic_prefix}out"], 2)
    # Records trickle in the whole time: a commit for each few of them would cost more than all else.
    one = running(
        "obedient", broker_url=own_broker.url, connect_timeout=10, transaction_timeout=10, commit_interval=0.1
    )
    one.start()
    one.until_running()
    return one


def numbered() -> Iterator[Row]:
    """Numbered values over ten keys, without an end."""
    return (Row(f"k{number % 10}", b"v%d" % number) for number in itertools.count())


def assert_once(run: Running, reader: Reader, prefix: str, feed: Feed) -> None:
    """Everything acknowledged is in the output once and counted once."""
    run.until_caught_up(60)
    table = run.table("seen")
    assert run.drain() == 0, run.log_end()
    came = sorted(map(str, values(reader.rows(f"{prefix}out"))))
    assert came == sorted(map(str, values(reader.rows(f"{prefix}in"))))
    assert len(came) >= len(feed.acked) > 0
    assert sum(table.values()) == len(came)


def test_a_broker_restart_loses_and_repeats_nothing(
    run: Running, own_broker: Broker, own_reader: Reader, topic_prefix: str
) -> None:
    """While records flow the only broker is killed and comes back; the workers need no restart."""
    feed = Feed(own_broker.bootstrap, f"{topic_prefix}in", numbered(), rate=300)
    feed.start()
    run.until(lambda status: sum(worker.figures.commits_total for worker in status.workers) > 5, "commits are made")

    own_broker.kill(NODE)
    own_broker.start(NODE)
    done = sum(worker.figures.events_total for worker in run.until_running(60).workers)
    run.until(lambda status: sum(w.figures.events_total for w in status.workers) > done + 100, "records flow again", 60)
    feed.stop()

    assert_once(run, own_reader, topic_prefix, feed)


def test_a_broker_that_is_gone_shows_in_the_status(
    run: Running, own_broker: Broker, own_reader: Reader, topic_prefix: str
) -> None:
    """`status --json` answers all the time and says that the broker is down, and up again; no worker is replaced."""
    acked = send(own_broker.bootstrap, f"{topic_prefix}in", itertools.islice(numbered(), 200))
    run.until_caught_up()
    pids = {worker.pid for worker in run.until_running().workers}

    own_broker.kill(NODE)
    run.until(lambda status: status.broker_state == "down", "the status says that the broker is down")
    told = run.cli("status", "--json")
    assert json.loads(told.stdout)["broker_state"] == "down"
    assert "DOES NOT ANSWER" in run.cli("status").stdout
    own_broker.start(NODE)
    run.until(lambda status: status.broker_state == "up", "the status says that the broker is up again", 60)
    feed = Feed(own_broker.bootstrap, f"{topic_prefix}in", itertools.islice(numbered(), 200), rate=None)
    feed.run()

    assert {worker.pid for worker in run.until_caught_up(60).workers} == pids
    feed.acked.update(acked)
    assert_once(run, own_reader, topic_prefix, feed)


def test_a_frozen_broker_is_waited_for(run: Running, own_broker: Broker, own_reader: Reader, topic_prefix: str) -> None:
    """Connections stay open and nothing answers, also not a commit in flight; then nothing is lost or twice."""
    feed = Feed(own_broker.bootstrap, f"{topic_prefix}in", numbered(), rate=300)
    feed.start()
    run.until(lambda status: sum(worker.figures.commits_total for worker in status.workers) > 5, "commits are made")

    own_broker.pause(NODE)
    run.until(lambda status: status.broker_state == "down", "the status says that the broker is down", 60)
    own_broker.resume(NODE)
    run.until(lambda status: status.broker_state == "up", "the status says that the broker is up again", 60)
    feed.stop()

    assert_once(run, own_reader, topic_prefix, feed)


def test_a_deleted_topic_is_named_and_its_return_is_noticed(
    running: StartApp, make_topic: MakeTopic, reader: Reader, topic_prefix: str, bootstrap: str
) -> None:
    """The output topic vanishes under the app: the log names it; made anew, it gets what was not committed, once."""
    for name in ("in", "out"):
        make_topic(f"{topic_prefix}{name}", 2)
    run = running("obedient", transaction_timeout=10)
    send(bootstrap, f"{topic_prefix}in", [Row("k1", b"before")])
    run.start()
    run.until_caught_up()
    assert values(reader.rows(f"{topic_prefix}out")) == [b"before"]

    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.delete_topics([f"{topic_prefix}out"])[f"{topic_prefix}out"].result(REQUEST_SECONDS)
    send(bootstrap, f"{topic_prefix}in", [Row("k1", b"after")])
    said = run.log_path.stat().st_size
    eventually(lambda: f"{topic_prefix}out" in run.log()[said:], 60, "the log names the topic", run.log_end)
    make_topic(f"{topic_prefix}out", 2)
    run.until_caught_up(90)

    assert run.drain() == 0
    assert values(reader.rows(f"{topic_prefix}out")) == [b"after"]


def test_a_deleted_input_topic_is_in_status_and_log(
    running: StartApp, make_topic: MakeTopic, topic_prefix: str, bootstrap: str
) -> None:
    """The worker is alive and has nothing to read: both say which topic is gone, and the app still drains."""
    for name in ("in", "out"):
        make_topic(f"{topic_prefix}{name}", 2)
    # Else librdkafka waits for 30 s before it believes that a topic is gone.
    look = {"topic.metadata.propagation.max.ms": 1000, "topic.metadata.refresh.interval.ms": 1000}
    run = running("obedient", broker_options=json.dumps(look))
    send(bootstrap, f"{topic_prefix}in", [Row("k1", b"before")])
    run.start()
    run.until_caught_up()

    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.delete_topics([f"{topic_prefix}in"])[f"{topic_prefix}in"].result(REQUEST_SECONDS)
    run.until_logged("Was the topic deleted?", 60)
    # The worker's next heartbeat brings it to the coordinator.
    eventually(
        lambda: "Was the topic deleted? It must be made again" in run.cli("status").stdout,
        10,
        "status says it",
        run.log_end,
    )
    assert f"{topic_prefix}in" in run.cli("status").stdout

    assert run.drain() == 0
