"""What the machine hears (events) and what it asks for (effects): frozen values, nothing else.

The runtime makes events of signals, sentinels, messages and the clock, and performs effects. Both are logged one per
line, so a log replays as a scenario (tests/scenarios).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from streamcluster.ids import Slot, TaskId
from streamcluster.messages import Drain, Grant, Lead, Report, Revoke

Level = Literal["info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Started:
    """Leadership is ours and all slots of earlier coordinators are fenced: start the workers."""


@dataclass(frozen=True, slots=True)
class WorkerStarted:
    """The kernel has made the process that a Spawn asked for."""

    slot: Slot
    pid: int


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """The worker's producer is initialised: every earlier process of its slot is fenced."""

    slot: Slot


@dataclass(frozen=True, slots=True)
class WorkerConfirmed:
    """The control log, read to its end after this worker's fence, still says that we lead: it may have tasks."""

    slot: Slot
    pid: int


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
class SlotsRecorded:
    """The control log says that this coordinator may fill slots 0 to count - 1."""

    count: int


@dataclass(frozen=True, slots=True)
class FencedByAnother:
    """Another coordinator of the same app has taken over. text: who."""

    text: str


Event = (
    Started
    | WorkerStarted
    | WorkerReady
    | WorkerConfirmed
    | WorkerReport
    | WorkerReleased
    | WorkerFailed
    | WorkerGone
    | Tick
    | StopRequested
    | RestartRequested
    | StacksRequested
    | MoreWorkers
    | FewerWorkers
    | SlotsRecorded
    | FencedByAnother
)


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start a process in this slot; answer with WorkerStarted, or WorkerGone when there can be none."""

    slot: Slot


@dataclass(frozen=True, slots=True)
class Confirm:
    """Read the control log to its end from now; answer with WorkerConfirmed or FencedByAnother."""

    slot: Slot
    pid: int


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message to the worker in this slot."""

    slot: Slot
    message: Grant | Revoke | Lead | Drain


@dataclass(frozen=True, slots=True)
class AskStacks:
    """Let a worker print the stacks of its threads and tasks. slot None: let the coordinator print its own."""

    slot: Slot | None


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL: it works on stopped processes too. WorkerGone follows when the kernel says so."""

    slot: Slot


@dataclass(frozen=True, slots=True)
class RecordSlots:
    """Write the number of slots to the control log before more are filled, so that a successor fences all of them."""

    count: int


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


Effect = Spawn | Confirm | Send | AskStacks | Kill | RecordSlots | Say | Exit
