"""Commands about the whole cluster, and rows of other hosts: real command lines against a real control socket.

The coordinator's answers are given by the tests: what it decides is tested elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamcluster_coordinator.answers.control_socket import ControlSocket
from streamcluster_coordinator.dropped import Dropped
from streamcluster_coordinator.records.status import Answer, Ask, Asked, GetRows, Request, RowsAnswer
from tests.cli.conftest import Run

SECONDS = 30.0


@contextmanager
def coordinator(tmp_path: Path, answers: dict[Request, Answer]) -> Iterator[list[Request]]:
    """A control socket of the app shop; yields what it was asked. Requests that are not in `answers` get no rows."""
    directory = tmp_path / "state" / "shop"
    directory.mkdir(parents=True)
    asked: list[Request] = []
    opened, done = threading.Event(), asyncio.Event()

    async def answer(request: Request) -> Answer:
        asked.append(request)
        return answers.get(request, RowsAnswer())

    async def serve() -> None:
        server = ControlSocket(directory, answer, Dropped())
        await server.open()
        opened.set()
        await done.wait()
        await server.close()

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert opened.wait(SECONDS)
        yield asked
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(SECONDS)
        loop.close()


def shop(run: Run, tmp_path: Path, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One command about the app."""
    return run(command, "-A", "shop:app", "--state-dir", str(tmp_path / "state"), *arguments)


@pytest.mark.parametrize(
    ("arguments", "question", "then"),
    [
        (("drain", "a"), Ask(kind="drain", target="a"), "none come until `streamcluster undrain a`"),
        (("undrain", "a.b-1/12"), Ask(kind="undrain", target="a.b-1/12"), "It gets its share"),
        (("move", "8_3", "b/1"), Ask(kind="move", target="b/1", task="8_3"), "until `streamcluster unpin 8_3`"),
        (("unpin", "8_3"), Ask(kind="unpin", task="8_3"), "It stays where it is unless"),
        (("restart",), Ask(kind="restart"), "One worker of one host at a time"),
    ],
)
def test_leader_is_asked_and_what_happens_next_is_said(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], question: Ask, then: str
) -> None:
    """The question is the command's; the leader's text comes first, then what to expect."""
    with coordinator(tmp_path, {question: Asked(text="it is decided")}) as asked:
        done = shop(run, tmp_path, *arguments)

    assert asked == [question]
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("it is decided. ")
    assert then in done.stdout


def test_leaders_answer_as_json(run: Run, tmp_path: Path) -> None:
    """The question and the answer are fields."""
    question = Ask(kind="move", target="b/1", task="8_3")
    with coordinator(tmp_path, {question: Asked(text="it is decided")}):
        done = shop(run, tmp_path, "move", "8_3", "b/1", "--json")

    expected = {"kind": "move", "target": "b/1", "task": "8_3", "text": "it is decided", "error": None}
    assert json.loads(done.stdout) == expected


def test_refusal_ends_with_exit_code_1_and_its_reason(run: Run, tmp_path: Path) -> None:
    """What the leader says against it is on stderr, and in the JSON."""
    question = Ask(kind="drain", target="z")
    with coordinator(tmp_path, {question: Asked(error="there is no host z; there are: a, b")}):
        done = shop(run, tmp_path, "drain", "z")
        as_json = shop(run, tmp_path, "drain", "z", "--json")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "streamcluster: drain is refused: there is no host z; there are: a, b\n"
    assert (as_json.returncode, json.loads(as_json.stdout)["error"]) == (1, "there is no host z; there are: a, b")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("drain", "a/x"), 2, "'a/x' is not a slot: write HOST/NUMBER"),
        (("drain", "a b"), 2, "'a b' cannot be the name of a host"),
        (("drain", "a/b/0"), 2, "'a/b/0' is not a slot"),
        (("move", "8_3", "b"), 2, "'b' is not a slot: write HOST/NUMBER"),
        (("move", "8_8", "b/0"), 2, "'8_8' is not a task"),
        (("unpin", "orders"), 2, "'orders' is not a task"),
        (("restart",), 69, "shop is not running here"),
    ],
)
def test_mistakes_are_said_before_anybody_is_asked(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    """What cannot be a place or a task, and an app that does not run."""
    done = shop(run, tmp_path, *arguments)

    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_rows_of_a_standby_are_marked(run: Run, tmp_path: Path) -> None:
    """The value is on stdout as ever; where it is from is said on stderr, and in the JSON."""
    question = GetRows(table="totals", key='"ann"', rows_max=500)
    answer = RowsAnswer(rows=(('"ann"', "7"),), source="b/1", lag=12)
    with coordinator(tmp_path, {question: answer}):
        done = shop(run, tmp_path, "table", "totals", "ann")
        as_json = shop(run, tmp_path, "table", "totals", "ann", "--json")

    assert (done.returncode, done.stdout) == (0, "7\n")
    assert done.stderr == "from the standby b/1, at most 12 changelog records behind\n"
    assert json.loads(as_json.stdout) == {"table": "totals", "key": "ann", "value": 7, "source": "b/1", "lag": 12}


def test_rows_of_the_owner_are_not_marked(run: Run, tmp_path: Path) -> None:
    """Nothing on stderr; the JSON has the owner's slot."""
    question = GetRows(table="totals", key='"ann"', rows_max=500)
    with coordinator(tmp_path, {question: RowsAnswer(rows=(('"ann"', "7"),), source="a/0")}):
        done = shop(run, tmp_path, "table", "totals", "ann")
        as_json = shop(run, tmp_path, "table", "totals", "ann", "--json")

    assert (done.stdout, done.stderr) == ("7\n", "")
    assert json.loads(as_json.stdout)["source"] == "a/0"
    assert json.loads(as_json.stdout)["lag"] is None


def test_missing_key_of_a_standby_is_marked_too(run: Run, tmp_path: Path) -> None:
    """That a key is not there may be old news as well; no answer at all is an error, not a missing key."""
    absent = GetRows(table="totals", key='"ann"', rows_max=500)
    away = GetRows(table="totals", key='"bob"', rows_max=500)
    reason = "host b has no --advertise address: run the command there, or start it with one"
    with coordinator(tmp_path, {absent: RowsAnswer(source="b/1", lag=12), away: RowsAnswer(error=reason)}):
        missing = shop(run, tmp_path, "table", "totals", "ann")
        unknown = shop(run, tmp_path, "table", "totals", "bob")

    assert missing.returncode == 1
    assert missing.stderr.splitlines() == [
        "from the standby b/1, at most 12 changelog records behind",
        "streamcluster: table 'totals' has no key ann",
    ]
    assert (unknown.returncode, unknown.stdout) == (78, "")
    assert reason in unknown.stderr


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("--advertise", "7070", "advertise='7070' is not an address"), ("--host", "a/1", "host='a/1' cannot name a host")],
)
def test_start_takes_options_about_hosts(run: Run, option: str, value: str, message: str) -> None:
    """They are settings, with the checks of settings."""
    done = run("start", "-A", "shop:app", option, value, "--rack", "r1")

    assert (done.returncode, done.stdout) == (78, "")
    assert message in done.stderr
