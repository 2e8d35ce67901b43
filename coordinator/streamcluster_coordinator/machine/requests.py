"""What operators ask of the leader: drain, undrain, move, unpin, and a rolling restart of all workers.

A request stays in its host's reports until the control log has an answer to it, so none is lost with a leader.
"""

from __future__ import annotations

from msgspec.structs import replace

from streamcluster.ids import SlotId, TaskId

from ..records.report import LeaderRequest
from ..records.snapshot import ANSWER_CHARS_MAX, ANSWERS_KEPT, Roll, Snapshot
from .events import Effect, Say
from .plan import Draft, PlanFacts, is_drained


class Refused(Exception):
    """The request cannot be done; the text says why."""


def take_requests(draft: Draft, facts: PlanFacts, snapshot: Snapshot) -> tuple[Snapshot, list[Effect]]:
    """Answer the requests that have no answer yet; return the snapshot with the answers, and lines to say."""
    said: list[Effect] = []
    snapshot = _go_on_rolling(facts, snapshot)
    for host in sorted(facts.reports):
        for request in facts.reports[host].requests:
            if request.id in snapshot.answers:
                continue
            try:
                snapshot, answer = _take(draft, facts, snapshot, request)
            except Refused as refusal:
                answer = f"refused: {refusal}"
            answer = answer if len(answer) <= ANSWER_CHARS_MAX else f"{answer[: ANSWER_CHARS_MAX - 3]}..."
            answers = {**snapshot.answers, request.id: answer}
            kept = dict(list(answers.items())[-ANSWERS_KEPT:])
            snapshot = replace(snapshot, answers=kept)
            said.append(Say("info", f"{_text(request)}: {answer}"))
    return snapshot, said


def _text(request: LeaderRequest) -> str:
    return " ".join(word for word in (request.kind, request.task, request.target) if word)


def _take(draft: Draft, facts: PlanFacts, snapshot: Snapshot, request: LeaderRequest) -> tuple[Snapshot, str]:
    match request.kind:
        case "drain":
            return snapshot, _drain(draft, request.target)
        case "undrain":
            return snapshot, _undrain(draft, request.target)
        case "move":
            return snapshot, _move(draft, facts, request)
        case "unpin":
            return snapshot, _unpin(draft, facts, request.task)
        case "restart":
            return _restart(draft, snapshot)


def _known(draft: Draft, target: str) -> list[SlotId]:
    """The slots that a host or slot name stands for."""
    slots = [SlotId(name, number) for name, entry in sorted(draft.hosts.items()) for number in entry.slots]
    meant = [slot for slot in slots if target in (slot.host, str(slot))]
    if not meant:
        names = ", ".join(sorted(draft.hosts))
        raise Refused(f"there is no host or slot {target!r}; the hosts are {names}")
    return meant


def _drain(draft: Draft, target: str) -> str:
    meant = _known(draft, target)
    slots = [SlotId(name, number) for name, entry in draft.hosts.items() for number in entry.slots]
    if all(is_drained((*draft.drained, target), slot) for slot in slots):
        raise Refused("that would leave no slot for the tasks; stop the app instead")
    if target in draft.drained:
        return f"{target} is drained already"
    draft.drain(target)
    tasks = sum(slot in meant for slot in draft.owners.values())
    return f"{tasks} tasks of {target} go elsewhere, and it gets none until `undrain {target}`"


def _undrain(draft: Draft, target: str) -> str:
    if target not in draft.drained:
        raise Refused(f"{target} is not drained; drained are: {', '.join(draft.drained) or 'none'}")
    draft.undrain(target)
    return f"{target} gets its share of tasks again"


def _task(facts: PlanFacts, text: str) -> TaskId:
    for task in facts.tasks:
        if str(task) == text:
            return task
    raise Refused(f"there is no task {text!r}; tasks are written like {facts.tasks[0] if facts.tasks else '4_0'}")


def _move(draft: Draft, facts: PlanFacts, request: LeaderRequest) -> str:
    task = _task(facts, request.task)
    try:
        slot = SlotId.parse(request.target)
    except ValueError as error:
        raise Refused(str(error)) from error
    if slot not in _known(draft, request.target):
        raise Refused(f"{slot} is a host, and a task goes to a slot: {slot}/0")
    if is_drained(draft.drained, slot):
        raise Refused(f"{slot} is drained")
    draft.pins[task] = slot
    return f"task {task} goes to {slot} as soon as its state is there, and stays until `unpin {task}`"


def _unpin(draft: Draft, facts: PlanFacts, text: str) -> str:
    task = _task(facts, text)
    if draft.pins.pop(task, None) is None:
        raise Refused(f"task {task} was not moved by hand")
    return f"task {task} goes where balance wants it"


def _restart(draft: Draft, snapshot: Snapshot) -> tuple[Snapshot, str]:
    if snapshot.roll is not None and snapshot.roll.waiting:
        raise Refused(f"a rolling restart is under way; next are {', '.join(snapshot.roll.waiting)}")
    number = snapshot.roll.number + 1 if snapshot.roll is not None else 1
    waiting = tuple(sorted(draft.hosts))
    return replace(
        snapshot, roll=Roll(number=number, waiting=waiting)
    ), f"workers of {', '.join(waiting)} are restarted"


def _go_on_rolling(facts: PlanFacts, snapshot: Snapshot) -> Snapshot:
    """The next host has its turn when the one before is done, or is not there any more."""
    roll = snapshot.roll
    if roll is None or not roll.waiting:
        return snapshot
    report = facts.reports.get(roll.waiting[0])
    if roll.waiting[0] in snapshot.hosts and (report is None or report.roll_done < roll.number):
        return snapshot
    return replace(snapshot, roll=replace(roll, waiting=roll.waiting[1:]))
