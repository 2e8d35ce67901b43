"""Command lines that nobody types on purpose: each ends with a message and a known exit code, and no traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamcluster.errors import ExitCode
from streamcluster_coordinator import cli
from tests.cli.conftest import SHOP

DEEP = "[" * 5_000 + "]" * 5_000
DIGITS = "9" * 5_000
NOT_UTF8 = "a\udcff"
CODES = {1, *map(int, ExitCode)} - {int(ExitCode.DRAINED)}
TYPED = (
    SHOP
    + """

plain = app.topic("plain")
counts = app.Table("counts", default=int, key_type=int)
macs = app.Table("macs", default=int, key_type=bytes)
"""
)


@pytest.fixture(autouse=True)
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An app in the current directory, which this process imports; no broker is there."""
    (tmp_path / "hostile_shop.py").write_text(TYPED, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("STREAMCLUSTER_STATE_DIR", str(tmp_path / "state"))
    yield
    sys.modules.pop("hostile_shop", None)


@pytest.mark.parametrize(
    "arguments",
    [
        ("send", "plain", DEEP),
        ("send", "orders", DIGITS),
        ("send", "orders", DEEP),
        ("send", "plain", NOT_UTF8),
        ("send", "plain", "1", "-k", NOT_UTF8),
        ("send", NOT_UTF8, "1"),
        ("table", "counts", DEEP),
        ("table", "counts", DIGITS),
        ("table", "counts", NOT_UTF8),
        ("table", "macs", NOT_UTF8),
        ("table", "totals", NOT_UTF8),
        ("table", "totals", "--after", NOT_UTF8),
        ("table", "totals", "--after", DIGITS),
        ("table", NOT_UTF8),
        ("table", "totals", "--limit", DIGITS),
        ("move", f"{DIGITS}_{DIGITS}", "a/0"),
        ("move", "8_3", f"a/{DIGITS}"),
        ("move", "8_3", NOT_UTF8),
        ("unpin", NOT_UTF8),
        ("drain", NOT_UTF8),
        ("drain", "x" * 100_000),
        ("status", "--state-dir", "/etc/hostname"),
        ("status", "--state-dir", "/" + "x" * 5_000),
        ("status", "--state-dir", "~nosuchuser/x"),
        ("reset", "--yes", "--state-dir", "/etc/hostname"),
        ("reset", "--yes", "--state-dir", "/" + "x" * 5_000),
        ("status", "--state-dir", NOT_UTF8),
        ("status", "--broker", NOT_UTF8),
        ("status", "--config", NOT_UTF8),
        ("status", NOT_UTF8),
        (NOT_UTF8,),
    ],
)
def test_what_makes_no_sense_is_said_in_one_message(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """A traceback is a message to us; whoever types wants to know what was wrong."""
    code = cli.run(["-A", "hostile_shop:app", *arguments])
    shown = capsys.readouterr()
    assert code in CODES
    assert "Traceback" not in shown.err + shown.out
    assert "fault of streamcluster" not in shown.err
    assert shown.err


def test_a_fault_of_ours_is_one_line_with_its_places(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what its developers need to find it, and nothing that a terminal acts on."""

    def fail(**_: object) -> None:
        raise ZeroDivisionError("\x1b[2J")

    monkeypatch.setattr(cli.command_line, "main", fail)
    assert cli.run(["status"]) == 70
    [line] = capsys.readouterr().err.splitlines()
    assert r"ZeroDivisionError('\x1b[2J') (at cli/__init__.py:" in line
    assert "test_hostile_arguments.py:" in line
