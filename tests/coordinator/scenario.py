"""Runs scenario scripts: lines of events, and under each the effects that it has. A reviewer reads them as text.

settings workers=2 tasks=4 stall_report=10     how the machine is made, first line
> started                                      the control log registers this host and spreads the tasks over its slots
> assigned 12 0=4_0,4_1 1=4_2 others           epoch 12 says so; `others`: there are other hosts; `0+4_3`: a standby
> ready 0                                      an event
confirm 0                                      an effect, in order
# text                                         for the reader
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from streamcluster.ids import Slot, SlotId, TaskId
from streamcluster.placement.assign import assign
from streamcluster.placement.situation import Place
from streamcluster.protocol.messages import Drain, Follow, Grant, Lead, Report, Revoke, TaskReport
from streamcluster.settings import make_settings
from streamcluster_coordinator.machine import events as ev
from streamcluster_coordinator.machine.local import Machine

from .situations import situation

EPOCH = 7


def replay(script: str) -> str:
    """The script with the effects that the machine really has."""
    stage: Stage | None = None
    lines: list[str] = []
    for line in script.splitlines():
        if line.startswith("settings "):
            stage = stage_of(line.split()[1:])
            lines.append(line)
        elif line.startswith("> "):
            assert stage is not None, "a script begins with its settings"
            lines.append(line)
            for event in parse(line[2:], stage):
                lines += [show(effect) for effect in stage.machine.handle(event)]
        elif line.startswith("#") or not line.strip():
            lines.append(line)
    return "\n".join(lines) + "\n"


@dataclass(slots=True)
class Stage:
    """The machine of a script. pids: of the newest process per slot: slot * 100 + how many there were."""

    machine: Machine
    tasks: list[TaskId]
    pids: dict[Slot, int] = field(default_factory=dict)
    # How often the newest process of each slot was ready.
    sessions: dict[Slot, int] = field(default_factory=dict)

    def start(self, slot: Slot) -> ev.WorkerStarted:
        """A new process in a slot."""
        self.pids[slot] = self.pids.get(slot, slot * 100) + 1
        self.sessions[slot] = 0
        return ev.WorkerStarted(slot, self.pids[slot])

    def ready(self, slot: Slot) -> ev.WorkerReady:
        """Its process begins a session."""
        self.sessions[slot] = self.sessions.get(slot, 0) + 1
        return ev.WorkerReady(slot, self.sessions[slot])

    def confirmed(self, slot: Slot) -> ev.WorkerConfirmed:
        """The log was read after its session began."""
        return ev.WorkerConfirmed(slot, self.pids[slot], self.sessions[slot])

    def spread(self, epoch: int) -> ev.Assigned:
        """All tasks, over all slots."""
        places = [Place(SlotId("a", slot)) for slot in self.machine.state.places]
        owners = assign(situation(self.tasks, places)).owners
        return ev.Assigned(epoch, {task: Slot(owner.number) for task, owner in owners.items()}, lead=Slot(0))


def stage_of(words: list[str]) -> Stage:
    """`workers=2 tasks=4,3 drain_timeout=25`: tasks are the partition counts of the groups."""
    values = dict(word.split("=") for word in words)
    workers = int(values.pop("workers"))
    groups = [int(count) for count in values.pop("tasks").split(",")]
    settings = make_settings({"id": "shop", **values})
    tasks = [TaskId(group, partition) for group in groups for partition in range(group)]
    return Stage(Machine(settings, slots=workers), tasks)


def parse(text: str, stage: Stage) -> Iterator[ev.LocalEvent]:
    """One line as events."""
    word, *rest = text.split()
    if word in GLOBAL:
        yield GLOBAL[word](" ".join(rest))
    elif word == "started":
        yield stage.spread(EPOCH + 1)
    elif word == "assigned":
        yield assigned(rest)
    else:
        yield from parse_worker(word, Slot(int(rest[0])), rest[1:], stage)


def assigned(words: list[str]) -> ev.Assigned:
    """`12 0=4_0,4_1 1=4_2 0+4_3 lead=1 others`."""
    tasks: dict[TaskId, Slot] = {}
    standbys: dict[TaskId, Slot] = {}
    lead: Slot | None = Slot(0)
    for word in words[1:]:
        if word.startswith("lead="):
            lead = Slot(int(word[5:])) if word != "lead=none" else None
        elif "=" in word:
            slot, _, names = word.partition("=")
            tasks.update({TaskId.parse(name): Slot(int(slot)) for name in names.split(",")})
        elif "+" in word:
            slot, _, names = word.partition("+")
            standbys.update({TaskId.parse(name): Slot(int(slot)) for name in names.split(",")})
    roll = next((int(word[5:]) for word in words if word.startswith("roll=")), 0)
    return ev.Assigned(int(words[0]), tasks, standbys, lead, others="others" in words, roll=roll)


def parse_worker(word: str, slot: Slot, rest: list[str], stage: Stage) -> Iterator[ev.LocalEvent]:
    """An event about one slot."""
    match word:
        case "pid":
            yield stage.start(slot)
        case "ready":
            yield stage.ready(slot)
        case "confirmed":
            yield stage.confirmed(slot)
        case "serves":
            yield stage.start(slot)
            yield stage.ready(slot)
            yield stage.confirmed(slot)
        case "follows":
            yield ev.WorkerFollows(slot, int(rest[0]), tuple(TaskId.parse(name) for name in rest[1:]))
        case "report":
            names = [name for name in rest if name != "down"]
            tasks = tuple(TaskReport(task=TaskId.parse(name), state="running") for name in names)
            broker: Literal["up", "down"] = "down" if "down" in rest else "up"
            yield ev.WorkerReport(slot, Report(slot=slot, tasks=tasks, broker=broker))
        case "released":
            yield ev.WorkerReleased(slot, int(rest[0]), tuple(TaskId.parse(name) for name in rest[1:]))
        case "failed":
            yield ev.WorkerFailed(slot, int(rest[0]), " ".join(rest[1:]), "Traceback: line 1")
        case "gone":
            yield ev.WorkerGone(slot, stage.pids.get(slot), int(rest[0]))
        case _:
            raise ValueError(f"no such event: {word}")


GLOBAL: dict[str, Callable[[str], ev.LocalEvent]] = {
    "term": lambda _: ev.StopRequested(),
    "int": lambda _: ev.StopRequested(interrupt=True),
    "hup": lambda _: ev.RestartRequested(),
    "usr1": lambda _: ev.StacksRequested(),
    "ttin": lambda _: ev.MoreWorkers(),
    "ttou": lambda _: ev.FewerWorkers(),
    "tick": lambda text: ev.Tick(float(text)),
    "taken": lambda text: ev.EndAtOnce(76, text),
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
        case ev.Say(level, text, traceback):
            return f"say {level} {text}{' + traceback' if traceback else ''}"
        case ev.Exit(code):
            return f"exit {code}"
        case _:
            raise ValueError(f"not an effect of one host's machine: {effect}")


def show_message(message: Grant | Revoke | Follow | Lead | Drain) -> str:
    """A message to a worker as words."""
    match message:
        case Grant(epoch=epoch, tasks=tasks):
            return f"grant e{epoch} {' '.join(map(str, tasks))}"
        case Revoke(epoch=epoch, tasks=tasks):
            return f"revoke e{epoch} {' '.join(map(str, tasks))}"
        case Follow(epoch=epoch, tasks=tasks):
            return f"follow e{epoch} {' '.join(map(str, tasks))}".rstrip()
        case Lead(leader=leader):
            return "lead" if leader else "follow"
        case Drain():
            return "drain"
