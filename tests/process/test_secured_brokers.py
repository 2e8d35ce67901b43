"""A secured Kafka: SASL over TLS, the rights that `streamcluster rights` prints, who is not let in."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka.admin import AdminClient

from streamcluster.errors import ExitCode
from streamcluster.settings import Settings, make_settings
from streamcluster_coordinator.admin.brokers import Brokers
from streamcluster_coordinator.broker import Broker, Secured
from streamcluster_coordinator.rights import Right
from tests.process import topics
from tests.process.checker import Row
from tests.process.records import Reader, send
from tests.process.running import Running
from tests.process.secured import PASSWORD, SecuredKafka, give, make_certificates
from tests.process.waiting import eventually

APP = "secured-ledger"
PREFIX = "secured-"
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """One node with a secured listener; the app has the rights of the documentation, its topics have records."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl command to make certificates with")
    directory = tmp_path_factory.mktemp("secured")
    make_certificates(directory)
    (directory / "password").write_text(f"{PASSWORD}\n")
    secured = Secured(directory / "broker.pem", {"app": PASSWORD, "nobody": PASSWORD}, rights=True)
    with Broker(secured=secured, start_timeout=150) as broker:
        topics.create(broker.bootstrap, [f"{PREFIX}{name}" for name in ("in", "echo", "sums", "counts")], 2)
        give(broker.bootstrap, "User:app", needed())
        yield SecuredKafka(broker, directory)


def needed() -> list[Right]:
    """What `streamcluster rights` prints."""
    done = Running("ledger", PREFIX, "kafka://", Path("/nonexistent")).cli("rights", "--json")
    return msgspec.json.decode(done.stdout, type=list[Right])


@pytest.fixture
def start(kafka: SecuredKafka, tmp_path: Path) -> Iterator[Any]:
    """Starts the ledger app with these settings."""
    runs: list[Running] = []

    def make(**settings: str) -> Running:
        run = Running("ledger", PREFIX, kafka.url, tmp_path, **settings)
        runs.append(run)
        run.start(1)
        return run

    yield make
    for run in runs:
        run.close()


def test_an_app_runs_over_sasl_and_tls_with_the_rights_listed(kafka: SecuredKafka, start: Any) -> None:
    """From input to outputs, state and drain, with the topics that it created."""
    run = start(**kafka.access())
    run.until_running(120)
    send(kafka.broker.bootstrap, f"{PREFIX}in", [entry(number) for number in range(100)])
    reader = Reader(kafka.broker.bootstrap)
    try:
        outputs = [f"{PREFIX}{name}" for name in ("echo", "sums", "counts")]
        eventually(
            lambda: [reader.count(name) for name in outputs] == [100] * 3, 60, "outputs are complete", run.log_end
        )
    finally:
        reader.close()
    assert run.drain() == ExitCode.DRAINED
    assert PASSWORD not in run.log()

    admin = AdminClient({"bootstrap.servers": kafka.broker.bootstrap})
    internal = {name for name in admin.list_topics().topics if name.startswith(f"{APP}-")}
    assert {f"{APP}-ctl", f"{APP}-sums-changelog", f"{APP}-counts-changelog"} <= internal
    check = run.cli("check", "--json")
    assert check.returncode == 0
    assert PASSWORD not in check.stdout + check.stderr


def entry(number: int) -> Row:
    """A movement as the ledger app reads it."""
    value = {"number": number, "account": f"a{number % 7}", "amount": 1}
    return Row(f"a{number % 7}", json.dumps(value).encode())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sasl_password_file": "", "sasl_password": "wrong-pass"}, "Check sasl_mechanism, the user and the password"),
        ({"ssl_ca_location": "stranger.pem"}, "Check ssl_ca_location"),
        ({"sasl_password_file": "nowhere"}, "nowhere cannot be read"),
    ],
)
def test_who_is_not_let_in_is_told_why(kafka: SecuredKafka, start: Any, changes: dict[str, str], words: str) -> None:
    """A wrong password, an unknown CA, a missing file: exit code 78, not connect_timeout waited out, and no secret."""
    files = ("ssl_ca_location", "sasl_password_file")
    placed = {name: str(kafka.directory / one) if name in files and one else one for name, one in changes.items()}
    run = start(**kafka.access(**placed), connect_timeout="120")
    assert run.wait() == ExitCode.CONFIGURATION
    assert words in run.log()
    assert "wrong-pass" not in run.log()


def test_a_missing_right_is_told(kafka: SecuredKafka, start: Any) -> None:
    """A user without ACLs, or with all but the right to transactions: a configuration error, not an endless wait."""
    access = kafka.access(sasl_username="nobody")
    run = start(**access)
    assert run.wait() == ExitCode.CONFIGURATION
    assert "nobody has no right to see it" in run.log()

    without = [right for right in needed() if right.resource != "transactional-id"]
    give(kafka.broker.bootstrap, "User:nobody", without)
    run.start(1)
    assert run.wait() == ExitCode.CONFIGURATION
    assert f"Opening transactional id {APP}-ctl " in run.log()


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_each_mechanism_is_let_in(kafka: SecuredKafka, mechanism: str) -> None:
    """The other mechanisms with a password, as far as the first answer."""
    access = kafka.access(sasl_mechanism=mechanism)
    assert Brokers(make_settings({"id": APP, "broker": kafka.url, **access})).connect().brokers == 1


def give_tokens(server: socket.socket, asked: list[str]) -> None:
    """Answer each request for a token, until the server is closed; note who asked."""
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection, connection.makefile("rb") as request:
            headers = list(iter(lambda: request.readline().strip(), b""))
            basic = next(line for line in headers if line.lower().startswith(b"authorization: basic "))
            asked.append(base64.b64decode(basic.split()[2]).decode())
            now = int(time.time())
            parts = ({"alg": "none", "typ": "JWT"}, {"sub": "app", "iat": now, "exp": now + 600, "scope": "kafka"})
            token = ".".join(base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in parts)
            body = json.dumps({"access_token": f"{token}.", "token_type": "Bearer", "expires_in": 600})
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            connection.sendall(f"{head}Connection: close\r\n\r\n{body}".encode())


def test_a_token_is_fetched_and_let_in(kafka: SecuredKafka) -> None:
    """OAUTHBEARER: client id and secret go to the token endpoint, and its token to the brokers."""
    asked: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=give_tokens, args=(server, asked), daemon=True).start()
        settings = Settings(
            id=APP,
            broker=kafka.url,
            sasl_mechanism="OAUTHBEARER",
            oauth_token_endpoint=f"http://127.0.0.1:{server.getsockname()[1]}/token",
            oauth_client_id="app",
            oauth_client_secret=PASSWORD,
            ssl_ca_location=str(kafka.directory / "ca.pem"),
            connect_timeout=15,
        )
        assert Brokers(settings).connect().brokers == 1
        server.shutdown(socket.SHUT_RDWR)
    assert asked[0] == f"app:{PASSWORD}"
