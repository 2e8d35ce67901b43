"""The snapshot that `streamcluster status` shows, and the requests that the control socket takes.

Values only; the runtime fills them, the CLI renders them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from streamcluster.ids import Count, Members, Number, SlotName, SlotNumber, TaskName
from streamcluster.protocol.messages import TaskFigures, WorkerFigures
from streamcluster.times import MS_MAX

# What a rate may be: far more than any machine does, and far from what floats cannot add up.
PerSecond = Annotated[float, Meta(ge=0, le=1e18)]
Seconds = Annotated[float, Meta(ge=0, le=1e18)]


class StandbyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A standby of a task. slot: `a/0`; lag: changelog records behind, None while unknown."""

    slot: SlotName
    lag: Number | None = None


class TaskStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One task. restore_eta: seconds left; None: unknown, or no restore.

    slot: number of the slot on its host; owner: the whole name, `a/0`.
    events_per_second: how fast its positions moved in the last half minute; None: it was not seen for so long.
    """

    task: TaskName
    slot: SlotNumber | None
    state: str
    figures: TaskFigures = TaskFigures()
    restore_eta: Seconds | None = None
    owner: SlotName | None = None
    events_per_second: PerSecond | None = None
    standbys: tuple[StandbyStatus, ...] = ()


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One slot and the process in it. restarts: how often it was replaced; last_death: why, the last time."""

    slot: SlotNumber
    pid: Count | None
    state: Literal["starting", "running", "stalled", "backing_off", "draining", "gone"]
    leader: bool = False
    tasks: tuple[str, ...] = ()
    figures: WorkerFigures = WorkerFigures()
    events_per_second: PerSecond = 0.0
    restarts: Count = 0
    last_death: str | None = None
    host: str = ""
    standbys: tuple[str, ...] = ()


class HostStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One host. heard: seconds since its last report; state: as it says, or `silent`, `gone`.

    trouble: what is wrong with its reports.
    """

    host: str
    state: Literal["joining", "member", "leaving", "left", "silent", "gone"]
    machine: str = ""
    pid: int = 0
    slots: int = 0
    rack: str | None = None
    heard: float | None = None
    drained: bool = False
    peer: str | None = None
    trouble: str | None = None


class DroppedStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What came from outside and was not used. place: where it came from; count: since the start; last: the newest."""

    place: str
    count: int
    last: str


class MoveStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A task that changed hands."""

    epoch: int
    task: str
    source: str
    target: str
    reason: str


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The whole app, as the host that was asked knows it. uptime: of that host, seconds. leader: a host's name.

    workers and tasks: of all hosts. term: counts leaders; moves: the last ones, newest last.
    """

    app: str
    host: str
    pid: int
    state: Literal["starting", "running", "draining", "degraded"]
    broker: str
    broker_state: Literal["up", "down"]
    processing_guarantee: str
    epoch: int
    uptime: float
    workers: tuple[WorkerStatus, ...]
    tasks: tuple[TaskStatus, ...]
    topology_hash: str
    # Rolling restarts asked for so far, and whether one is under way.
    rolls: int = 0
    rolling: bool = False
    leader: str | None = None
    term: int = 0
    hosts: tuple[HostStatus, ...] = ()
    moves: tuple[MoveStatus, ...] = ()
    # Of this host: records, requests and answers of others that it could not read, or did not believe.
    dropped: tuple[DroppedStatus, ...] = ()
    # What is not read, and why.
    notes: tuple[str, ...] = ()


def as_json(status: Status) -> dict[str, Any]:
    """As `status --json` prints it: the figures of a worker or task are among its fields."""
    built: dict[str, Any] = msgspec.to_builtins(status)
    for row in (*built["workers"], *built["tasks"]):
        row |= row.pop("figures")
    return built


# Requests on the control socket (frames of wire.py, one answer each), and how long a coordinator may take for them:
# rows of other hosts, from owners and then from standbys; a decision of the leader that the control log has.
ROWS_SECONDS = 6.5
LEADER_SECONDS = 20.0
# What is asked for stays in reports and snapshots until it is answered, and is looked up in tables.
TARGET_CHARS_MAX = 300
KEY_CHARS_MAX = 64 * 1024
# It has the key of the row before it, in base64, and what hosts and slots put in front: as long as a request may be.
CURSOR_CHARS_MAX = 256 * 1024
ROWS_MAX = 10_000
Target = Annotated[str, Meta(max_length=TARGET_CHARS_MAX)]


class GetStatus(msgspec.Struct, frozen=True, tag=True):
    """Answered by Status."""


class GetRows(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One key (JSON text) or a page of rows of a table; answered by RowsAnswer.

    as_of: when the key is meant, in ms, of a table with history=; None: now. local: from workers of the host that is
    asked alone, as hosts ask each other. standby: then from its standbys.
    """

    table: Target
    key: Annotated[str, Meta(max_length=KEY_CHARS_MAX)] | None = None
    after: Annotated[str, Meta(max_length=CURSOR_CHARS_MAX)] | None = None
    rows_max: Annotated[int, Meta(ge=1, le=ROWS_MAX)] = 100
    as_of: Annotated[int, Meta(ge=-MS_MAX, le=MS_MAX)] | None = None
    local: bool = False
    standby: bool = False


class RowsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """(JSON key, JSON value) pairs, as Rows; after: cursor of the next page; error: why there are none.

    passing: the error goes away by itself, a task moves or a worker is busy: the same may be asked again.
    source: the slot that has the key, `a/0`, or a standby. lag: the standby is at most so many changelog records
    behind; None: it is the owner's word. tasks: of a local answer, what was looked through.
    """

    rows: Annotated[tuple[tuple[str, str], ...], Members] = ()
    after: str | None = None
    error: str | None = None
    source: str | None = None
    lag: Number | None = None
    tasks: Annotated[tuple[TaskName, ...], Members] = ()
    passing: bool = False


AskKind = Literal["drain", "undrain", "move", "unpin", "restart"]


class Ask(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What an operator asks of the leader, of any host; answered by Asked once the leader has decided.

    target: a host or a slot (drain, undrain), a slot (move). task: move, unpin. restart: neither.
    """

    kind: AskKind
    target: Target = ""
    task: Target = ""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the leader says. error: why it refused, or why nobody decided."""

    text: str = ""
    error: str | None = None


Request = GetStatus | GetRows | Ask
Answer = Status | RowsAnswer | Asked
