"""Slots: the states that a numbered place for a worker goes through, as a table, and what is known of each.

    state       | start    | ready   | confirmed | silent  | heard   | drain    | kill  | back_off    | gone
    ------------+----------+---------+-----------+---------+---------+----------+-------+-------------+-------
    absent      | starting |         |           |         |         |          |       | backing_off |
    backing_off | starting |         |           |         |         |          |       |             | absent
    starting    |          | joining |           |         |         |          | dying |             | absent
    joining     |          | joining | running   |         |         | draining | dying |             | absent
    running     |          | joining |           | stalled |         | draining | dying |             | absent
    stalled     |          | joining |           |         | running | draining | dying |             | absent
    draining    |          |         |           |         |         |          | dying |             | absent
    dying       |          |         |           |         |         |          |       |             | absent

It must not know why a slot moves: the rules are in the other machine files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from streamcluster.ids import Slot, TaskId
from streamcluster.protocol.messages import Report
from streamcluster.settings import Settings

from .events import WorkerFailed

SlotState = Literal["absent", "backing_off", "starting", "joining", "running", "stalled", "draining", "dying"]
Trigger = Literal["start", "ready", "confirmed", "silent", "heard", "drain", "kill", "back_off", "gone"]

TRANSITIONS: Mapping[SlotState, Mapping[Trigger, SlotState]] = {
    "absent": {"start": "starting", "back_off": "backing_off"},
    "backing_off": {"start": "starting", "gone": "absent"},
    "starting": {"ready": "joining", "kill": "dying", "gone": "absent"},
    "joining": {"ready": "joining", "confirmed": "running", "drain": "draining", "kill": "dying", "gone": "absent"},
    "running": {"ready": "joining", "silent": "stalled", "drain": "draining", "kill": "dying", "gone": "absent"},
    "stalled": {"ready": "joining", "heard": "running", "drain": "draining", "kill": "dying", "gone": "absent"},
    "draining": {"kill": "dying", "gone": "absent"},
    "dying": {"gone": "absent"},
}
# States in which a worker takes grants and revocations.
SERVING = ("running", "stalled")
# A worker that is asked for tasks waits for their events for most of drain_timeout, and commits. So much of it later
# its host kills it; as much later again the leader fences its slot, because no kill was of use.
RELEASE_MARGIN = 0.2
# The kernel takes milliseconds for a kill, unless the process waits for a disk that does not answer.
DYING_SECONDS = 5.0


def release_seconds(settings: Settings) -> float:
    """How long a worker may take to give tasks back before it is killed."""
    return settings.drain_timeout * (1 + RELEASE_MARGIN)


def fence_seconds(settings: Settings) -> float:
    """How long it may take until the leader fences its slot."""
    return settings.drain_timeout * (1 + 2 * RELEASE_MARGIN)


class SlotProcess(msgspec.Struct):
    """One slot and the process in it."""

    slot: Slot
    state: SlotState = "absent"
    # Of the process in it; None before the kernel has made it.
    pid: int | None = None
    # When it last changed its state, and when the process was last heard.
    since: float = 0.0
    heard: float = 0.0
    # What the process says it does.
    report: Report | None = None
    # What the process said before it exits.
    failure: WorkerFailed | None = None
    # Why we killed it, for the line about its death, and whether that was because it hung.
    cause: str | None = None
    hung: bool = False
    # Why the last process died, when an event may have done that: the next one is told.
    death: str | None = None
    # Whether tasks may be placed here before a process is ready: not for new slots and not in a crash loop.
    proven: bool = True
    # To be emptied and taken away.
    retiring: bool = False
    # The process's newest session: what the control log said before it means nothing.
    session: int = 0
    # Whether a process of ours has been ready: whoever had the slot before this coordinator is fenced.
    fenced: bool = False
    # What a process that died held: it may still be committed until the next one is ready, or the leader fences.
    unfenced: set[TaskId] = msgspec.field(default_factory=set)
    # The list of the last Follow and its epoch, and whether it has the on_leader work.
    told_follow: tuple[TaskId, ...] = ()
    told_follow_at: int = 0
    told_lead: bool = False
    # Whether it was said that it does not give tasks back.
    told_late: bool = False
    # Deaths within the crash loop's window, oldest first.
    deaths: list[float] = msgspec.field(default_factory=list)
    # How often in a row it backed off after crashes, and after a broker that was away.
    back_offs: int = 0
    broker_waits: int = 0
    # When a slot that backs off is filled again.
    retry_at: float = 0.0
    # How often a process of it died, and why the last time.
    restarts: int = 0
    last_death: str | None = None

    def move(self, trigger: Trigger, now: float) -> bool:
        """Go where the table says; False: the table has no such move, so the news is late and means nothing."""
        target = TRANSITIONS[self.state].get(trigger)
        if target is None:
            return False
        self.state = target
        self.since = now
        return True

    def clear(self, death: str | None) -> None:
        """Its process is gone. death: what the next one is told."""
        self.death = death
        self.pid = self.report = self.failure = self.cause = None
        self.hung = False

    def count_death(self, reason: str) -> None:
        """Its process ended unasked."""
        self.restarts += 1
        self.last_death = reason

    def prove(self) -> None:
        """A process of it takes grants."""
        self.proven = True
        self.broker_waits = 0

    def doubt(self) -> None:
        """No task may be placed here before a process is ready."""
        self.proven = False

    def own_slot(self, session: int) -> None:
        """A process of it is ready, in this session: whoever had the slot before is fenced."""
        self.fenced = True
        self.session = session

    def follow(self, tasks: tuple[TaskId, ...], epoch: int) -> None:
        """It is told, in this epoch, to be a standby of these tasks and of no others."""
        self.told_follow, self.told_follow_at = tasks, epoch

    def forget_told(self) -> None:
        """It follows nothing and leads nothing: what it was told before means nothing."""
        self.told_follow, self.told_lead = (), False

    def forgive(self, seconds: float) -> None:
        """Its silence of so long was not its own."""
        self.heard += seconds
        self.since += seconds

    def is_serving(self) -> bool:
        """Whether it takes grants and revocations."""
        return self.state in SERVING

    def has_process(self) -> bool:
        """Whether a process is there, or asked for."""
        return self.state not in ("absent", "backing_off")


class Stop(msgspec.Struct):
    """The end that everything goes to. deadline: when what is still there is killed."""

    code: int
    deadline: float
    # Whether a worker ended without having committed and closed all that it had.
    cut_short: bool = False


class State(msgspec.Struct):
    """All that the machine knows. The other machine files are functions over it."""

    settings: Settings
    # The epoch of the newest snapshot.
    epoch: int = 0
    now: float = 0.0
    # Whether the snapshot has this host, so that its slots may be filled.
    registered: bool = False
    # Whether another host could take our tasks.
    others: bool = False
    places: dict[Slot, SlotProcess] = msgspec.field(default_factory=dict)
    # What the snapshot gives our slots.
    placement: dict[TaskId, Slot] = msgspec.field(default_factory=dict)
    standbys: dict[TaskId, Slot] = msgspec.field(default_factory=dict)
    leader: Slot | None = None
    # What is so: tasks that were granted to a process and not given back by it or by the kernel (I1).
    held: dict[TaskId, Slot] = msgspec.field(default_factory=dict)
    # Of those, the ones asked back, and since when.
    revoking: dict[TaskId, float] = msgspec.field(default_factory=dict)
    # Tasks whose store a process may have open as a standby: from its Follow to an answer without them.
    followed: dict[TaskId, Slot] = msgspec.field(default_factory=dict)
    # What lies on our disk in nobody's hands: task -> sum of changelog offsets.
    stored: dict[TaskId, int] = msgspec.field(default_factory=dict)
    has_inventory: bool = False
    stop: Stop | None = None
    # When the hand-over to other hosts ends, finished or not; None: we are not leaving.
    leave_by: float | None = None
    # A rolling restart: slots that are still to be restarted, and the one that is.
    roll: list[Slot] = msgspec.field(default_factory=list)
    rolling: Slot | None = None
    # Rolling restarts asked for so far; whoever asked learns from it that the request was heard.
    rolls: int = 0
    # The number of the cluster's rolling restart that we are in, and of the last one that is done here.
    cluster_roll: int = 0
    cluster_roll_done: int = 0
    # The newest traceback, for the message of a crash loop.
    last_failure: WorkerFailed | None = None

    def begin_stop(self, code: int, deadline: float) -> None:
        """Everything goes to its end from now on."""
        self.stop = Stop(code=code, deadline=deadline)
        self.end_roll()

    def end_roll(self) -> None:
        """No worker is restarted in turn any more."""
        self.roll, self.rolling = [], None

    def finish_cluster_roll(self) -> None:
        """This host's part in the cluster's rolling restart is done."""
        self.cluster_roll_done = self.cluster_roll

    def serving(self) -> list[SlotProcess]:
        """The places that take grants, in slot order."""
        return [place for place in self.ordered() if place.is_serving()]

    def ordered(self) -> list[SlotProcess]:
        """All places, in slot order."""
        return [self.places[slot] for slot in sorted(self.places)]

    def tasks_of(self, slot: Slot) -> tuple[TaskId, ...]:
        """What the process in `slot` holds, sorted."""
        return tuple(sorted(task for task, owner in self.held.items() if owner == slot))
