"""Poison for people (C3, C4, C8): what is shown acts on nothing and hides nothing, while good records are committed."""

from __future__ import annotations

import json
import re
import shutil

from confluent_kafka import Producer

from streamcluster.errors import ExitCode
from tests.conftest import MakeTopic
from tests.process.checker import Row
from tests.process.conftest import StartApp
from tests.process.records import Feed, Reader, send, values
from tests.process.running import Running
from tests.process.shown_apps import FORGED

PARTITIONS = 2
# What a terminal acts on, but the end of a line.
ACTING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f]")
HOSTILE_KEY = "\x1b]0;PWNED\x07\nkey  1"
GOOD = [f"good-{number}" for number in range(20)]


def is_calm(text: str) -> None:
    """Nothing in it acts, and no line of it is forged."""
    assert ACTING.search(text) is None, repr(text)
    assert not [line for line in text.splitlines() if line.startswith(("09:00:00", "key  1"))], text


def poison(run: Running, bootstrap: str) -> None:
    """Rows that no table has written, in its changelog."""
    producer = Producer({"bootstrap.servers": bootstrap})
    rows: list[tuple[bytes, bytes]] = [
        (b'"%s"' % HOSTILE_KEY.encode(), b"1"),
        (json.dumps(HOSTILE_KEY).encode(), b"1"),
        (b'"deep"', b"[" * 50_000 + b"]" * 50_000),
        (b'"torn"', b"{"),
        (b'"bytes"', b'"\xff"'),
        (b"\xff\xfe", b"1"),
    ]
    for key, value in rows:
        producer.produce(f"{run.app_id}-seen-changelog", key=key, value=value, partition=0)
    assert producer.flush(30) == 0


def test_what_is_poison_for_people_costs_nothing_else(
    running: StartApp, make_topic: MakeTopic, reader: Reader, topic_prefix: str, bootstrap: str
) -> None:
    """Errors that act or cannot be encoded, and rows that no page took: all others go on, also after a restart."""
    for name in ("in", "out"):
        make_topic(f"{topic_prefix}{name}", PARTITIONS)
    run = running("tests.process.shown_apps:shown", log_format="text")
    run.start()
    run.until_running()
    feed = Feed(bootstrap, f"{topic_prefix}in", (Row(name, b"v") for name in GOOD * 50), rate=200)
    feed.start()
    send(bootstrap, f"{topic_prefix}in", [Row("s", b"surrogate"), Row("a", b"act"), Row("big", b"large")], 0)

    # A heartbeat that tells of it is one that goes on.
    run.until(
        lambda status: any(r"\ud800" in (task.figures.error or "") for task in status.tasks), "the surrogate is told"
    )
    run.until(
        lambda status: any("PWNED" in (task.figures.error or "") for task in status.tasks), "the escapes are told"
    )
    is_calm(run.cli("status").stdout)
    feed.stop()
    status = run.until_caught_up()
    assert sum(worker.figures.dead_letters_total for worker in status.workers) == 2
    assert [worker.restarts for worker in status.workers] == [0, 0]
    assert sorted(map(str, values(reader.rows(f"{topic_prefix}out")))) == sorted(
        map(str, [b"v"] * len(feed.acked) + [b"large"])
    )
    big = run.cli("table", "seen", "big")
    assert (big.returncode, big.stdout) == (0, f"{10**30}\n")

    assert run.drain() == ExitCode.DRAINED
    is_calm(run.log())
    assert f"  {FORGED}" in run.log()
    poison(run, bootstrap)
    shutil.rmtree(run.state_dir / run.app_id / "tasks")
    run.start()
    run.until_running()
    page = run.cli("table", "seen", "--limit", "1000")
    assert page.returncode == 0, page.stderr
    is_calm(page.stdout)
    lines = page.stdout.splitlines()
    assert {line.split()[0] for line in lines[1:]} >= {*GOOD, "big", "deep", "torn", "bytes", r"\xff\xfe"}
    assert sum("cannot be read" in line for line in lines) == 5
    rows = json.loads(run.cli("table", "seen", "--limit", "1000", "--json").stdout)["rows"]
    assert {row["key"] for row in rows if "error" in row} >= {"deep", "torn", "bytes"}
    torn = run.cli("table", "seen", "torn")
    assert (torn.returncode, "cannot be read: DecodeError" in torn.stderr) == (ExitCode.CONFIGURATION, True)
    assert run.cli("table", "seen", GOOD[0]).returncode == 0
    send(bootstrap, f"{topic_prefix}in", [Row(name, b"after") for name in GOOD])
    status = run.until_caught_up(10.0)
    assert [worker.restarts for worker in status.workers] == [0, 0]
    assert run.drain() == ExitCode.DRAINED
