"""What the machine hears (events) and what it asks for (effects): frozen values, nothing else.

The runtime makes events of signals, sentinels, messages and the clock, and performs effects. Both are logged one per
line, so a log replays as a scenario (tests/scenarios).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from streamcluster.ids import Slot, SlotId, TaskId
from streamcluster.protocol.messages import Drain, Follow, Grant, Lead, Report, Revoke

from ..records.report import HostReport, LeaderRequest
from ..records.snapshot import Snapshot

Level = Literal["info", "warning", "error"]


class Assigned(msgspec.Struct, frozen=True):
    """What the newest snapshot gives this host. tasks, standbys: task -> slot; lead: the slot with the on_leader work.

    registered: this host is in the snapshot, so it may fill its slots. others: another host could take our tasks.
    roll: the number of a rolling restart of the cluster whose turn is ours; 0: it is not.
    """

    epoch: int
    tasks: Mapping[TaskId, Slot]
    standbys: Mapping[TaskId, Slot] = msgspec.field(default_factory=dict)
    lead: Slot | None = None
    registered: bool = True
    others: bool = False
    roll: int = 0


class WorkerStarted(msgspec.Struct, frozen=True):
    """The kernel has made the process that a Spawn asked for."""

    slot: Slot
    pid: int


class WorkerReady(msgspec.Struct, frozen=True):
    """The worker's producer is initialised: whoever had its slot before is fenced, and the worker has no task.

    session: counts how often this process was ready.
    """

    slot: Slot
    session: int


class WorkerConfirmed(msgspec.Struct, frozen=True):
    """The control log was read to its end after this worker's fence: it may have what the log gives its slot."""

    slot: Slot
    pid: int
    session: int


class WorkerReport(msgspec.Struct, frozen=True):
    """A heartbeat."""

    slot: Slot
    report: Report


class WorkerReleased(msgspec.Struct, frozen=True):
    """The worker has committed and closed these tasks."""

    slot: Slot
    epoch: int
    tasks: tuple[TaskId, ...]


class WorkerFollows(msgspec.Struct, frozen=True):
    """The worker is a standby of these tasks, and has closed the stores of all others that it was one of."""

    slot: Slot
    epoch: int
    tasks: tuple[TaskId, ...]


class WorkerStored(msgspec.Struct, frozen=True):
    """What lies on this host's disk in nobody's hands: task -> sum of its changelog offsets."""

    slot: Slot
    positions: Mapping[str, int]


class WorkerFailed(msgspec.Struct, frozen=True):
    """The worker says why it is about to exit."""

    slot: Slot
    exit_code: int
    text: str
    traceback: str | None = None


class WorkerGone(msgspec.Struct, frozen=True):
    """The kernel says that the process is gone. code: exit code, minus the signal's number, or None when unknown."""

    slot: Slot
    pid: int | None
    code: int | None
    text: str | None = None


class Tick(msgspec.Struct, frozen=True):
    """Time went on. now: seconds on a clock that never jumps."""

    now: float


class StopRequested(msgspec.Struct, frozen=True):
    """TERM or INT. interrupt: INT, whose second one stops at once."""

    interrupt: bool = False


class RestartRequested(msgspec.Struct, frozen=True):
    """HUP."""


class StacksRequested(msgspec.Struct, frozen=True):
    """USR1."""


class MoreWorkers(msgspec.Struct, frozen=True):
    """TTIN."""


class FewerWorkers(msgspec.Struct, frozen=True):
    """TTOU."""


class EndAtOnce(msgspec.Struct, frozen=True):
    """Nothing that this host does counts any more. text: why; code: the exit code."""

    code: int
    text: str


# The cluster's news, heard from the control log, the status topic and the answers of effects.


class SnapshotRead(msgspec.Struct, frozen=True):
    """A committed record of the control log, in the log's order."""

    snapshot: Snapshot


class RecordUnread(msgspec.Struct, frozen=True):
    """The control log's newest record is none that a leader wrote: the last snapshot is to be written anew."""


class ReportHeard(msgspec.Struct, frozen=True):
    """A record of the status topic, ours included, in the topic's order."""

    report: HostReport


class Claimed(msgspec.Struct, frozen=True):
    """We lead: this snapshot, which begins our term, is committed."""

    snapshot: Snapshot


class ClaimLost(msgspec.Struct, frozen=True):
    """Another host claimed in the same moment, or no broker answered."""


class Written(msgspec.Struct, frozen=True):
    """The snapshot of that epoch, which we wrote, is committed."""

    epoch: int


class WriteLost(msgspec.Struct, frozen=True):
    """Another host leads: what we wanted to write is not in the log and never will be."""


class SlotFenced(msgspec.Struct, frozen=True):
    """What earlier sessions of this slot have not committed, they never will. epoch: of the FenceSlot."""

    slot: SlotId
    epoch: int


class Asked(msgspec.Struct, frozen=True):
    """An operator wants something of the leader."""

    request: LeaderRequest


LocalEvent = (
    Assigned
    | WorkerStarted
    | WorkerReady
    | WorkerConfirmed
    | WorkerReport
    | WorkerReleased
    | WorkerFollows
    | WorkerStored
    | WorkerFailed
    | WorkerGone
    | Tick
    | StopRequested
    | RestartRequested
    | StacksRequested
    | MoreWorkers
    | FewerWorkers
    | EndAtOnce
)
ClusterEvent = (
    SnapshotRead | RecordUnread | ReportHeard | Claimed | ClaimLost | Written | WriteLost | SlotFenced | Asked
)
Event = LocalEvent | ClusterEvent


class Spawn(msgspec.Struct, frozen=True):
    """Start a process in this slot; answer with WorkerStarted, or WorkerGone when there can be none.

    inventory: it says what lies on this host's disk. death: why the one before died, when an event may have done that.
    """

    slot: Slot
    inventory: bool = False
    death: str | None = None


class Confirm(msgspec.Struct, frozen=True):
    """Read the control log to its end from now; answer with WorkerConfirmed, after the SnapshotRead of all it has."""

    slot: Slot
    pid: int
    session: int


class Send(msgspec.Struct, frozen=True):
    """Send a message to the worker in this slot."""

    slot: Slot
    message: Grant | Revoke | Follow | Lead | Drain


class AskStacks(msgspec.Struct, frozen=True):
    """Let a worker print the stacks of its threads and tasks. slot None: let the coordinator print its own."""

    slot: Slot | None


class Kill(msgspec.Struct, frozen=True):
    """SIGKILL: it works on stopped processes too. WorkerGone follows when the kernel says so."""

    slot: Slot


class Say(msgspec.Struct, frozen=True):
    """One line for the operator. traceback: of user code, as it stands."""

    level: Level
    text: str
    traceback: str | None = None


class Exit(msgspec.Struct, frozen=True):
    """All processes are gone: end with this code."""

    code: int


class Publish(msgspec.Struct, frozen=True):
    """Write this report to the status topic; lost ones are not missed, the next one says everything."""

    report: HostReport


class Claim(msgspec.Struct, frozen=True):
    """Take over the leadership; answer with Claimed or ClaimLost, or EndAtOnce when the log is not ours to use."""


class Write(msgspec.Struct, frozen=True):
    """Commit this snapshot; answer with Written or WriteLost."""

    snapshot: Snapshot


class FenceSlot(msgspec.Struct, frozen=True):
    """Own the slot's transactional id for a moment; answer with SlotFenced. epoch: of the revocation that it is for."""

    slot: SlotId
    epoch: int


LocalEffect = Spawn | Confirm | Send | AskStacks | Kill | Say | Exit
Effect = LocalEffect | Publish | Claim | Write | FenceSlot
