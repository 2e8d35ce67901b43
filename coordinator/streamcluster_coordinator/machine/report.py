"""When a host reports, and what: made of the state of its own machine, for others to plan, take over, and show.

A change that others act on is told at once; all else with the next sign of life. In a large cluster the rows of tasks
are told when they mean something new, and otherwise now and then: they are most of what the status topic carries.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from streamcluster.ids import Slot, TaskId
from streamcluster.settings import Settings

from ..records.report import UNCHANGED, HostReport, HostRows, HostState, LeaderRequest, SlotReport, encode_rows
from .election import Identity
from .own_status import Snapshots
from .slots import SlotProcess, State

# Tasks whose rows a cluster tells in a second. Each host reads all of it, and a row has 250 bytes.
ROWS_PER_SECOND = 1_000
ROWS_SECONDS_MAX = 30.0


def rows_seconds_of(settings: Settings, tasks: int) -> float:
    """How often a host repeats its rows when nothing changes but counts, in a cluster of so many tasks."""
    return max(settings.host_heartbeat, min(ROWS_SECONDS_MAX, tasks / ROWS_PER_SECOND))


class Reporter(msgspec.Struct):
    """Of one host. rows_seconds: as rows_seconds_of; every report has rows when that is the heartbeat."""

    settings: Settings
    identity: Identity
    snapshots: Snapshots
    rows_seconds: float
    sequence: int = 0
    published_at: float = float("-inf")
    # What was in the last report that others act on.
    published: object = None
    # When rows were told, of which standing of the tasks, and in which leader's term.
    rows_at: float = float("-inf")
    rows_told: object = None
    rows_term: int = -1

    def due(
        self,
        state: State,
        *,
        state_of_host: HostState,
        requests: Sequence[LeaderRequest],
        term: int,
        is_new: bool,
        is_changed: bool,
    ) -> HostReport | None:
        """The report that is due now, or None.

        Args:
            state: of the host's machine.
            state_of_host: what the host says of itself.
            requests: of operators, without an answer so far.
            term: of the leader that is to have it.
            is_new: the cluster does not know our shape yet.
            is_changed: False: nothing can have changed since the last time but the time.
        """
        now = state.now
        is_time = now - self.published_at >= self.settings.host_heartbeat
        if not is_changed and not is_time:
            return None
        slots, states = slot_reports(state), _states(state)
        has_all_rows = self.rows_seconds <= self.settings.host_heartbeat
        # In a large cluster hundreds of tasks begin within a second.
        at_once = states if has_all_rows else None
        ids = tuple(request.id for request in requests)
        weight = (slots, state_of_host, ids, state.epoch, state.cluster_roll_done, at_once)
        if not is_time and weight == self.published:
            return None
        self.published, self.published_at = weight, now
        self.sequence += 1
        standing = (states, _warm(state, self.settings.standby_lag_max))
        is_stale = now - self.rows_at >= self.rows_seconds or term != self.rows_term
        has_rows = has_all_rows or is_stale or (is_time and standing != self.rows_told)
        if has_rows:
            self.rows_at, self.rows_told, self.rows_term = now, standing, term
        identity = self.identity
        return HostReport(
            host=identity.host,
            instance=identity.instance,
            pid=identity.pid,
            machine=identity.machine,
            sequence=self.sequence,
            epoch_read=state.epoch,
            state=state_of_host,
            shape=identity.shape if is_new else None,
            slots=slots,
            rack=identity.rack,
            peer=identity.peer,
            roll_done=state.cluster_roll_done,
            requests=tuple(requests),
            rows=encode_rows(self._rows(state)) if has_rows else UNCHANGED,
        )

    def _rows(self, state: State) -> HostRows:
        status = self.snapshots.take(state)
        stored = {str(task): at for task, at in sorted(state.stored.items())}
        return HostRows(workers=status.workers, tasks=status.tasks, stored=stored)


def slot_reports(state: State) -> tuple[SlotReport, ...]:
    """Our slots, as far as ownership goes."""
    held: dict[Slot, list[TaskId]] = {}
    for task, slot in state.held.items():
        held.setdefault(slot, []).append(task)
    return tuple(_slot_report(state, place, held.get(place.slot, ())) for place in state.ordered())


def _slot_report(state: State, place: SlotProcess, held: Collection[TaskId]) -> SlotReport:
    return SlotReport(
        number=place.slot,
        ready=place.is_serving() and not place.retiring,
        wanted=(place.proven or place.is_serving()) and not place.retiring and state.stop is None,
        gone=not place.has_process(),
        fenced=place.fenced,
        holds=_names({*held, *place.unfenced}) if place.fenced else (),
    )


def _names(tasks: Collection[TaskId]) -> tuple[str, ...]:
    return tuple(map(str, sorted(tasks))) if tasks else ()


def _states(state: State) -> object:
    """What the workers' tasks are at."""
    reported = tuple((row.task, row.state) for place in state.ordered() if place.report for row in place.report.tasks)
    return (reported, tuple(place.told_follow for place in state.ordered()))


def _warm(state: State, lag_max: int) -> object:
    """Which standbys are near the end of their changelogs, and what lies on the disk: counts move all the time."""
    reported = [row for place in state.ordered() if place.report for row in place.report.tasks if row.figures.lag]
    warm = tuple(row.task for row in reported if row.state == "standby" and sum(row.figures.lag.values()) <= lag_max)
    return (warm, tuple(state.stored))
