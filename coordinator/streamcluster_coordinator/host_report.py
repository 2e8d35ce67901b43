"""What each host says of itself on the status topic: a heartbeat with everything that others need to know of it.

Reports are states, not news: whoever misses one has all of it with the next. What tasks do (`rows`) is the most of it
and is not in each: it is as last told, and read only by who leads or is asked for the status. JSON, so that any Kafka
tool shows it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from .control_record import Shape
from .status import TaskStatus, WorkerStatus

REPORT_FORMAT = 2
# Rows that are as last told.
UNCHANGED = msgspec.Raw(b"null")
HostState = Literal["joining", "member", "leaving", "left"]


class SlotReport(msgspec.Struct, frozen=True, kw_only=True):
    """One slot, as far as ownership goes.

    ready: a process of it takes grants. wanted: tasks may be placed on it, ready or not. gone: no process is in it.
    fenced: a process of this coordinator has had the slot, so whoever had it before can commit nothing.
    holds: tasks that a process of the slot may still commit for, sorted; only told by `fenced` slots.
    """

    number: int
    ready: bool = False
    wanted: bool = True
    gone: bool = False
    fenced: bool = False
    holds: tuple[str, ...] = ()


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator asks of the leader. It stays in its host's reports until the control log has its answer.

    kind: drain and undrain (target: host or slot), move (target: slot, task), unpin (task), restart.
    """

    id: str
    kind: Literal["drain", "undrain", "move", "unpin", "restart"]
    target: str = ""
    task: str = ""


class HostRows(msgspec.Struct, frozen=True, kw_only=True):
    """What the workers and tasks of a host do.

    stored: task -> sum of changelog offsets that its disk is at, for tasks that it neither owns nor follows.
    """

    workers: tuple[WorkerStatus, ...] = ()
    tasks: tuple[TaskStatus, ...] = ()
    stored: dict[str, int] = {}


class HostReport(msgspec.Struct, frozen=True, kw_only=True):
    """One host. epoch_read: of the newest snapshot that it has acted on; sequence: counts its reports.

    rolls: rolling restarts of its workers that are done, by their number. peer: where it answers other hosts.
    rows: HostRows, not decoded.
    """

    host: str
    instance: str
    pid: int
    machine: str
    sequence: int
    epoch_read: int
    state: HostState
    shape: Shape | None
    slots: tuple[SlotReport, ...]
    rack: str | None = None
    peer: str | None = None
    roll_done: int = 0
    requests: tuple[Request, ...] = ()
    rows: msgspec.Raw = UNCHANGED
    format_version: int = REPORT_FORMAT


_report_decoder = msgspec.json.Decoder(HostReport)
_rows_decoder = msgspec.json.Decoder(HostRows)


def encode_report(report: HostReport) -> bytes:
    """A record of the status topic."""
    return msgspec.json.encode(report)


def decode_report(value: bytes) -> HostReport | None:
    """Read a record; None: it is no report of this version, which is no reason to stop."""
    try:
        report = _report_decoder.decode(value)
    except msgspec.MsgspecError:
        return None
    return report if report.format_version == REPORT_FORMAT else None


def encode_rows(rows: HostRows) -> msgspec.Raw:
    """As they go into a report."""
    return msgspec.Raw(msgspec.json.encode(rows))


def decode_rows(rows: msgspec.Raw) -> HostRows:
    """Read what is not UNCHANGED; empty when no coordinator of this version wrote it."""
    try:
        return _rows_decoder.decode(rows)
    except msgspec.MsgspecError:
        return HostRows()
