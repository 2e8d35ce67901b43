"""What each host says of itself on the status topic: a heartbeat with everything that others need to know of it.

Reports are states, not news: whoever misses one has all of it with the next. What tasks do (`rows`) is the most of it
and is not in each: it is as last told, and read only by who leads or is asked for the status. JSON, so that any Kafka
tool shows it. What decodes can be used: ids are ids, numbers and names are bounded.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from streamcluster.ids import Count, HostName, Number, SlotNumber, TaskName
from streamcluster.outside import Unreadable, parse

from .snapshot import Instance, Name, ProcessId, Shape
from .status import Target, TaskStatus, WorkerStatus

REPORT_FORMAT = 3
# Of a report, unpacked. One of a host with 10,000 tasks has 3 MB.
REPORT_BYTES_MAX = 16 * 1024 * 1024
# A worker is a process with a core and a slot; no machine has so many.
SLOTS_MAX = 1_000
# Questions to the leader that one host may have open. Each is in all its reports, and the answers in the snapshot.
REQUESTS_MAX = 16
# Rows that are as last told.
UNCHANGED = msgspec.Raw(b"null")
HostState = Literal["joining", "member", "leaving", "left"]


class SlotReport(msgspec.Struct, frozen=True, kw_only=True):
    """One slot, as far as ownership goes.

    ready: a process of it takes grants. wanted: tasks may be placed on it, ready or not. gone: no process is in it.
    fenced: a process of this coordinator has had the slot, so whoever had it before can commit nothing.
    holds: tasks that a process of the slot may still commit for, sorted; only told by `fenced` slots.
    """

    number: SlotNumber
    ready: bool = False
    wanted: bool = True
    gone: bool = False
    fenced: bool = False
    holds: tuple[str, ...] = ()


class LeaderRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator asks of the leader. It stays in its host's reports until the control log has its answer.

    kind: drain and undrain (target: host or slot), move (target: slot, task), unpin (task), restart.
    """

    id: Annotated[str, Meta(max_length=64)]
    kind: Literal["drain", "undrain", "move", "unpin", "restart"]
    target: Target = ""
    task: Target = ""


class HostRows(msgspec.Struct, frozen=True, kw_only=True):
    """What the workers and tasks of a host do.

    stored: task -> sum of changelog offsets that its disk is at, for tasks that it neither owns nor follows.
    """

    workers: tuple[WorkerStatus, ...] = ()
    tasks: tuple[TaskStatus, ...] = ()
    stored: dict[TaskName, Number] = {}


class HostReport(msgspec.Struct, frozen=True, kw_only=True):
    """One host. epoch_read: of the newest snapshot that it has acted on; sequence: counts its reports.

    rolls: rolling restarts of its workers that are done, by their number. peer: where it answers other hosts.
    rows: HostRows, not decoded.
    """

    host: HostName
    instance: Instance
    pid: ProcessId
    machine: Name
    sequence: Count
    epoch_read: Count
    state: HostState
    shape: Shape | None
    slots: Annotated[tuple[SlotReport, ...], Meta(max_length=SLOTS_MAX)]
    rack: Name | None = None
    peer: Name | None = None
    roll_done: Count = 0
    requests: Annotated[tuple[LeaderRequest, ...], Meta(max_length=REQUESTS_MAX)] = ()
    rows: msgspec.Raw = UNCHANGED
    format_version: int = REPORT_FORMAT


_report_decoder = msgspec.json.Decoder(HostReport)
_rows_decoder = msgspec.json.Decoder(HostRows)


def encode_report(report: HostReport) -> bytes:
    """A record of the status topic."""
    return msgspec.json.encode(report)


def decode_report(value: bytes) -> HostReport:
    """Read a record. Raises Unreadable: it is no report of this version, which is no reason to stop."""
    report = parse(_report_decoder.decode, value, REPORT_BYTES_MAX)
    if report.format_version != REPORT_FORMAT:
        raise Unreadable(f"format {report.format_version}, and this version knows {REPORT_FORMAT}")
    return report


def encode_rows(rows: HostRows) -> msgspec.Raw:
    """As they go into a report."""
    return msgspec.Raw(msgspec.json.encode(rows))


def decode_rows(rows: msgspec.Raw) -> HostRows:
    """Read what is not UNCHANGED. Raises Unreadable: no coordinator of this version wrote it."""
    return parse(_rows_decoder.decode, bytes(rows), REPORT_BYTES_MAX)
