"""The commands against an app that runs: what it shows, what it answers, and how it ends. Real Kafka, real workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from streamcluster.kafka.config import client_config
from streamcluster.settings import Settings
from streamcluster_coordinator.admin.client import create_topic, reach
from tests.cli.conftest import PYTHONPATH, SHOP, Run
from tests.conftest import SharedBroker

SECONDS = 40.0


@dataclass(frozen=True, slots=True)
class Started:
    """A running shop. options: what reaches it. out, err: the files that its streams go to."""

    app_id: str
    process: subprocess.Popen[bytes]
    options: tuple[str, ...]
    out: Path
    err: Path


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Until the condition holds, or fail with what was waited for."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {SECONDS:.0f} s: {what}"
        threading.Event().wait(0.1)


@pytest.fixture
def shop(tmp_path: Path, run: Run, broker: SharedBroker) -> Iterator[Started]:
    """`streamcluster start` on a shop that prints each order; ended by the test, or killed."""
    app_id = f"shop-{uuid.uuid4().hex[:8]}"
    text = SHOP.replace('"shop"', f'"{app_id}"').replace('"orders"', f'"{app_id}-orders"')
    text = text.replace("connect_timeout=1", "commit_interval=0.05") + "        print(f'{account} pays {amount}')\n"
    (tmp_path / "shop.py").write_text(text, encoding="utf-8")
    create_topic(reach(client_config(Settings(id="x", broker=broker.url)), SECONDS), f"{app_id}-orders", 2, {}, SECONDS)
    options = ("-A", "shop:app", "--broker", broker.url, "--state-dir", str(tmp_path / "state"))
    out, err = tmp_path / "out", tmp_path / "err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamcluster", "start", *options, "--workers", "2"],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": PYTHONPATH},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    try:
        started = Started(app_id, process, options, out, err)
        wait_until(lambda: is_running(run, started), "every task runs")
        yield started
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def is_running(run: Run, shop: Started) -> bool:
    """Whether the app answers and both tasks run."""
    assert shop.process.poll() is None, shop.err.read_text()
    answer = run("status", *shop.options, "--json")
    return answer.returncode == 0 and [task["state"] for task in json.loads(answer.stdout)["tasks"]] == ["running"] * 2


def value_of(run: Run, shop: Started, key: str) -> str:
    """What `table totals KEY` prints."""
    return run("table", *shop.options, "totals", key).stdout.strip()


def test_a_running_app_answers_and_drains(run: Run, shop: Started, tmp_path: Path) -> None:
    """send -> table and print; status; a second start and a reset are refused; SIGTERM drains, and reset works."""
    for key, amount in (("a", "3"), ("b", "5"), ("a", "4")):
        assert run("send", *shop.options, "@add_up", amount, "-k", key).returncode == 0
    wait_until(lambda: value_of(run, shop, "a") == "7", "account a has 7")

    page = json.loads(run("table", *shop.options, "totals", "--json").stdout)
    assert sorted((row["key"], row["value"]) for row in page["rows"]) == [("a", 7), ("b", 5)]
    assert json.loads(run("table", *shop.options, "totals", "b", "--json").stdout)["value"] == 5

    text = run("status", *shop.options).stdout
    assert text.startswith(f"{shop.app_id} is running, up ")
    assert f"{shop.app_id}-orders[0]" in text

    second = run("start", *shop.options)
    assert (second.returncode, "runs here already" in second.stderr) == (78, True)
    reset = run("reset", *shop.options, "--yes")
    assert (reset.returncode, "runs here already" in reset.stderr) == (78, True)

    shop.process.send_signal(signal.SIGTERM)
    assert shop.process.wait(SECONDS) == 0, shop.err.read_text()
    assert sorted(shop.out.read_text().splitlines()) == ["a pays 3", "a pays 4", "b pays 5"]
    lines = [json.loads(line) for line in shop.err.read_text().splitlines()]
    assert all({"ts", "level", "event"} <= line.keys() for line in lines)
    assert run("status", *shop.options).returncode == 69

    done = run("reset", *shop.options, "--yes", "--offsets", "--topics", "--json")
    assert json.loads(done.stdout)["topics"] == [f"{shop.app_id}-totals-changelog"]
    assert json.loads(done.stdout)["offsets"] == [shop.app_id]


def test_a_missing_key_ends_with_exit_code_1(run: Run, shop: Started) -> None:
    """With every task running, a key that is in no shard is not there, which is an answer and not a trouble."""
    absent = run("table", *shop.options, "totals", "zzz")

    assert (absent.returncode, absent.stdout) == (1, "")
    assert "has no key zzz" in absent.stderr
