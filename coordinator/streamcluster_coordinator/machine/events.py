"""What the machine hears (events) and what it asks for (effects): frozen values, nothing else.

The runtime makes events of signals, sentinels, messages and the clock, and performs effects. Both are logged one per
line, so a log replays as a scenario (tests/scenarios).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from streamcluster.ids import Slot, SlotId, TaskId
from streamcluster.protocol.messages import Drain, Follow, Grant, Lead, Report, Revoke

from ..records.report import HostReport, LeaderRequest
from ..records.snapshot import Snapshot

Level = Literal["info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Assigned:
    """What the newest snapshot gives this host. tasks, standbys: task -> slot; lead: the slot with the on_leader work.

    registered: this host is in the snapshot, so it may fill its slots. others: another host could take our tasks.
    roll: the number of a rolling restart of the cluster whose turn is ours; 0: it is not.
    """

    epoch: int
    tasks: Mapping[TaskId, Slot]
    standbys: Mapping[TaskId, Slot] = field(default_factory=dict)
    lead: Slot | None = None
    registered: bool = True
    others: bool = False
    roll: int = 0


@dataclass(frozen=True, slots=True)
class WorkerStarted:
    """The kernel has made the process that a Spawn asked for."""

    slot: Slot
    pid: int


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """The worker's producer is initialised: whoever had its slot before is fenced, and the worker has no task.

    session: counts how often this process was ready.
    """

    slot: Slot
    session: int


@dataclass(frozen=True, slots=True)
class WorkerConfirmed:
    """The control log was read to its end after this worker's fence: it may have what the log gives its slot."""

    slot: Slot
    pid: int
    session: int


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """A heartbeat."""

    slot: Slot
    report: Report


@dataclass(frozen=True, slots=True)
class WorkerReleased:
    """The worker has committed and closed these tasks."""

    slot: Slot
    epoch: int
    tasks: tuple[TaskId, ...]


@dataclass(frozen=True, slots=True)
class WorkerFollows:
    """The worker is a standby of these tasks, and has closed the stores of all others that it was one of."""

    slot: Slot
    epoch: int
    tasks: tuple[TaskId, ...]


@dataclass(frozen=True, slots=True)
class WorkerStored:
    """What lies on this host's disk in nobody's hands: task -> sum of its changelog offsets."""

    slot: Slot
    positions: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class WorkerFailed:
    """The worker says why it is about to exit."""

    slot: Slot
    exit_code: int
    text: str
    traceback: str | None = None


@dataclass(frozen=True, slots=True)
class WorkerGone:
    """The kernel says that the process is gone. code: exit code, minus the signal's number, or None when unknown."""

    slot: Slot
    pid: int | None
    code: int | None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """Time went on. now: seconds on a clock that never jumps."""

    now: float


@dataclass(frozen=True, slots=True)
class StopRequested:
    """TERM or INT. interrupt: INT, whose second one stops at once."""

    interrupt: bool = False


@dataclass(frozen=True, slots=True)
class RestartRequested:
    """HUP."""


@dataclass(frozen=True, slots=True)
class StacksRequested:
    """USR1."""


@dataclass(frozen=True, slots=True)
class MoreWorkers:
    """TTIN."""


@dataclass(frozen=True, slots=True)
class FewerWorkers:
    """TTOU."""


@dataclass(frozen=True, slots=True)
class EndAtOnce:
    """Nothing that this host does counts any more. text: why; code: the exit code."""

    code: int
    text: str


# The cluster's news, heard from the control log, the status topic and the answers of effects.


@dataclass(frozen=True, slots=True)
class SnapshotRead:
    """A committed record of the control log, in the log's order."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class RecordUnread:
    """The control log's newest record is none that a leader wrote: the last snapshot is to be written anew."""


@dataclass(frozen=True, slots=True)
class ReportHeard:
    """A record of the status topic, ours included, in the topic's order."""

    report: HostReport


@dataclass(frozen=True, slots=True)
class Claimed:
    """We lead: this snapshot, which begins our term, is committed."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class ClaimLost:
    """Another host claimed in the same moment, or no broker answered."""


@dataclass(frozen=True, slots=True)
class Written:
    """The snapshot of that epoch, which we wrote, is committed."""

    epoch: int


@dataclass(frozen=True, slots=True)
class WriteLost:
    """Another host leads: what we wanted to write is not in the log and never will be."""


@dataclass(frozen=True, slots=True)
class SlotFenced:
    """What earlier sessions of this slot have not committed, they never will. epoch: of the FenceSlot."""

    slot: SlotId
    epoch: int


@dataclass(frozen=True, slots=True)
class Asked:
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


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start a process in this slot; answer with WorkerStarted, or WorkerGone when there can be none.

    inventory: it says what lies on this host's disk. death: why the one before died, when an event may have done that.
    """

    slot: Slot
    inventory: bool = False
    death: str | None = None


@dataclass(frozen=True, slots=True)
class Confirm:
    """Read the control log to its end from now; answer with WorkerConfirmed, after the SnapshotRead of all it has."""

    slot: Slot
    pid: int
    session: int


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message to the worker in this slot."""

    slot: Slot
    message: Grant | Revoke | Follow | Lead | Drain


@dataclass(frozen=True, slots=True)
class AskStacks:
    """Let a worker print the stacks of its threads and tasks. slot None: let the coordinator print its own."""

    slot: Slot | None


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL: it works on stopped processes too. WorkerGone follows when the kernel says so."""

    slot: Slot


@dataclass(frozen=True, slots=True)
class Say:
    """One line for the operator. traceback: of user code, as it stands."""

    level: Level
    text: str
    traceback: str | None = None


@dataclass(frozen=True, slots=True)
class Exit:
    """All processes are gone: end with this code."""

    code: int


@dataclass(frozen=True, slots=True)
class Publish:
    """Write this report to the status topic; lost ones are not missed, the next one says everything."""

    report: HostReport


@dataclass(frozen=True, slots=True)
class Claim:
    """Take over the leadership; answer with Claimed or ClaimLost, or EndAtOnce when the log is not ours to use."""


@dataclass(frozen=True, slots=True)
class Write:
    """Commit this snapshot; answer with Written or WriteLost."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class FenceSlot:
    """Own the slot's transactional id for a moment; answer with SlotFenced. epoch: of the revocation that it is for."""

    slot: SlotId
    epoch: int


LocalEffect = Spawn | Confirm | Send | AskStacks | Kill | Say | Exit
Effect = LocalEffect | Publish | Claim | Write | FenceSlot
