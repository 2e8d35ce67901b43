"""Runs scenario scripts: lines of events, and under each the effects that it has. A reviewer reads them as text.

settings workers=2 tasks=4 stall_report=10     how the machine is made, first line
> ready 0                                      an event
confirm 0                                      an effect, in order
# text                                         for the reader
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from streamcluster.ids import Slot, TaskId
from streamcluster.messages import Drain, Grant, Lead, Report, Revoke, TaskReport
from streamcluster.settings import make_settings
from streamcluster_coordinator import machine_events as ev
from streamcluster_coordinator.machine import Machine

EPOCH = 7


def replay(script: str) -> str:
    """The script with the effects that the machine really has."""
    machine: Machine | None = None
    lines: list[str] = []
    pids: dict[Slot, int] = {}
    for line in script.splitlines():
        if line.startswith("settings "):
            machine = machine_of(line.split()[1:])
            lines.append(line)
        elif line.startswith("> "):
            assert machine is not None, "a script begins with its settings"
            lines.append(line)
            for event in parse(line[2:], pids):
                lines += [show(effect) for effect in machine.handle(event)]
        elif line.startswith("#") or not line.strip():
            lines.append(line)
    return "\n".join(lines) + "\n"


def machine_of(words: list[str]) -> Machine:
    """`workers=2 tasks=4,3 drain_timeout=25`: tasks are the partition counts of the groups."""
    values = dict(word.split("=") for word in words)
    workers = int(values.pop("workers"))
    groups = [int(count) for count in values.pop("tasks").split(",")]
    settings = make_settings({"id": "shop", **values})
    tasks = [TaskId(group, partition) for group in groups for partition in range(group)]
    return Machine(settings, tasks, slots=workers, epoch=EPOCH)


def parse(text: str, pids: dict[Slot, int]) -> Iterator[ev.Event]:
    """One line as events. pids: of the newest process per slot; a pid is the slot * 100 + how many were there."""
    word, *rest = text.split()
    if word in ("started", "term", "int", "hup", "usr1", "ttin", "ttou", "tick", "recorded", "taken"):
        yield GLOBAL[word](" ".join(rest))
        return
    slot = Slot(int(rest[0]))
    match word:
        case "pid":
            pids[slot] = pids.get(slot, slot * 100) + 1
            yield ev.WorkerStarted(slot, pids[slot])
        case "ready":
            yield ev.WorkerReady(slot)
        case "confirmed":
            yield ev.WorkerConfirmed(slot, pids[slot])
        case "serves":
            pids[slot] = pids.get(slot, slot * 100) + 1
            yield from (ev.WorkerStarted(slot, pids[slot]), ev.WorkerReady(slot), ev.WorkerConfirmed(slot, pids[slot]))
        case "report":
            tasks = tuple(TaskReport(task=TaskId.parse(name), state="running") for name in rest[1:])
            yield ev.WorkerReport(slot, Report(slot=slot, tasks=tasks))
        case "released":
            yield ev.WorkerReleased(slot, int(rest[1]), tuple(TaskId.parse(name) for name in rest[2:]))
        case "failed":
            yield ev.WorkerFailed(slot, int(rest[1]), " ".join(rest[2:]), "Traceback: line 1")
        case "gone":
            yield ev.WorkerGone(slot, pids.get(slot), int(rest[1]))
        case _:
            raise ValueError(f"no such event: {text}")


GLOBAL: dict[str, Callable[[str], ev.Event]] = {
    "started": lambda _: ev.Started(),
    "term": lambda _: ev.StopRequested(),
    "int": lambda _: ev.StopRequested(interrupt=True),
    "hup": lambda _: ev.RestartRequested(),
    "usr1": lambda _: ev.StacksRequested(),
    "ttin": lambda _: ev.MoreWorkers(),
    "ttou": lambda _: ev.FewerWorkers(),
    "tick": lambda text: ev.Tick(float(text)),
    "recorded": lambda text: ev.SlotsRecorded(int(text)),
    "taken": lambda text: ev.FencedByAnother(text),
}


def show(effect: ev.Effect) -> str:
    """One effect as a line."""
    match effect:
        case ev.Spawn(slot):
            return f"spawn {slot}"
        case ev.Confirm(slot):
            return f"confirm {slot}"
        case ev.Send(slot, message):
            return f"send {slot} {show_message(message)}"
        case ev.AskStacks(target):
            return f"stacks {'self' if target is None else target}"
        case ev.Kill(slot):
            return f"kill {slot}"
        case ev.RecordSlots(count):
            return f"record {count}"
        case ev.Say(level, text, traceback):
            return f"say {level} {text}{' + traceback' if traceback else ''}"
        case ev.Exit(code):
            return f"exit {code}"


def show_message(message: Grant | Revoke | Lead | Drain) -> str:
    """A message to a worker as words."""
    match message:
        case Grant(epoch=epoch, tasks=tasks):
            return f"grant e{epoch} {' '.join(map(str, tasks))}"
        case Revoke(epoch=epoch, tasks=tasks):
            return f"revoke e{epoch} {' '.join(map(str, tasks))}"
        case Lead(leader=leader):
            return "lead" if leader else "follow"
        case Drain():
            return "drain"
