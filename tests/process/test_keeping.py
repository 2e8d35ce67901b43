"""On real Kafka with processes: a record keeps what it is, and no two workers share what an import opened."""

from __future__ import annotations

import json
import os
import signal
import socket
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka import Message, Producer

from streamcluster.errors import ExitCode
from tests.conftest import MakeTopic
from tests.process.checker import Row
from tests.process.conftest import StartApp
from tests.process.records import Reader, send
from tests.process.running import Running, is_running
from tests.process.waiting import eventually

HEADERS: list[tuple[str, bytes | None]] = [("h", b"1"), ("h", b"2"), ("null", None), ("raw", b"\xff\x00")]
HOUR_MS = 3_600_000
WAYS = ("through", "echo", "sink", "forward", "sent")


def kept(message: Message) -> tuple[int, list[tuple[str, bytes | None]]]:
    """What a record has beside key and value."""
    headers: Any = message.headers() or []
    return message.timestamp()[1], list(headers)


def test_records_keep_timestamps_and_headers_on_every_way(
    running: StartApp, reader: Reader, make_topic: MakeTopic, topic_prefix: str, bootstrap: str
) -> None:
    """A day of clicks, one of 1970, one without a timestamp, one that is a day ahead, and a tombstone."""
    open_end = {"message.timestamp.after.max.ms": str(2**63 - 1)}
    make_topic(f"{topic_prefix}in", 2, open_end)
    for name in WAYS:
        make_topic(f"{topic_prefix}{name}", 2)
    noon = int(time.time() * 1000) // HOUR_MS * HOUR_MS
    times = [noon - hour * HOUR_MS for hour in range(24)] + [1, -1, noon + 24 * HOUR_MS]
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5})
    for number, at in enumerate(times):
        page = None if number % 3 == 0 else f"/{number % 3}"
        value = None if number == 5 else json.dumps({"page": page}).encode()
        producer.produce(f"{topic_prefix}in", value, f"k{number}", timestamp=at, headers=HEADERS)  # type: ignore[arg-type]
    assert producer.flush(30) == 0
    run = running("tests.process.keeping_apps:keeping")
    run.start()
    run.until_caught_up()
    table = run.table("by_page")
    assert run.drain() == ExitCode.DRAINED

    repartition = f"{run.app_id.removesuffix('keeping')}in-page-repartition"
    regrouped = reader.messages(f"tests.process.keeping_apps.count-{repartition}")
    assert sorted(kept(message) for part in regrouped.values() for message in part) == sorted(
        (at, HEADERS) for at in times
    )
    keyless = {partition for partition, part in regrouped.items() for message in part if message.key() is None}
    assert keyless == {0}
    assert sum(message.key() is None for message in regrouped[0]) == 10
    assert len(table) > 24
    for name in WAYS:
        found = [message for part in reader.messages(f"{topic_prefix}{name}").values() for message in part]
        headers = [] if name == "sent" else HEADERS
        expected = [(at, headers) for at in times[:-1]]
        ahead = [kept(message) for message in found if message.key() == b"k26"]
        assert sorted(kept(message) for message in found if message.key() != b"k26") == sorted(expected), name
        # These topics take nothing that is more than an hour ahead: it has the time of its commit.
        assert [(at < noon + 2 * HOUR_MS, kept_headers) for at, kept_headers in ahead] == [(True, headers)]
        assert [message.value() for message in found if message.key() == b"k5"] == [None]
    assert run.log().count("Raise message.timestamp.after.max.ms") == len(WAYS)
    assert reader.count(f"{run.app_id}-dead-letter") == 0


def parrot(connection: socket.socket, *_: object) -> None:
    """Say each line of one connection again."""
    with connection.makefile("rwb") as lines:
        for line in lines:
            lines.write(line)
            lines.flush()


@contextmanager
def serving(port: int) -> Iterator[int]:
    """A server of parrots at a port; 0: any."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", port), parrot, bind_and_activate=False) as server:  # type: ignore[arg-type]  # a function is enough
        server.allow_reuse_address = server.daemon_threads = True
        server.server_bind()
        server.server_activate()
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture
def parrots() -> Iterator[int]:
    """The port of a server of parrots."""
    with serving(0) as port:
        yield port


def test_each_worker_has_a_connection_of_its_own(
    running: StartApp,
    reader: Reader,
    make_topic: MakeTopic,
    monkeypatch: pytest.MonkeyPatch,
    parrots: int,
    topic_prefix: str,
    bootstrap: str,
) -> None:
    """Also the successor of a worker that died; the start says which line opened it, and that it is imported twice."""
    monkeypatch.setenv("KEEPING_TEST_PORT", str(parrots))
    make_topic(f"{topic_prefix}questions", 4)
    make_topic(f"{topic_prefix}drawn", 1)
    send(bootstrap, f"{topic_prefix}questions", [Row(f"k{number}", b"a%d" % number) for number in range(2000)])
    run = running("tests.process.keeping_apps:asking")
    run.start()
    run.until_caught_up()
    assert _answers(run) == {"right": 2000}
    assert "opens this when it is imported: a connection to 127.0.0.1:" in run.log()
    assert "keeping_apps.py, line 61: link = socket.create_connection(" in run.log()
    os.kill(run.pid_of(0), signal.SIGKILL)
    send(bootstrap, f"{topic_prefix}questions", [Row(f"k{number}", b"b%d" % number) for number in range(2000)])
    eventually(lambda: reader.count(f"{topic_prefix}drawn") == 3, 40, "the third process has drawn numbers", run.log)
    run.until_caught_up()
    assert _answers(run) == {"right": 4000}
    assert run.drain() == ExitCode.DRAINED
    _check_numbers(reader, f"{topic_prefix}drawn", 3)


def test_a_server_that_is_away_when_a_successor_imports_is_waited_for(
    running: StartApp, make_topic: MakeTopic, monkeypatch: pytest.MonkeyPatch, topic_prefix: str
) -> None:
    """The app imported when it was started, so a failure later is no reason to stop all of it: the worker backs off."""
    make_topic(f"{topic_prefix}questions", 2)
    make_topic(f"{topic_prefix}drawn", 1)
    with serving(0) as port:
        monkeypatch.setenv("KEEPING_TEST_PORT", str(port))
        run = running("tests.process.keeping_apps:asking")
        run.start(1)
        run.until_running()
    os.kill(run.pid_of(0), signal.SIGKILL)
    run.until_logged("It did import when the app was started")
    with serving(port):
        run.until(lambda status: status.workers[0].restarts > 1 and is_running(status), "it runs again")
        assert run.drain() == ExitCode.DRAINED


def test_workers_of_one_import_draw_different_numbers(
    running: StartApp, reader: Reader, make_topic: MakeTopic, topic_prefix: str
) -> None:
    """Forked from an import that opens nothing, and its successors too; what has a seed keeps it."""
    make_topic(f"{topic_prefix}questions", 4)
    make_topic(f"{topic_prefix}drawn", 1)
    run = running("tests.process.keeping_apps:asking")
    run.start(3)
    run.until_running()
    eventually(lambda: reader.count(f"{topic_prefix}drawn") == 3, 40, "three processes have drawn numbers", run.log)
    os.kill(run.pid_of(0), signal.SIGKILL)
    eventually(lambda: reader.count(f"{topic_prefix}drawn") == 4, 40, "the fourth process has drawn numbers", run.log)
    assert run.drain() == ExitCode.DRAINED
    assert "opens this when it is imported" not in run.log()
    _check_numbers(reader, f"{topic_prefix}drawn", 4)


def _answers(run: Running) -> Counter[str]:
    found: Counter[str] = Counter()
    for key, count in run.table("answers").items():
        found[key.split()[0]] += count
    return found


def _check_numbers(reader: Reader, topic: str, count: int) -> None:
    [found] = reader.messages(topic).values()
    drawn = [json.loads(message.value() or b"") for message in found]
    assert len(drawn) == count
    for numbers in zip(*(own for own, _ in drawn), strict=True):
        assert len(set(numbers)) == count
    assert len({fixed for _, fixed in drawn}) == 1
