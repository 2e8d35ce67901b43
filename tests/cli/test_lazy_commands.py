"""A command imports what it needs: all that there is, and the coordinator, take most of the time of a short one."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from streamcluster_coordinator.cli import COMMANDS

# What only a coordinator or a broker needs.
COSTLY = ("rich", "streamcluster_coordinator.broker", "streamcluster_coordinator.machine.node", "structlog")


@pytest.mark.parametrize("file", COMMANDS)
def test_the_table_has_each_command(file: str) -> None:
    """What a file offers is found, under the name that it has."""
    found = import_module(f"streamcluster_coordinator.cli.{file}").COMMANDS
    assert tuple(command.name for command in found) == COMMANDS[file]


@pytest.mark.parametrize("command", ["status", "table", "drain", "send", "systemd"])
def test_a_short_command_imports_no_coordinator(command: str) -> None:
    """Nor what it needs for its log."""
    asked = f"from streamcluster_coordinator.cli import run; import sys; code = run([{command!r}, '--help'])"
    shown = f"{asked}; print([name for name in {COSTLY!r} if name in sys.modules], code)"
    done = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines()[-1:] == ["[] 0"], done
