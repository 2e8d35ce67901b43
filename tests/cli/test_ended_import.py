"""A module that ends the process, or raises what nobody catches, when it is imported: named, with how it ended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streamcluster.errors import ExitCode
from tests.cli.conftest import PYTHONPATH

SECONDS = 60.0
PREAMBLE = """
import os, sys
import streamcluster

app = streamcluster.App("ended")
words = app.topic("words", value_type=str)


@app.agent(words)
async def counting(stream):
    {first}
    async for _ in stream:
        pass


{last}
"""


@pytest.mark.parametrize(
    ("first", "last", "text"),
    [
        ("pass", "os._exit(3)", "the process that imports it ended with code 3"),
        ("pass", "os.abort()", "the process that imports it was killed by SIGABRT"),
        ("pass", "sys.exit('no token')", "does not import: SystemExit: no token (shop.py, line 16)"),
        ("pass", "raise KeyboardInterrupt('stop')", "does not import: KeyboardInterrupt: stop"),
        ("pass", "raise GeneratorExit('odd')", "does not import: GeneratorExit: odd"),
        ("os._exit(5)", "", "the process that imports it ended with code 5"),
        ("sys.exit(4)", "", "the code before an agent's first event failed: SystemExit(4)"),
    ],
)
def test_import_that_ends_is_said(tmp_path: Path, first: str, last: str, text: str) -> None:
    """With the code of a wrong app, and no word of an interrupt that nobody made."""
    (tmp_path / "shop.py").write_text(PREAMBLE.format(first=first, last=last), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "streamcluster", "start", "-A", "shop:app", "--state-dir", "state"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": PYTHONPATH},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == ExitCode.CONFIGURATION, done.stderr
    assert text in done.stderr.replace(f"{tmp_path}/", "")
    assert "interrupted" not in done.stderr
