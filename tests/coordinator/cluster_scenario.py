"""Runs scripts about clusters: lines of what happens, and under each what the hosts do. A reviewer reads them as text.

settings workers=1 tasks=2 host_timeout=3    how the app is made, first line
> start a                                    a coordinator of host a; its instances are a1, a2 ...
> start a table=extra                        one of a version with another table
> tick 4                                     time goes on, and only so
> owners                                     who works on what
> crash b | pause b | resume b | cut b | heal b | stop b     kill -9, SIGSTOP, SIGCONT, no brokers, brokers, SIGTERM
> pause b coordinator                        its workers go on
> die b/0 -9                                 one worker
> keep b/0 | stick b/0                       one worker gives no task back | does not run, and no kill ends it
> lag b 2_0 50000                            records that b's standby of the task is behind
> ask a move b/0 2_0                         an operator's request: kind, target, task
3.25 a1 write e4 ...                         what is interesting of what the hosts do, and when
# text                                       for the reader
"""

from __future__ import annotations

from dataclasses import dataclass

from streamcluster.ids import Slot, SlotId, TaskId
from streamcluster.protocol.messages import Drain, Grant, Revoke
from streamcluster_coordinator.machine import events as ev
from streamcluster_coordinator.records.report import LeaderRequest
from tests.simulation.showing import snapshot_text

from .fake_cluster import FakeCluster, die, work


@dataclass(slots=True)
class Script:
    """One script's cluster, and what it did since the last look. began: when; asked: requests so far."""

    cluster: FakeCluster
    began: float
    shown: int = 0
    asked: int = 0


def replay(text: str) -> str:
    """The script with what the hosts really do."""
    script: Script | None = None
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("settings "):
            script = script_of(line.split()[1:])
            lines.append(line)
        elif line.startswith("> "):
            assert script is not None, "a script begins with its settings"
            lines.append(line)
            lines += happen(script, line[2:].split())
        elif line.startswith("#") or not line.strip():
            lines.append(line)
    return "\n".join(lines) + "\n"


def script_of(words: list[str]) -> Script:
    """`workers=1 tasks=2,3 stateless host_timeout=3`."""
    values = dict(word.split("=") for word in words if "=" in word)
    groups = tuple(int(count) for count in values.pop("tasks").split(","))
    workers = int(values.pop("workers"))
    cluster = FakeCluster(groups=groups, workers=workers, options={**values}, stateless="stateless" in words)
    return Script(cluster, cluster.now)


def happen(script: Script, words: list[str]) -> list[str]:
    """One line of the script, tick by tick."""
    if words[0] == "owners":
        return [" ".join(f"{task}:{slot}" for task, slot in script.cluster.owners().items()) or "nobody"]
    if words[0] != "tick":
        act(script, words[0], words[1:])
        return news(script)
    lines: list[str] = []
    until = script.cluster.now + float(words[1])
    while script.cluster.now < until:
        script.cluster.advance(0.25)
        lines += news(script)
    return lines


def act(script: Script, word: str, rest: list[str]) -> None:
    """Everything but time."""
    cluster = script.cluster
    if word == "start":
        tables = {part.removeprefix("table="): cluster.groups[0] for part in rest[1:]}
        cluster.start(rest[0], cluster.shape(**tables))
    elif word == "lag":
        cluster.lags[rest[0], TaskId.parse(rest[1])] = int(rest[2])
    elif word in ("die", "keep", "stick"):
        slot = SlotId.parse(rest[0])
        host = cluster.host(slot.host)
        worker = host.workers[Slot(slot.number)]
        worker.keeps |= word == "keep"
        worker.stuck |= word == "stick"
        if word == "die":
            die(cluster, host, worker, int(rest[1]))
            cluster.settle()
    else:
        act_on(script, word, rest)


def act_on(script: Script, word: str, rest: list[str]) -> None:
    """What is done to a host."""
    cluster, host = script.cluster, script.cluster.host(rest[0])
    match word:
        case "crash":
            host.crash()
        case "pause":
            host.pause(workers="coordinator" not in rest)
        case "resume":
            cluster.resume(host)
        case "cut":
            host.cut = True
        case "heal":
            cluster.heal(host)
        case "stop":
            cluster.tell(host, ev.StopRequested())
        case "ask":
            script.asked += 1
            cluster.tell(host, ev.Asked(request_of(str(script.asked), rest[1:])))
            work(cluster)
            cluster.settle()
        case _:
            raise ValueError(f"no such word: {word}")


def request_of(number: str, words: list[str]) -> LeaderRequest:
    """`move b/0 2_0`, `drain b`, `unpin 2_0`, `restart`."""
    match words:
        case ["move", target, task]:
            return LeaderRequest(id=number, kind="move", target=target, task=task)
        case ["unpin", task]:
            return LeaderRequest(id=number, kind="unpin", task=task)
        case ["drain", target]:
            return LeaderRequest(id=number, kind="drain", target=target)
        case ["undrain", target]:
            return LeaderRequest(id=number, kind="undrain", target=target)
        case ["restart"]:
            return LeaderRequest(id=number, kind="restart")
        case _:
            raise ValueError(f"no such request: {words}")


def news(script: Script) -> list[str]:
    """What was done since the last look, a line each."""
    cluster, found = script.cluster, script.cluster.effects[script.shown :]
    script.shown = len(cluster.effects)
    shown = [(host.instance, text) for host, effect in found if (text := show(effect)) is not None]
    return [f"{cluster.now - script.began:.2f} {instance} {text}" for instance, text in shown]


def show(effect: ev.Effect) -> str | None:
    """An effect as text; None: of no interest here."""
    match effect:
        case ev.Claim():
            return "claim"
        case ev.Write(snapshot):
            return f"write {snapshot_text(snapshot)}".rstrip(" :")
        case ev.FenceSlot(slot, epoch):
            return f"fence {slot} for e{epoch}"
        case ev.Say(level, text):
            return f"say {level} {text}"
        case ev.Spawn(slot):
            return f"spawn {slot}"
        case ev.Kill(slot):
            return f"kill {slot}"
        case ev.Exit(code):
            return f"exit {code}"
        case ev.Send(slot, Grant(tasks=tasks)):
            return f"grant {slot} {' '.join(map(str, tasks))}"
        case ev.Send(slot, Revoke(tasks=tasks)):
            return f"revoke {slot} {' '.join(map(str, tasks))}"
        case ev.Send(slot, Drain()):
            return f"drain {slot}"
        case _:
            return None
