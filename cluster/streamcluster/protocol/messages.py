"""The messages between a coordinator and its workers, over one socketpair per worker.

Frozen, tagged msgspec structs; `wire.py` frames them. Every message that moves ownership carries the epoch of the
assignment that it belongs to, and receivers drop older ones.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from ..ids import Count, Members, Number, TaskId, TaskName
from ..settings import Settings
from ..topology import Declared, Topology

# The lag of a standby that has not seen the end of its changelogs yet: more than any log can have.
LAG_UNKNOWN = 1 << 53
# How long a coordinator waits for the Rows of a worker; later ones nobody wants.
READ_SECONDS = 2.5
# What the value of a row begins with, in place of JSON, when the row cannot be read: then follows why.
UNREADABLE = "!"

TaskState = Literal["restoring", "running", "failing", "closing", "standby"]


def native_words(why_not: str) -> str:
    """Which path records take to the client. why_not: empty when they go in C."""
    if why_not:
        return f"records go to the client from Python, which takes more CPU than in C: {why_not}"
    return "records go to the client in C"


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag=True, array_like=False):
    """What all messages share: the tag is the class name."""


class WorkerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """All that a worker process is started with. state_dir: this app's own directory on this host.

    inventory: say once with Stored which state is on this host's disk. death: why the process before this one in the
    slot died, when an event may have done that: nobody ended it, and it did not say why; or it hung. begun: topic ->
    partitions that it had when the app began to read it. read: topic -> partitions in which the app had a position.
    """

    app: str
    slot: int
    leader: bool
    settings: Settings
    topology: Topology
    state_dir: str
    transactional_id: str
    inventory: bool = False
    death: str | None = None
    begun: dict[str, int] = {}
    read: dict[str, int] = {}


class Description(_Message, frozen=True, kw_only=True):
    """What a probe process found out about an app: its settings under the operator's, and its declaration.

    native: which path records take to the client, in words.
    notes: what the app's author should know: what its import opens, windows that cost much.
    """

    settings: Settings
    declared: Declared
    native: str
    notes: tuple[str, ...] = ()


# Coordinator -> worker


class Grant(_Message, frozen=True, kw_only=True):
    """These tasks are yours from now on (in addition to what you have).

    session: that of the worker's newest Ready. The worker drops what was sent to an earlier one: it may be from before
    the fence, and its epoch does not tell (H5).
    """

    epoch: int
    tasks: Annotated[tuple[TaskId, ...], Members]
    session: int = 1


class Revoke(_Message, frozen=True, kw_only=True):
    """Commit, close and release these tasks; answer with Released. session: as in Grant."""

    epoch: int
    tasks: Annotated[tuple[TaskId, ...], Members]
    session: int = 1


class Follow(_Message, frozen=True, kw_only=True):
    """Be a standby of these tasks, and of no other: the whole list. Answer with Following.

    A standby keeps the shards of a task at the end of their changelogs and runs nothing. A task that is granted while
    it is followed is promoted: it goes on from there. session: as in Grant.
    """

    epoch: int
    tasks: Annotated[tuple[TaskId, ...], Members]
    session: int = 1


class Lead(_Message, frozen=True, kw_only=True):
    """You run the `on_leader` tasks and timers from now on, or not any more."""

    epoch: int
    leader: bool


class Drain(_Message, frozen=True, kw_only=True):
    """Stop intake, finish events, commit, close everything, then exit 0."""


class Tell(_Message, frozen=True, kw_only=True):
    """Send a Report now: somebody asks for the status, and counts on what it says."""


class ReadTable(_Message, frozen=True, kw_only=True):
    """Read one key, or a page of rows of a table's local shards.

    key: JSON text of the key, or None for a page. after: opaque cursor of the last page's Rows, None for the first.
    as_of: of a key of a table with history=, the time at which it is meant, in ms. standby: read the shards of which
    this worker is a standby, instead of its own. until: CLOCK_MONOTONIC of this machine, in seconds, when the
    coordinator gives up.
    """

    request: int
    table: str
    key: str | None = None
    after: str | None = None
    rows_max: int = 100
    as_of: int | None = None
    standby: bool = False
    until: float | None = None


# Worker -> coordinator


class Ready(_Message, frozen=True, kw_only=True):
    """The worker's producer has been initialised (so whoever had the slot is fenced): it can take grants.

    It is sent again after every client was replaced (I3). The worker then has no task and follows none: what it is to
    have, it gets anew, from a log that was read after this (H5). session: counts these messages from 1; every Grant,
    Revoke and Follow carries the newest.
    """

    slot: int
    pid: int
    session: int = 1


class Following(_Message, frozen=True, kw_only=True):
    """The answer to Follow: the worker is a standby of these tasks now, and the stores of all others are closed."""

    epoch: int
    tasks: Annotated[tuple[TaskId, ...], Members]


class Stored(_Message, frozen=True, kw_only=True):
    """What is on this host's disk and in no worker's hands: "group_partition" -> sum of its changelog offsets."""

    positions: dict[TaskName, Number]


class Released(_Message, frozen=True, kw_only=True):
    """These tasks are committed and closed; another worker may have them."""

    epoch: int
    tasks: Annotated[tuple[TaskId, ...], Members]


# What `error` of a task has in it that works, but has had an event in hand for long; the text changes as time passes.
LONG_EVENT = "has been running for"


# Open windows are counted up to this in each task: a millisecond of a scan, every few seconds.
OPEN_MAX = 1000


class TimedFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Of a windowed table or a join in one task, as of its last commit.

    open: windows, or events that may find partners, counted up to OPEN_MAX; closed, late: since the first; ahead:
    records too far in the future to move time, since the task was opened.
    """

    open: Count = 0
    closed: Count = 0
    late: Count = 0
    ahead: Count = 0


class TaskFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How far a task is, from its worker to whoever is shown it.

    lag: records behind per source topic; restored/restore_total: records of its changelogs. Of a standby, lag is per
    changelog, LAG_UNKNOWN at first, and error says why it does not get on. stored: sum of the changelog offsets that
    the local store is at. said: what became of records when it was opened: deleted before they were read, for example.
    times: where event time is, and what holds it back, a line for each operator. timed: what each has open and closed.
    """

    positions: dict[str, Number] = {}
    lag: dict[str, Number] = {}
    restored: Number = 0
    restore_total: Number = 0
    error: str | None = None
    stored: Number = 0
    said: tuple[str, ...] = ()
    times: tuple[str, ...] = ()
    timed: dict[str, TimedFigures] = {}


class TaskReport(msgspec.Struct, frozen=True, kw_only=True):
    """A task of a worker."""

    task: TaskId
    state: TaskState
    figures: TaskFigures = TaskFigures()


class WorkerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker has done and takes, from it to whoever is shown it.

    Counters grow from 0 at the start of the process. memory_bytes, memory_from: what it may take, and where that comes
    from. native: whether records go to the client in C, None while there is none; native_not: why they do not. note:
    why it does not work now.
    """

    events_total: Count = 0
    commits_total: Count = 0
    dead_letters_total: Count = 0
    rollbacks_total: Count = 0
    rss_bytes: Count = 0
    memory_bytes: Count = 0
    memory_from: str = ""
    native: bool | None = None
    native_not: str = ""
    note: str | None = None


class Report(_Message, frozen=True, kw_only=True):
    """A heartbeat from the worker's own loop, with what it does."""

    slot: int
    tasks: Annotated[tuple[TaskReport, ...], Members]
    broker: Literal["up", "down"] = "up"
    figures: WorkerFigures = WorkerFigures()


class Rows(_Message, frozen=True, kw_only=True):
    """The answer to ReadTable: (JSON key, JSON value) pairs, or UNREADABLE and why it cannot be read for a value.

    owner False: the key's shard is not here.

    after: pass it to get the next page, None when this was the last. error: why there are none.
    passing: the error goes away by itself, because a task of the table is on its way.
    lag: records that the answer may be behind, of a standby; None: it is the owner's.
    """

    request: int
    rows: Annotated[tuple[tuple[str, str], ...], Members] = ()
    owner: bool = True
    after: str | None = None
    error: str | None = None
    passing: bool = False
    lag: Number | None = None


class Failed(_Message, frozen=True, kw_only=True):
    """The worker cannot go on and exits with `exit_code` next. text: one message for the operator."""

    exit_code: int
    text: str
    traceback: str | None = None


ToWorker = Grant | Revoke | Follow | Lead | Drain | Tell | ReadTable
ToCoordinator = Ready | Released | Following | Stored | Report | Rows | Failed
