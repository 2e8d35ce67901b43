"""What the tests of the command line share: a small app, and a function that runs `streamcluster ...` beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]
# Child processes find the packages where this one found them.
PYTHONPATH = os.pathsep.join(path for path in sys.path if path)
SHOP = '''
import streamcluster

app = streamcluster.App("shop", broker="kafka://127.0.0.1:1", connect_timeout=1)
orders = app.topic("orders", key_type=str, value_type=int)
totals = app.Table("totals", default=int, help="Sum per account.")


@app.agent(orders)
async def add_up(stream):
    """Add up the orders of each account."""
    async for account, amount in stream.items():
        totals[account] += amount
'''


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs `streamcluster ...` in a directory that has shop.py."""
    (tmp_path / "shop.py").write_text(SHOP, encoding="utf-8")

    def run_command(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": PYTHONPATH, **environ}
        return subprocess.run(
            [sys.executable, "-m", "streamcluster", *arguments],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    return run_command
