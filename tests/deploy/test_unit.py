"""The systemd units, the example configuration and the container files: complete, consistent, and fine for systemd."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from streamcluster.config.configuration import operator_settings
from streamcluster.config.loading import load_app
from streamcluster.errors import ExitCode
from streamcluster.settings import Settings, make_settings
from streamcluster_coordinator.cli.unit import app_unit, quoted, template_unit
from tests.cli.conftest import PYTHONPATH, SHOP, Run, run

CHECKOUT = Path(__file__).resolve().parents[2]
DEPLOY = CHECKOUT / "deploy"
ANALYZE = shutil.which("systemd-analyze")
# Of 100; systemd calls up to 50 "OK". Ours have 13 and 14: lower it, never raise it.
EXPOSURE_MAX = 15
# The first release that knows Type=notify-reload; earlier ones keep the Type=notify before it.
NOTIFY_RELOAD = 253
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed (Debian: systemd)")
__all__ = ["run"]


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze; it reads files and needs no running systemd."""
    assert ANALYZE is not None
    command = [ANALYZE, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def complaints(path: Path) -> list[str]:
    """What `systemd-analyze verify` says about a unit, but for what an old release must say."""
    version = int(analyze("--version").stdout.split()[1])
    known = "Failed to parse service type, ignoring: notify-reload" if version < NOTIFY_RELOAD else "\0"
    answer = analyze("verify", "--man=no", str(path))
    return [line for line in (answer.stderr + answer.stdout).splitlines() if known not in line]


def write_unit(directory: Path, program: str, *, settings: Settings | None = None) -> Path:
    """A unit for a program in a directory."""
    settings = settings or Settings(id="orders")
    path = directory / "streamcluster-orders.service"
    path.write_text(app_unit(settings, [program, "-c", "a;b $HOME %i"], str(directory)).text(), encoding="utf-8")
    return path


def values(text: str, name: str) -> list[str]:
    """What a unit sets."""
    return re.findall(rf"^{name}=(.*)$", text, flags=re.MULTILINE)


def test_the_unit_in_deploy_is_the_one_of_the_code() -> None:
    """There is one source. To write it: streamcluster systemd-template > deploy/streamcluster@.service."""
    assert (DEPLOY / "streamcluster@.service").read_text(encoding="utf-8") == template_unit().text()


@needs_systemd
def test_units_are_valid(tmp_path: Path) -> None:
    """systemd knows every directive and value, of the template (with a program that exists) and of an app's unit."""
    template = template_unit().text().replace("/opt/streamcluster/%i/venv/bin/streamcluster", "/bin/sh")
    (tmp_path / "streamcluster@.service").write_text(template, encoding="utf-8")

    assert complaints(tmp_path / "streamcluster@.service") == []
    assert complaints(write_unit(tmp_path, "/bin/sh")) == []


@needs_systemd
def test_a_program_with_a_strange_path_is_found(tmp_path: Path) -> None:
    """Spaces, percent and dollar signs in a path are read back as they were: systemd finds the program there."""
    directory = tmp_path / "all 100% of $HOME; mine"
    directory.mkdir()
    shutil.copy("/bin/sh", directory / "python 3")

    assert complaints(write_unit(directory, str(directory / "python 3"))) == []


@needs_systemd
def test_a_wrong_unit_is_noticed(tmp_path: Path) -> None:
    """The check can fail: an unknown directive and a missing program are reported."""
    path = write_unit(tmp_path, "/nonexistent/python")
    path.write_text(path.read_text().replace("KillMode=", "KillMod="))

    assert any("KillMod" in line for line in complaints(path))
    assert any("/nonexistent/python" in line for line in complaints(path))


@needs_systemd
def test_units_are_hardened(tmp_path: Path) -> None:
    """`systemd-analyze security` gives them OK or better, and fails when much of the hardening is gone."""
    path = write_unit(tmp_path, "/bin/sh")
    bare = tmp_path / "bare.service"
    bare.write_text("[Service]\nExecStart=/bin/sh\n")

    answers = [
        analyze("security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE_MAX}", str(one))
        for one in (path, DEPLOY / "streamcluster@.service", bare)
    ]

    assert [answer.returncode == 0 for answer in answers] == [True, True, False], answers[0].stdout + answers[1].stdout
    assert re.search(r"exposure level for \S+: [\d.]+ (OK|SAFE|PERFECT)", answers[0].stdout)


def test_timeouts_follow_the_settings() -> None:
    """systemd never ends what the coordinator still has in hand: a drain, and a worker that is stuck."""
    settings = Settings(id="orders", drain_timeout=100, stall_timeout=300)
    text = app_unit(settings, ["/bin/sh"], "/").text()

    assert float(values(text, "TimeoutStopSec")[0]) > settings.drain_timeout
    assert float(values(text, "WatchdogSec")[0]) > settings.stall_timeout
    final = {ExitCode.CONFIGURATION, ExitCode.STATE_INCOMPATIBLE, ExitCode.FENCED}
    assert {str(int(code)) for code in final} <= set(values(text, "RestartPreventExitStatus")[0].split())


def test_words_of_a_command_are_text() -> None:
    """Specifiers, variables and separators of systemd are escaped."""
    assert [quoted(word) for word in ("-A", "a b", "kafka://a;b", "100%", "$HOME", 'x"y\\')] == [
        "-A",
        '"a b"',
        '"kafka://a;b"',
        "100%%",
        "$$HOME",
        '"x\\"y\\\\"',
    ]


def test_the_command_prints_a_unit_for_the_app(run: Run, tmp_path: Path) -> None:
    """This Python, this directory and these options; names and times are the app's."""
    (tmp_path / "prod.toml").write_text('drain_timeout = "55s"\n')

    answer = run("systemd", "-A", "shop:app", "--broker", "kafka://b:1", "--config", "prod.toml")

    assert answer.returncode == 0, answer.stderr
    (command,) = values(answer.stdout, "ExecStart")
    assert command.endswith(f"-m streamcluster start -A shop:app --broker kafka://b:1 --config {tmp_path}/prod.toml")
    assert values(answer.stdout, "WorkingDirectory") == [str(tmp_path)]
    assert values(answer.stdout, "StateDirectory") == ["streamcluster/shop"]
    assert values(answer.stdout, "TimeoutStopSec") == ["75"]


def test_the_command_refuses_a_state_directory_of_its_own(run: Run, tmp_path: Path) -> None:
    """The unit's file system is read-only but for the directory that systemd makes; one message says so."""
    (tmp_path / "shop.py").write_text(SHOP.replace("connect_timeout=1", 'state_dir="/srv/state"'), encoding="utf-8")

    answer = run("systemd", "-A", "shop:app")

    assert answer.returncode == ExitCode.CONFIGURATION
    assert "/var/lib/streamcluster/shop" in answer.stderr
    assert answer.stdout == ""


def test_the_example_configuration_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """orders.toml and orders.env hold known settings only, and name an app that is there."""
    lines = (DEPLOY / "orders.env").read_text(encoding="utf-8").splitlines()
    environ = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    monkeypatch.syspath_prepend(str(DEPLOY))

    app = load_app(environ["STREAMCLUSTER_APP"])
    found = operator_settings(DEPLOY / "orders.toml", environ, {})
    settings = make_settings({**app.keywords, **found})

    assert settings.workers == 4
    assert settings.state_dir is None
    text = template_unit().text()
    assert float(values(text, "TimeoutStopSec")[0]) > settings.drain_timeout
    assert float(values(text, "WatchdogSec")[0]) > settings.stall_timeout


def test_the_container_file_copies_what_is_there() -> None:
    """A file that moved would only be missed by a build, which no test does."""
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    copied = [name for line in re.findall(r"^COPY (?!--)(.*) \S+$", text, flags=re.MULTILINE) for name in line.split()]

    assert copied
    assert [name for name in copied if not (CHECKOUT / name).exists()] == []


def test_unit_has_no_line_that_came_in_with_a_name(run: Run, tmp_path: Path) -> None:
    """A newline in an option or in the directory's name is refused: it would begin a directive."""
    line = "\nExecStartPre=true"
    broker = run("systemd", "-A", "shop:app", "--broker", f"kafka://b:1{line}")
    (tmp_path / f"prod{line}.toml").touch()
    config = run("systemd", "-A", "shop:app", "--config", f"prod{line}.toml")
    directory = tmp_path / f"shop{line}"
    directory.mkdir()
    place = subprocess.run(
        [sys.executable, "-m", "streamcluster", "systemd", "-A", "shop:app"],
        cwd=directory,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{tmp_path}{os.pathsep}{PYTHONPATH}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    for answer in (broker, config, place):
        assert (answer.returncode, answer.stdout) == (78, "")
        assert "cannot have control characters in it" in answer.stderr
        assert len(answer.stderr.splitlines()) == 1
