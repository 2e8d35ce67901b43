"""A host's report, made of the state of its own machine: what others need to know to plan, take over, and show."""

from __future__ import annotations

from collections.abc import Collection

from streamcluster.ids import TaskId

from .host_report import HostReport, HostState, Request, SlotReport
from .machine_election import Identity
from .machine_slots import Place, State
from .status import Status


def report_of(
    state: State,
    identity: Identity,
    status: Status,
    *,
    state_of_host: HostState,
    sequence: int,
    requests: tuple[Request, ...],
    is_new: bool,
) -> HostReport:
    """The whole report. status: this host's own rows. is_new: the cluster does not know our shape yet."""
    return HostReport(
        host=identity.host,
        instance=identity.instance,
        pid=identity.pid,
        machine=identity.machine,
        sequence=sequence,
        epoch_read=state.epoch,
        state=state_of_host,
        shape=identity.shape if is_new else None,
        slots=slot_reports(state),
        rack=identity.rack,
        peer=identity.peer,
        roll_done=state.cluster_roll_done,
        stored={str(task): at for task, at in sorted(state.stored.items())},
        load={
            task.task: task.events_per_second
            for task in status.tasks
            if task.state in ("running", "failing") and task.events_per_second is not None
        },
        requests=requests,
        workers=status.workers,
        tasks=status.tasks,
    )


def slot_reports(state: State) -> tuple[SlotReport, ...]:
    """Our slots, as far as ownership goes."""
    return tuple(_slot_report(state, place) for place in state.ordered())


def _slot_report(state: State, place: Place) -> SlotReport:
    held = {task for task, owner in state.held.items() if owner == place.slot}
    return SlotReport(
        number=place.slot,
        ready=place.is_serving() and not place.retiring,
        wanted=(place.proven or place.is_serving()) and not place.retiring and state.stop is None,
        gone=not place.has_process(),
        fenced=place.fenced,
        holds=_names(held.union(place.unfenced)) if place.fenced else (),
        follows=_names(place.told_follow),
    )


def _names(tasks: Collection[TaskId]) -> tuple[str, ...]:
    return tuple(map(str, sorted(tasks))) if tasks else ()


def weight_of(state: State, host_state: HostState, requests: tuple[str, ...]) -> object:
    """What of a report others act on: a change of it is told at once."""
    standing = tuple(
        (task.task, task.state) for place in state.ordered() if place.report is not None for task in place.report.tasks
    )
    return (slot_reports(state), host_state, requests, state.epoch, state.cluster_roll_done, standing)
