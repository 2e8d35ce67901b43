"""The development broker itself: real Kafka processes that serve, die, come back and leave nothing behind."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streamcluster.errors import BrokerUnreachable, ConfigurationError
from streamcluster_coordinator.broker import Broker, cluster
from streamcluster_coordinator.broker.config import HOST, NodePlan
from streamcluster_coordinator.broker.ports import free_ports, plan_nodes
from tests.process import topics
from tests.process.records import Reader
from tests.process.running import is_dead
from tests.process.waiting import eventually

DEADLINE_SECONDS = 60.0


@pytest.fixture(scope="module")
def shared() -> Iterator[Broker]:
    """A broker of one node for those that leave it as it was: serving, on its port."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KAFKA_OPTS", "-XX:TieredStopAtLevel=1 '-Dsome.words=two words'")
        own = Broker()
        own.start_all()
    try:
        yield own
    finally:
        own.stop_all()


def produce(bootstrap: str, topic: str, *values: str, commit: bool = True) -> None:
    """Write the values in one transaction, commit or abort it, and wait until readers are past its end.

    The answer to a commit comes before that, and a lone broker that dies in between may forget to tell the partition
    (Kafka 4.4, see docs/hosts.md): then nobody reads on from here.
    """
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": f"{topic}-producer"})
    errors: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        errors.extend([error] if error is not None else [])

    producer.init_transactions(DEADLINE_SECONDS)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value, on_delivery=delivered)
    assert producer.flush(DEADLINE_SECONDS) == 0
    assert errors == []
    (producer.commit_transaction if commit else producer.abort_transaction)(DEADLINE_SECONDS)
    with contextlib.closing(Reader(bootstrap)) as reader:
        eventually(lambda: reader.is_settled(topic), DEADLINE_SECONDS, "the transaction has ended for readers")


def read(bootstrap: str, topic: str, count: int) -> list[str]:
    """The first `count` committed values of the topic."""
    settings = {
        "bootstrap.servers": bootstrap,
        "group.id": f"{topic}-reader",
        "isolation.level": "read_committed",
        # Nothing is passed over in silence.
        "auto.offset.reset": "error",
    }
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[str] = []
    errors: list[KafkaError] = []
    deadline = time.monotonic() + DEADLINE_SECONDS
    try:
        while len(found) < count:
            assert time.monotonic() < deadline, f"{topic} has only {found} after {DEADLINE_SECONDS:g} s, {errors[-3:]}"
            for message in consumer.consume(count - len(found), 0.1):
                error, value = message.error(), message.value()
                if error is not None:
                    errors.append(error)
                elif value is not None:
                    found.append(value.decode())
    finally:
        consumer.close()
    return found


def test_committed_records_are_read_and_aborted_ones_are_not(
    broker: object, broker_url: str, topic_prefix: str
) -> None:
    """Transactions are real: what was aborted never shows."""
    bootstrap, topic = broker_url.removeprefix("kafka://"), topic_prefix + "t"
    topics.create(bootstrap, [topic], 1)
    produce(bootstrap, topic, "dropped", commit=False)
    produce(bootstrap, topic, "kept")

    assert read(bootstrap, topic, 1) == ["kept"]


def test_a_topic_that_nobody_declared_does_not_appear(broker_url: str, topic_prefix: str) -> None:
    """Asking for a misspelt topic does not create it."""
    admin = AdminClient({"bootstrap.servers": broker_url.removeprefix("kafka://")})

    admin.list_topics(topic_prefix + "misspelt", timeout=DEADLINE_SECONDS)

    assert topic_prefix + "misspelt" not in admin.list_topics(timeout=DEADLINE_SECONDS).topics


def test_java_takes_the_flags_of_the_environment(shared: Broker) -> None:
    """KAFKA_OPTS, as with Kafka's own scripts: words as a shell would split them."""
    command = psutil.Process(shared.pids[1]).cmdline()

    assert command.index("-XX:TieredStopAtLevel=1") + 1 == command.index("-Dsome.words=two words")
    assert command.index("-cp") > command.index("-Dsome.words=two words")


def test_a_killed_and_a_stopped_node_come_back_on_their_port(shared: Broker) -> None:
    """Clients find the node and its records where they were."""
    topics.create(shared.bootstrap, ["kept"], 1)
    produce(shared.bootstrap, "kept", "a")

    shared.kill(1)
    assert shared.pids == {}
    assert "node 1 of the broker was killed by signal 9" in shared.dead()[1]
    shared.start(1)
    produce(shared.bootstrap, "kept", "b")
    shared.stop(1)
    shared.start(1)

    assert shared.dead() == {}
    assert read(shared.bootstrap, "kept", 2) == ["a", "b"]


def test_a_paused_node_is_silent_until_it_is_resumed(shared: Broker) -> None:
    """Requests to it time out, its process stays."""
    admin = AdminClient({"bootstrap.servers": shared.bootstrap})
    admin.list_topics(timeout=DEADLINE_SECONDS)
    pids = shared.pids

    shared.pause(1)
    with pytest.raises(KafkaException):
        admin.list_topics(timeout=0.5)
    shared.resume(1)

    def is_back() -> bool:
        # Once it was away for long, it tells of no broker until it counts again, which a client may not get over.
        again = AdminClient({"bootstrap.servers": shared.bootstrap})
        return set(again.list_topics(timeout=DEADLINE_SECONDS).brokers) == {1}

    eventually(is_back, DEADLINE_SECONDS, "it answers")
    assert shared.pids == pids


def test_a_port_in_use_leaves_no_process_behind(shared: Broker) -> None:
    """The second broker on a port says so, and nothing of it stays."""
    before = set(psutil.Process().children(recursive=True))
    port = int(shared.bootstrap.rpartition(":")[2])

    with pytest.raises(ConfigurationError, match=f"Port {port} "):
        Broker(port=port).start_all()

    assert set(psutil.Process().children(recursive=True)) <= before


def test_a_free_port_that_was_taken_meanwhile_is_chosen_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the choice of a port and Kafka's start another program may take it; then others are chosen."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        lost = NodePlan(1, taken.getsockname()[1], free_ports(1)[0])
        plans = iter([[lost]])
        monkeypatch.setattr(
            cluster, "plan_nodes", lambda *asked, **more: next(plans, None) or plan_nodes(*asked, **more)
        )

        with Broker() as broker:
            assert broker.bootstrap != f"{HOST}:{lost.port}"


COMMAND = """
import pathlib, sys
from streamcluster_coordinator.broker import run_broker
sys.exit(run_broker(0, pathlib.Path(sys.argv[1]), 1, lambda line: print(line, flush=True)))
"""


def running_command(data_dir: Path) -> tuple[subprocess.Popen[str], psutil.Process, str]:
    """`run_broker` in a process of its own, the process of its node, and where it listens, once it does."""
    process = subprocess.Popen([sys.executable, "-c", COMMAND, str(data_dir)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"listens on kafka://(127\.0\.0\.1:\d+)", line):
            return process, psutil.Process(process.pid).children()[0], found[1]
    raise AssertionError(f"the broker ended with {process.wait()} before it listened")


def test_a_data_directory_outlives_the_command(tmp_path: Path) -> None:
    """Ctrl-C and TERM end it with code 0, its node before it; kill -9 leaves nothing either. Records are there then.

    On other ports each time. Storage that Kafka cannot read ends the start with the last lines of its log.
    """
    for number, value in ((signal.SIGINT, "a"), (signal.SIGTERM, "b"), (signal.SIGKILL, "c")):
        process, node, bootstrap = running_command(tmp_path)
        with process:
            if value == "a":
                topics.create(bootstrap, ["kept"], 1)
            produce(bootstrap, "kept", value)
            process.send_signal(number)
            code = process.wait(DEADLINE_SECONDS)
        if number == signal.SIGKILL:
            eventually(lambda: is_dead(node), DEADLINE_SECONDS, "the node is gone")  # noqa: B023
        else:
            assert code == 0
            assert not node.is_running()

    with Broker(data_dir=tmp_path) as broker:
        assert read(broker.bootstrap, "kept", 3) == ["a", "b", "c"]
    before = set(psutil.Process().children())
    meta = tmp_path / "node-1" / "data" / "meta.properties"
    meta.write_text(meta.read_text().replace("node.id=1", "node.id=7"))

    with pytest.raises(BrokerUnreachable, match=r"(?s)node 1 of the broker ended with code 1.*server\.log.*node.?id"):
        Broker(data_dir=tmp_path).start_all()

    assert set(psutil.Process().children()) <= before


def test_a_node_that_does_not_exist_is_named(shared: Broker) -> None:
    """The message lists the nodes there are."""
    with pytest.raises(ConfigurationError, match=r"no node 2: the broker has nodes \[1\]"):
        shared.kill(2)
