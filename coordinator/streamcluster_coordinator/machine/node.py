"""One host of the cluster: its own processes (local.py), what it knows of others, and the leadership when it leads.

    SnapshotRead ──> Assigned for our slots                       ReportHeard, Tick ──> lead: Write, FenceSlot
    our state changes, or a second has passed ──> Publish         no leader is heard ──> Claim ──> Claimed

Pure: what Kafka says comes in as events, what is to be written goes out as effects.
"""

from __future__ import annotations

import msgspec

from streamcluster.errors import ExitCode
from streamcluster.settings import Settings

from ..records.report import HostState, LeaderRequest
from ..records.snapshot import Snapshot
from . import events as ev
from .assigned import assigned, is_led, refused_text, superseded_text
from .election import LOST_SECONDS, Identity, abdication, should_claim
from .events import Effect, Event
from .leader import Leadership, lead, slot_fenced, written
from .local import Machine
from .own_status import Snapshots
from .report import Reporter, rows_seconds_of
from .view import View


class Node(msgspec.Struct):
    """All that is decided on one host."""

    settings: Settings
    identity: Identity
    local: Machine
    snapshots: Snapshots
    view: View
    reporter: Reporter
    term: Leadership | None = None
    is_claiming: bool = False
    claim_after: float = 0.0
    # Whether the outcome of a record of ours is open, be it of a term that is over: there is one at a time.
    is_writing: bool = False
    # Whether the last record of our leadership is on its way, or done.
    is_abdicating: bool = False
    # Requests without an answer, by id.
    requests: dict[str, LeaderRequest] = msgspec.field(default_factory=dict)
    # Whether the control log has this host under our instance, and whether it ever had.
    is_registered: bool = False
    was_registered: bool = False

    @classmethod
    def make(
        cls,
        settings: Settings,
        identity: Identity,
        snapshots: Snapshots,
        *,
        slots: int,
        now: float,
        last: Snapshot | None,
    ) -> Node:
        """A node that knows the control log and nothing else. last: its newest snapshot; None: nobody has ever led."""
        view = View(settings, identity.host, identity.instance, now=now, started_at=now, echo_at=now, leader_at=now)
        reporter = Reporter(settings, identity, snapshots, rows_seconds_of(settings, len(identity.tasks)))
        node = cls(settings, identity, Machine(settings, slots=slots), snapshots, view, reporter)
        node.local.handle(ev.Tick(now))
        if last is not None:
            view.read(last)
        return node

    def handle(self, event: Event) -> list[Effect]:
        """Take one event and say what to do, in order."""
        match event:
            case ev.Tick(now):
                self.view.tick(now)
                effects = self.local.handle(event)
            case ev.SnapshotRead(snapshot):
                effects = self._read(snapshot)
            case ev.RecordUnread():
                if self.term is not None:
                    self.term.cover()
                effects = []
            case ev.ReportHeard(report):
                if not self.view.hear(report):
                    # A hundred hosts say every second that they live: it must cost next to nothing.
                    return self._publish(is_changed=False)
                effects = self._refused()
            case ev.Claimed(snapshot):
                effects = self._claimed(snapshot)
            case ev.ClaimLost():
                self.is_claiming = False
                self.claim_after = self.view.now + LOST_SECONDS
                effects = []
            case ev.Written(epoch):
                self.is_writing = False
                effects = self._written(epoch)
            case ev.WriteLost():
                self.is_writing = False
                self.term = None
                self.claim_after = self.view.now + LOST_SECONDS
                effects = []
            case ev.SlotFenced(slot, epoch):
                effects = slot_fenced(self.view, self.term, slot, epoch) if self.term is not None else []
            case ev.Asked(request):
                self.requests[request.id] = request
                effects = []
            case _:
                # What others are to know of it they hear from our report, and so do we.
                return self.local.handle(event) + self._publish()
        effects += self._go_on()
        self.is_writing |= any(isinstance(effect, ev.Write) for effect in effects)
        return effects

    def _go_on(self) -> list[Effect]:
        """What follows from the state as it is now, whatever the event was."""
        effects: list[Effect] = []
        if self.term is not None and not self.is_abdicating:
            effects += self._abdicate_or_lead(self.term)
        elif self._may_claim() and should_claim(self.view, self.identity):
            self.is_claiming = True
            effects.append(ev.Claim())
        return effects + self._publish()

    def _may_claim(self) -> bool:
        if self.is_claiming or self.is_writing or self.is_leaving() or self.view.now < self.claim_after:
            return False
        return self.term is None

    def is_leaving(self) -> bool:
        """Whether this host is on its way out."""
        return self.local.state.leave_by is not None or self.local.state.stop is not None

    def _abdicate_or_lead(self, term: Leadership) -> list[Effect]:
        if self.is_leaving() and not term.is_writing:
            successor = self._successor()
            # Alone, the leader stays one to its end, and says so then (the runtime's last record).
            if successor is not None:
                self.is_abdicating = term.is_writing = True
                return [ev.Write(abdication(term.snapshot, successor))]
        return lead(self.view, term)

    def _written(self, epoch: int) -> list[Effect]:
        if self.term is None:
            return []
        if self.is_abdicating:
            self.term = None
            return []
        return written(self.view, self.term, epoch)

    def _successor(self) -> str | None:
        others = [r for r in self.view.fresh() if r.host != self.identity.host and r.state == "member"]
        return min((report.host for report in others), default=None)

    def _claimed(self, snapshot: Snapshot) -> list[Effect]:
        self.is_claiming = False
        self.is_abdicating = False
        self.term = Leadership(snapshot, self.identity.tasks, self.identity.stateless)
        return self._read(snapshot)

    # The control log

    def _read(self, snapshot: Snapshot) -> list[Effect]:
        view, me = self.view, self.identity
        view.read(snapshot)
        if view.snapshot is not snapshot:
            return []
        if self.term is not None and snapshot.term > self.term.snapshot.term:
            self.term = None
        for request in [request for request in self.requests if request in snapshot.answers]:
            del self.requests[request]
        entry = snapshot.hosts.get(me.host)
        is_registered = entry is not None and entry.instance == me.instance
        if entry is not None and not is_registered and me.instance in entry.superseded:
            reason = superseded_text(view.settings.app_id, me.host, entry)
            return self.local.handle(ev.EndAtOnce(int(ExitCode.FENCED), reason))
        if refused := self._refused():
            return refused
        self.is_registered = is_registered
        self.was_registered |= is_registered
        return self.local.handle(assigned(view, me, snapshot, was_registered=self.was_registered))

    def _refused(self) -> list[Effect]:
        """End when the cluster has other tasks or tables than we: it was there first, or went on without us (H18).

        Not while the others have yet to notice that partitions were added: they end their run, and we wait for that.
        """
        snapshot = self.view.snapshot
        if snapshot is not None and self.identity.shape.has_grown_from(snapshot.shape) and not self.was_registered:
            return []
        if snapshot is None or snapshot.shape == self.identity.shape or self.local.state.stop is not None:
            return []
        if not self.was_registered and not is_led(self.view, snapshot):
            return []
        text = refused_text(self.view, self.identity, snapshot)
        if self.is_outgrown():
            text = "other hosts read partitions already that were added: this one begins again, to read them too"
        return self.local.handle(ev.EndAtOnce(int(ExitCode.STATE_INCOMPATIBLE), text))

    def is_outgrown(self) -> bool:
        """Whether the cluster reads partitions that were added, of which this run does not know."""
        snapshot = self.view.snapshot
        return snapshot is not None and snapshot.shape.has_grown_from(self.identity.shape)

    # The status topic

    def host_state(self) -> HostState:
        """What we say of ourselves."""
        state = self.local.state
        if state.stop is not None and not any(place.has_process() for place in state.places.values()):
            return "left"
        if self.is_leaving():
            return "leaving"
        return "member" if self.is_registered else "joining"

    def _publish(self, *, is_changed: bool = True) -> list[Effect]:
        """A report when something has changed that others act on, or when it is time for a sign of life."""
        report = self.reporter.due(
            self.local.state,
            state_of_host=self.host_state(),
            requests=tuple(self.requests.values()),
            term=self.view.snapshot.term if self.view.snapshot is not None else 0,
            is_new=not self.is_registered,
            is_changed=is_changed,
        )
        return [ev.Publish(report)] if report is not None else []
