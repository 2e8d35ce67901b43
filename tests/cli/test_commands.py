"""The commands as a user meets them: exit codes, messages on stderr, JSON on stdout. Real processes, no broker."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import PYTHONPATH, SHOP, Run


def test_help_and_version_need_no_app(run: Run) -> None:
    """A first look works without anything."""
    assert "status" in run("--help").stdout
    assert run("--version").stdout.startswith("streamcluster")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["start"], 2, "which app? Add -A module:app"),
        (["status", "-A", "absent:app"], 78, "there is no module 'absent'"),
        (["status", "-A", "shop:ap"], 78, "Did you mean -A shop:app?"),
        (["start", "-A", "shop:app", "--drain-timeout", "soon"], 2, "'soon' is not a duration"),
        (["start", "-A", "shop:app", "--broker", "localhost"], 78, "must look like 'kafka://host:9092'"),
        (["start", "-A", "shop:app"], 69, "127.0.0.1:1"),
        (["check", "-A", "shop:app"], 69, "127.0.0.1:1"),
        (["status", "-A", "shop:app"], 69, "shop is not running here"),
        (["table", "-A", "shop:app", "totals", "a"], 69, "shop is not running here"),
        (["table", "-A", "shop:app", "total"], 78, "Did you mean 'totals'?"),
        (["send", "-A", "shop:app", "order", "1"], 78, "Did you mean 'orders'?"),
        (["send", "-A", "shop:app", "@add_upp", "1"], 78, "Did you mean 'add_up'?"),
        (["send", "-A", "shop:app", "orders"], 2, "give either VALUE or --null"),
        (["send", "-A", "shop:app", "orders", "many"], 78, "the value 'many' does not fit"),
        (["send", "-A", "shop:app", "orders", "1", "--broker", "kafka://127.0.0.1:1"], 69, "no Kafka broker answered"),
        (["status", "-A", "shop:app", "--config", "absent.toml"], 78, "absent.toml: cannot read"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_each_mistake_has_its_message_and_exit_code(run: Run, arguments: list[str], code: int, message: str) -> None:
    """One message on stderr, the documented exit code, and never a traceback."""
    done = run(*arguments, STREAMCLUSTER_CONNECT_TIMEOUT="1s")

    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_app_that_does_not_import_shows_its_traceback_and_one_line(run: Run, tmp_path: Path) -> None:
    """The user's traceback comes first, then what it was about; exit code 78."""
    (tmp_path / "broken.py").write_text("price = 1 / 0\n", encoding="utf-8")

    done = run("start", "-A", "broken:app")

    assert done.returncode == 78
    assert done.stderr.startswith("Traceback")
    assert "broken.py" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("streamcluster: configuration: -A 'broken:app' does not import")


def test_an_unknown_variable_of_ours_is_refused(run: Run) -> None:
    """A typo in the environment stops every command that looks at an app."""
    done = run("agents", "-A", "shop:app", STREAMCLUSTER_WORKER="2")

    assert done.returncode == 78
    assert "Did you mean STREAMCLUSTER_WORKERS?" in done.stderr


def test_lists_are_json_on_request(run: Run) -> None:
    """agents, topics and tables print what the code declares, without a broker."""
    agents, topics, tables = (
        json.loads(run(command, "--json", STREAMCLUSTER_APP="shop:app").stdout)
        for command in ("agents", "topics", "tables")
    )

    assert [(agent["name"], agent["help"]) for agent in agents] == [
        ("shop.add_up", "Add up the orders of each account.")
    ]
    assert {topic["name"]: topic["role"] for topic in topics} == {
        "orders": "source",
        "shop-totals-changelog": "changelog",
        "shop-dead-letter": "dead_letter",
    }
    assert [(table["name"], table["changelog"]) for table in tables] == [("totals", "shop-totals-changelog")]


def test_lists_are_columns_for_people(run: Run) -> None:
    """The same as text; -A before the command works as in app.main()."""
    lines = run("-A", "shop:app", "tables").stdout.splitlines()

    assert lines[0].split() == ["TABLE", "CHANGELOG", "FED", "BY", "WHAT", "IT", "HOLDS"]
    assert lines[1].split()[:3] == ["totals", "shop-totals-changelog", "orders"]


def test_app_main_is_the_same_command_line(tmp_path: Path, run: Run) -> None:
    """A script that ends with app.main() takes the same commands."""
    script = tmp_path / "script.py"
    script.write_text(SHOP + "\nif __name__ == '__main__':\n    app.main()\n", encoding="utf-8")

    done = subprocess.run(
        [sys.executable, str(script), "tables", "--json"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": PYTHONPATH},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert [table["name"] for table in json.loads(done.stdout)] == ["totals"]


def test_reset_asks_first_and_removes_only_on_yes(run: Run, tmp_path: Path) -> None:
    """Without an answer nothing is removed; with --yes it says what it removed."""
    state = tmp_path / "state"
    store = state / "shop" / "tasks"
    store.mkdir(parents=True)

    asked = run("reset", "-A", "shop:app", "--state-dir", str(state))

    assert asked.returncode != 0
    assert "This removes" in asked.stderr
    assert store.exists()

    done = run("reset", "-A", "shop:app", "--state-dir", str(state), "--yes", "--json")

    assert done.returncode == 0
    assert not store.exists()
    assert json.loads(done.stdout)["state"] == [str(store)]
