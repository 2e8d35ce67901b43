"""A broker that checks rights, and users that have exactly those which `streamcluster rights` prints, or one fewer."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import KafkaException, Producer, TopicCollection
from confluent_kafka.admin import AdminClient

from streamcluster.config.security import connection_config
from streamcluster.errors import ConfigurationError, ExitCode
from streamcluster.ids import SlotId
from streamcluster.settings import make_settings
from streamcluster_coordinator.broker import Broker, Secured
from streamcluster_coordinator.control.bus import StatusBus
from streamcluster_coordinator.control.writer import Control
from streamcluster_coordinator.dropped import Dropped
from streamcluster_coordinator.records.signatures import Signatures
from streamcluster_coordinator.records.snapshot import control_topic, slot_transactional_id, status_topic
from streamcluster_coordinator.records.status import Status
from streamcluster_coordinator.rights import Right
from tests.long import only_long
from tests.process import topics
from tests.process.checker import Row
from tests.process.records import Reader, send
from tests.process.running import REPOSITORY, Running, is_running
from tests.process.secured import PASSWORD, SecuredKafka, give, make_certificates
from tests.process.waiting import eventually

RECORDS = 100
USERS = 40
# For each step, on a machine that does other things too.
SECONDS = 90.0

pytestmark = pytest.mark.timeout(400)
Start = Callable[..., Running]


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """One node with a secured listener, and users who may do nothing yet."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl command to make certificates with")
    directory = tmp_path_factory.mktemp("rights")
    make_certificates(directory)
    (directory / "password").write_text(f"{PASSWORD}\n")
    users = {f"user{number}": PASSWORD for number in range(USERS)}
    with Broker(secured=Secured(directory / "broker.pem", users, rights=True), start_timeout=150) as broker:
        yield SecuredKafka(broker, directory)


@pytest.fixture(scope="module")
def numbers() -> Iterator[int]:
    """Each user is used once."""
    return iter(range(USERS))


@pytest.fixture
def host(kafka: SecuredKafka, tmp_path: Path) -> Iterator[Start]:
    """Makes hosts of the ledger app of one user, whose names begin with the user's."""
    runs: list[Running] = []

    def make(user: str, name: str, **settings: str) -> Running:
        directory = tmp_path / name
        directory.mkdir()
        access = kafka.access(sasl_username=user, host=name, **settings)
        runs.append(Running("ledger", f"{user}-", kafka.url, directory, **access))
        return runs[-1]

    yield make
    for run in runs:
        run.close()


def needed(run: Running, *options: str) -> list[Right]:
    """What the command prints for the app."""
    return msgspec.json.decode(run.cli("rights", "--json", *options).stdout, type=list[Right])


def movements(kafka: SecuredKafka, user: str) -> None:
    """Send records to the app's input."""
    values = [{"number": number, "account": f"a{number % 7}", "amount": 1} for number in range(RECORDS)]
    rows = [Row(str(value["account"]), json.dumps(value).encode()) for value in values]
    send(kafka.broker.bootstrap, f"{user}-in", rows)


def prepare(kafka: SecuredKafka, user: str, rights: list[Right]) -> None:
    """The app's input, which it does not create, and its user's rights."""
    topics.create(kafka.broker.bootstrap, [f"{user}-in"], 2)
    give(kafka.broker.bootstrap, f"User:{user}", rights)


def owned(status: Status) -> set[str]:
    """The hosts that own tasks."""
    return {task.owner.partition("/")[0] for task in status.tasks if task.owner}


def test_an_app_does_all_it_does_with_the_rights_printed(
    kafka: SecuredKafka, host: Start, numbers: Iterator[int]
) -> None:
    """Start, a second host, its loss and fence, its return, drain, leave, reset; and a neighbour's topics stay shut."""
    user = f"user{next(numbers)}"
    a, b = host(user, "a"), host(user, "b")
    prepare(kafka, user, needed(a, "--reset"))
    a.start(1)
    a.until_running(SECONDS)
    b.start(1)
    a.until(lambda status: is_running(status) and owned(status) == {"a", "b"}, "both hosts have tasks", SECONDS)
    movements(kafka, user)
    b.kill()
    a.until(lambda status: is_running(status) and owned(status) == {"a"}, "b is fenced, its tasks moved", SECONDS)
    reader = Reader(kafka.broker.bootstrap)
    try:
        outputs = [f"{user}-{name}" for name in ("echo", "sums", "counts")]
        eventually(
            lambda: [reader.count(one) for one in outputs] == [RECORDS] * 3, SECONDS, "outputs are complete", a.log_end
        )
    finally:
        reader.close()
    b.start(1)
    a.until(lambda status: is_running(status) and owned(status) == {"a", "b"}, "it is back", SECONDS)
    drained = b.cli("drain", "a")
    assert drained.returncode == 0, drained.stderr
    b.until(lambda status: is_running(status) and owned(status) == {"b"}, "a is drained", SECONDS)
    assert a.drain() == ExitCode.DRAINED, a.log_end()
    assert b.drain() == ExitCode.DRAINED, b.log_end()
    assert "authorization" not in (a.log() + b.log()).lower()

    done = b.cli("reset", "--offsets", "--topics", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    removed = json.loads(done.stdout)
    assert len(removed["topics"]) == 3
    assert removed["offsets"] == [b.app_id]


# One of each kind: what the app uses it for, the operation, and what the message says of it.
ONE_FEWER = [
    ("source", "Read", "has no right to see it"),
    ("source", "DescribeConfigs", "reading the topics .* Topic authorization failed"),
    ("output", "Write", "topic '{user}-echo' was created .* not for {user} to read or write"),
    ("output", "Create", "creating topic '{user}-echo' .* Authorization failed"),
    ("output", "DescribeConfigs", "reading the topics .* Topic authorization failed"),
    ("changelog", "Read", "no right .* Read on topic '{user}-ledger-sums-changelog'"),
    ("changelog", "Write", "no right .* Write on topic '{user}-ledger-sums-changelog'"),
    ("changelog", "Create", "creating topic '{user}-ledger-sums-changelog' .* Authorization failed"),
    ("changelog", "DescribeConfigs", "reading the topics .* Topic authorization failed"),
    ("repartition", "Read", "no right .* Read on topic '{repartition}'"),
    ("repartition", "Write", "no right .* Write on topic '{repartition}'"),
    ("repartition", "Create", "creating topic '{repartition}' .* Authorization failed"),
    ("repartition", "DescribeConfigs", "reading the topics .* Topic authorization failed"),
    ("dead letter", "Write", "topic '{user}-ledger-dead-letter' was created .* not for {user} to read or write"),
    ("dead letter", "Create", "creating topic '{user}-ledger-dead-letter' .* Authorization failed"),
    ("dead letter", "DescribeConfigs", "reading the topics .* Topic authorization failed"),
    ("control", "Read", "no right .* Read on topic '{user}-ledger-ctl'"),
    ("control", "Write", "no right .* Write on topic '{user}-ledger-ctl'"),
    ("control", "Create", "creating topic '{user}-ledger-ctl' .* Authorization failed"),
    ("control", "DescribeConfigs", "no right .* DescribeConfigs on topic '{user}-ledger-ctl'"),
    ("status", "Read", "no right .* Read on topic '{user}-ledger-status'"),
    ("status", "Write", "no right .* Write on topic '{user}-ledger-status'"),
    ("status", "Create", "creating topic '{user}-ledger-status' .* Authorization failed"),
    ("status", "DescribeConfigs", "no right .* DescribeConfigs on topic '{user}-ledger-status'"),
    ("committed offsets", "Read", "no right .* Read on group '{user}-ledger'"),
    ("leadership", "Write", "Opening transactional id {user}-ledger-ctl .* authorization failed"),
    ("commits, and fences of lost hosts", "Write", "transactional id {user}-ledger-slot-a-0 .* authorization failed"),
]


# One of each kind, but for those that test_secured_brokers.py takes away (source, leadership); the others are many
# starts (2 minutes), and are run by a command.
ALWAYS = {
    ("output", "Write"),
    ("changelog", "Create"),
    ("control", "Read"),
    ("committed offsets", "Read"),
}


@pytest.mark.parametrize(
    ("reason", "operation", "message"),
    [pytest.param(*one, marks=() if one[:2] in ALWAYS else only_long) for one in ONE_FEWER],
)
def test_each_right_that_is_missing_is_told(
    kafka: SecuredKafka, host: Start, numbers: Iterator[int], reason: str, operation: str, message: str
) -> None:
    """By name, and with exit code 78: no waiting for what never comes."""
    user = f"user{next(numbers)}"
    run = host(user, "a", connect_timeout="60")
    rights = needed(run)
    place = next(place for place, right in enumerate(rights) if right.reason == reason)
    less = tuple(one for one in rights[place].operations if one != operation)
    assert less != rights[place].operations
    rights[place] = msgspec.structs.replace(rights[place], operations=less)
    prepare(kafka, user, rights)
    (repartition,) = (right.name for right in rights if right.reason == "repartition")

    run.start(1)

    assert run.wait(SECONDS) == ExitCode.CONFIGURATION, run.log_end()
    assert re.search(message.format(user=user, repartition=repartition), run.log()), run.log_end()


def test_topics_of_the_coordinators_that_may_not_be_read_are_named(kafka: SecuredKafka, numbers: Iterator[int]) -> None:
    """That is no broker that does not answer: it is not waited for, and the operator reads which topic it is."""
    user = f"user{next(numbers)}"
    settings = make_settings({"id": user, "broker": kafka.url, **kafka.access(sasl_username=user)})
    topics.create(kafka.broker.bootstrap, [control_topic(user), status_topic(user)], 1)
    control = Control(settings, Signatures(None, user), Dropped(), lambda _: None, lambda: None, lambda _: None)
    try:
        with pytest.raises(ConfigurationError, match=control_topic(user)):
            control.catch_up(time.monotonic() + SECONDS)
        slot = SlotId.parse("host/0")
        with pytest.raises(ConfigurationError, match=slot_transactional_id(user, slot)):
            control.fence(slot, time.monotonic() + SECONDS)
    finally:
        control.close()
    with pytest.raises(ConfigurationError, match=status_topic(user)):
        StatusBus(settings, Signatures(None, user), Dropped(), lambda _: None)


def test_the_rights_that_are_told_are_all_there_are(host: Start) -> None:
    """Each operation that is printed is taken away above, but the one that is not missed: the log says so later."""
    printed = {(right.reason, one) for right in needed(host("user0", "a")) for one in right.operations}
    assert printed - {(reason, one) for reason, one, _ in ONE_FEWER} == {("repartition", "Delete")}


def test_rights_do_not_reach_a_neighbour(kafka: SecuredKafka, host: Start, numbers: Iterator[int]) -> None:
    """An app whose id begins with this one's: neither its topics, nor its group, nor its fences are ours."""
    user = f"user{next(numbers)}"
    rights = needed(host(user, "a"), "--reset")
    give(kafka.broker.bootstrap, f"User:{user}", rights)
    other = f"{user}-ledger-eu"
    topics.create(kafka.broker.bootstrap, [f"{other}-ctl", f"{other}-status"], 1)
    client = connection_config(make_settings({"id": other, "broker": kafka.url, **kafka.access(sasl_username=user)}))

    admin = AdminClient({**client, "log_level": 0})
    for answer in admin.describe_topics(TopicCollection([f"{other}-ctl"])).values():
        with pytest.raises(KafkaException, match="Topic authorization failed"):
            answer.result()
    for transactional_id in (f"{other}-ctl", f"{other}-slot-a-0"):
        producer = Producer({**client, "log_level": 0, "transactional.id": transactional_id})
        with pytest.raises(KafkaException, match="Transactional Id authorization failed"):
            producer.init_transactions(30)
    (answer,) = admin.delete_consumer_groups([other]).values()
    with pytest.raises(KafkaException, match="Group authorization failed"):
        answer.result()


def test_check_warns_of_a_neighbour(kafka: SecuredKafka, host: Start, numbers: Iterator[int]) -> None:
    """Who may see its topics is told of an app whose id begins with this one's, or this one's with its."""
    user = f"user{next(numbers)}"
    run = host(user, "a")
    everything = run.command("check", "--json")
    everything[everything.index(kafka.url)] = kafka.broker.url
    topics.create(kafka.broker.bootstrap, [f"{user}-in"], 2)
    for other in (f"{user}-ledger-eu", user, f"{user}-other"):
        topics.create(kafka.broker.bootstrap, [f"{other}-ctl", f"{other}-status"], 1)
    plain = {name: value for name, value in run.environment.items() if "SASL" not in name and "SSL" not in name}
    done = subprocess.run(
        everything, cwd=REPOSITORY, env=plain, capture_output=True, text=True, timeout=60, check=False
    )
    warnings = json.loads(done.stdout)["warnings"]
    assert [text.split("'")[1] for text in warnings] == [user, f"{user}-ledger-eu"]
    assert done.stderr.count("warning: app ") == 2
