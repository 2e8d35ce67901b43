"""The programs that make networks (ip, nft, tc, nsenter): found, run, and understood when they are not allowed to."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

_COMMAND_SECONDS = 20
# How tools say that the kernel or a sandbox does not allow something; anything else is a mistake of ours.
_REFUSALS = (
    "not permitted",
    "Permission denied",
    "Operation not supported",
    "Unknown device type",
    "qdisc kind is unknown",
    "Could not process rule",
)


class NetworkMissing(Exception):
    """The machine does not let us have a network; the text says what is missing and how to get it."""


def check_tools() -> None:
    """Raise NetworkMissing, which says what to install or to permit, unless a network can be made here."""
    for tool in ("ip", "nft", "nsenter"):
        path_of(tool)
    if os.geteuid() != 0:
        raise NetworkMissing("network namespaces need root (CAP_SYS_ADMIN and CAP_NET_ADMIN)")


def path_of(tool: str) -> str:
    """Where a tool is; NetworkMissing says what to install."""
    path = shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        raise NetworkMissing(f"there is no `{tool}` (Debian: apt-get install iproute2 nftables util-linux)")
    return path


def run(command: Sequence[str], text: str = "") -> None:
    """Run a command with a text as its input; NetworkMissing when it is not allowed to do that here."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False)
    said = done.stderr.strip()
    if any(refusal in said for refusal in _REFUSALS):
        raise NetworkMissing(f"`{' '.join(command)}` is not possible here: {said}")
    assert done.returncode == 0, f"{' '.join(command)}\n{text}{said}"
