"""What the service manager (systemd) is told while an app runs: ready, reloading, stopping, alive, and a status line.

`news` (pure) decides it from snapshots and the time; `Notifier` sends it, as datagrams to $NOTIFY_SOCKET. It knows
nothing of workers but their snapshots, and nothing is sent when no service manager asked for it.
The protocol is that of sd_notify(3).
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping

import msgspec
from msgspec.structs import replace

from ..number_words import count
from ..records.status import Status
from .loop import Presenter
from .presentation import RestoreProgress

SOCKET_VARIABLE = "NOTIFY_SOCKET"
# How often the manager wants to hear from us (microseconds), and which process it means.
WATCHDOG_VARIABLE = "WATCHDOG_USEC"
WATCHDOG_PID_VARIABLE = "WATCHDOG_PID"
# Snapshots come twice a second; a status line is for people.
STATUS_SECONDS = 2.0
_DIGITS_MAX = 20
_NEVER = float("-inf")


class Told(msgspec.Struct, frozen=True):
    """What the manager knows. *_at: on the clock of `news`; uptime: of the snapshot that last fed the watchdog."""

    ready: bool = False
    stopping: bool = False
    rolls: int = 0
    reloading: bool = False
    text: str = ""
    text_at: float = _NEVER
    fed_at: float = _NEVER
    uptime: float = _NEVER


def news(told: Told, status: Status, now: float, feed_seconds: float | None) -> tuple[list[str], Told]:
    """Decide what to send.

    Args:
        told: what the manager knows.
        status: the newest snapshot.
        now: seconds of CLOCK_MONOTONIC, which a reload must carry.
        feed_seconds: feed the watchdog so often; None: there is none.

    Returns:
        The datagrams in order, and what the manager knows once it has them.
    """
    datagrams: list[str] = []
    lines: list[str] = []
    after = told
    if status.state == "draining":
        if not told.stopping:
            lines.append("STOPPING=1")
            after = replace(after, stopping=True)
    elif not told.ready:
        # Restarts asked for until now are over with the start itself.
        if any(worker.state in ("running", "stalled") for worker in status.workers):
            lines.append("READY=1")
            after = replace(after, ready=True, rolls=status.rolls)
    else:
        if status.rolls > told.rolls:
            # Of its own: READY=1 in the same datagram would make one state of two.
            datagrams.append(f"RELOADING=1\nMONOTONIC_USEC={int(now * 1_000_000)}")
            after = replace(after, reloading=True, rolls=status.rolls)
        if after.reloading and not status.rolling:
            lines.append("READY=1")
            after = replace(after, reloading=False)
    text = status_text(status)
    # A change of state is told with its reason at once.
    if text != told.text and (lines or now - told.text_at >= STATUS_SECONDS):
        lines.append(f"STATUS={text}")
        after = replace(after, text=text, text_at=now)
    if feed_seconds is not None and now - told.fed_at >= feed_seconds and _is_alive(told, status):
        lines.append("WATCHDOG=1")
        after = replace(after, fed_at=now, uptime=status.uptime)
    if lines:
        datagrams.append("\n".join(lines))
    return datagrams, after


def _is_alive(told: Told, status: Status) -> bool:
    """The machine takes its ticks (the uptime is the time of the last one), and no worker's loop is blocked."""
    return status.uptime > told.uptime and all(worker.state != "stalled" for worker in status.workers)


def status_text(status: Status) -> str:
    """One line for `systemctl status`: `running: 7 of 8 tasks on 4 workers, 1,204 records behind`."""
    running = sum(task.state == "running" for task in status.tasks)
    serving = sum(worker.state in ("running", "stalled") for worker in status.workers)
    behind = sum(sum(task.figures.lag.values()) for task in status.tasks)
    workers = "1 worker" if serving == 1 else f"{serving} workers"
    text = f"{status.state}: {running} of {len(status.tasks)} tasks on {workers}, {count(behind)} records behind"
    restore = RestoreProgress.of(status)
    if restore is not None:
        text += f", {restore.text()}"
    if status.rolling:
        text += ", rolling restart"
    if status.broker_state == "down":
        text += ", no broker answers"
    return text


def take_over_notifications(say: Presenter, environ: MutableMapping[str, str] = os.environ) -> Presenter:
    """`say` itself, or one that tells the service manager too, when the environment names its socket.

    The variables are taken out: workers and what users start in them are not the service.
    """
    address = environ.pop(SOCKET_VARIABLE, "")
    interval = environ.pop(WATCHDOG_VARIABLE, "")
    pid = environ.pop(WATCHDOG_PID_VARIABLE, "")
    if not address:
        return say
    if not address.startswith(("/", "@")):
        say.line("warning", f"${SOCKET_VARIABLE} is {address!r}: only /path and @name are known. Nothing is notified.")
        return say
    is_ours = pid in ("", str(os.getpid()))
    # Longer numbers than the manager has.
    is_number = interval.isdecimal() and len(interval) <= _DIGITS_MAX
    feed_seconds = int(interval) / 2_000_000 if is_number and int(interval) > 0 and is_ours else None
    return Notifier(say, address, feed_seconds)


class Notifier:
    """Shows what another presenter shows, and sends the news of each snapshot. For the coordinator's thread."""

    __slots__ = ("_address", "_feed_seconds", "_has_failed", "_say", "_told")

    def __init__(self, say: Presenter, address: str, feed_seconds: float | None) -> None:
        self._say = say
        # The kernel writes names without a file with a NUL, everybody else with an @.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._feed_seconds = feed_seconds
        self._told = Told()
        self._has_failed = False

    def line(self, level: str, text: str) -> None:
        """One message, for the log only."""
        self._say.line(level, text)

    def on_status(self, status: Status) -> None:
        """The newest snapshot. It is called from the coordinator's loop, so what feeds the watchdog is that loop."""
        self._say.on_status(status)
        datagrams, after = news(self._told, status, time.monotonic(), self._feed_seconds)
        if all(self._send(datagram) for datagram in datagrams):
            # Otherwise all of it is due again with the next snapshot: a lost READY=1 would be the end of a good start.
            self._told = after

    def _send(self, datagram: str) -> bool:
        """Whether it was sent. A full queue is no reason to block the loop, nor a dead manager one to end the app."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
                sock.sendto(datagram.encode(), self._address)
        except OSError as error:
            if not self._has_failed:
                self._say.line("warning", f"the service manager cannot be told: {error}. Trying again until it works")
            self._has_failed = True
            return False
        self._has_failed = False
        return True
