"""What `streamcluster start` shows while it runs: a banner, one line per change of state, a bar while restoring.

On a terminal as text, otherwise as JSON lines; both go through logging, so they keep their order with other lines.
`changes` (pure) decides what is worth a line; this file never touches stdout, which belongs to the users' prints.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from typing import TextIO

import msgspec

from streamcluster.config.logs import configure_logging, finish_logging
from streamcluster.protocol.messages import LONG_EVENT

from ..number_words import count, seconds
from ..records.status import Status, TaskStatus, WorkerStatus

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_BAR_CELLS = 24
# Snapshots come twice a second; a log that nobody watches gets one line on a restore per 5 s.
_SNAPSHOTS_PER_PROGRESS_LINE = 10


class Change(msgspec.Struct, frozen=True):
    """One line: its level, its text, and the facts behind it for JSON.

    place: what it is about, where the text has more in it that changes: lines about one place are counted together.
    """

    level: str
    text: str
    facts: dict[str, object] = msgspec.field(default_factory=dict)
    place: str = ""


def changes(before: Status | None, now: Status) -> Iterator[Change]:
    """What is different in `now`, as lines in the order of importance. before: None for the first snapshot."""
    if before is None or (before.broker_state != now.broker_state):
        yield from _broker_change(before, now)
    if before is not None and before.state != now.state and now.state != "draining":
        level = "warning" if now.state == "degraded" else "info"
        yield Change(level, f"{now.app} is {now.state}", {"app": now.app, "state": now.state})
    yield from _host_changes(before, now)
    known = {worker.slot: worker for worker in before.workers} if before else {}
    for worker in now.workers:
        yield from _worker_changes(known.get(worker.slot), worker, is_ending=now.state == "draining")
    states = {task.task: task for task in before.tasks} if before else {}
    yield from _task_changes(states, now.tasks)


def _host_changes(before: Status | None, now: Status) -> Iterator[Change]:
    """Other hosts that came and went, and who leads, once there is more than one."""
    if before is None:
        return
    was = {host.host: host.state for host in before.hosts}
    for host in now.hosts:
        if host.host == now.host or was.get(host.host) == host.state:
            continue
        facts: dict[str, object] = {"host": host.host, "host_state": host.state}
        level = "warning" if host.state in ("silent", "gone") else "info"
        yield Change(level, f"host {host.host} {_HOST_VERBS[host.state]}", facts)
    if now.leader is not None and now.leader != before.leader and len(now.hosts) > 1:
        yield Change("info", f"host {now.leader} leads", {"leader": now.leader})


_HOST_VERBS = {
    "joining": "joins",
    "member": "takes part",
    "leaving": "leaves",
    "left": "has left",
    "silent": "says nothing any more",
    "gone": "is gone: its tasks are with others",
}


def _broker_change(before: Status | None, now: Status) -> Iterator[Change]:
    facts: dict[str, object] = {"broker": now.broker, "broker_state": now.broker_state}
    if now.broker_state == "down":
        yield Change("warning", f"no broker answers at {now.broker}: waiting for it, nothing is lost", facts)
    elif before is not None:
        yield Change("info", f"the broker at {now.broker} answers again", facts)


def _worker_changes(before: WorkerStatus | None, now: WorkerStatus, *, is_ending: bool) -> Iterator[Change]:
    facts: dict[str, object] = {"worker": now.slot, "pid": now.pid, "state": now.state, "restarts": now.restarts}
    if now.last_death is not None and now.restarts > (before.restarts if before else 0):
        # Nothing has taken its place yet: it waits, or the app stops.
        what = "ended" if now.pid is None else "was replaced"
        yield Change("warning", f"worker {now.slot} {what}: {now.last_death}", {**facts, "last_death": now.last_death})
    was = before.state if before else "starting"
    # What else can happen to a worker (stalls, back-offs, draining) the machine says itself, with its reasons.
    if now.state == "running" and (was != "running" or (before is not None and before.pid != now.pid)):
        yield Change("info", f"worker {now.slot} runs (pid {now.pid})", facts)
    elif now.state == "gone" and was != "gone" and not is_ending:
        yield Change("info", f"worker {now.slot} is gone", facts)


# States of a task that are worth a line; the others pass at once.
_TASK_VERBS = {"running": "runs", "restoring": "restores", "failing": "tries again"}


def _task_changes(before: dict[str, TaskStatus], tasks: tuple[TaskStatus, ...]) -> Iterator[Change]:
    """One line per (worker, state) for all tasks that just got there; a failing task gets its own, with the error."""
    moved: dict[tuple[int | None, str], list[TaskStatus]] = {}
    for task in tasks:
        old = before.get(task.task)
        if old is not None and (old.slot, old.state, old.figures.error) == (task.slot, task.state, task.figures.error):
            continue
        if task.figures.error is not None:
            if LONG_EVENT in task.figures.error:
                # The worker has told of it, once.
                continue
            text = f"task {task.task} is {task.state}: {task.figures.error}"
            of_task: dict[str, object] = {"task": task.task, "state": task.state, "error": task.figures.error}
            yield Change("error", text, of_task, f"task {task.task} is {task.state}")
        elif (
            task.slot is not None
            and task.state in _TASK_VERBS
            and (task.state != "restoring" or task.figures.restore_total)
        ):
            # A restore of nothing is over at once; one that turns out to be larger is shown with its progress.
            moved.setdefault((task.slot, task.state), []).append(task)
    for (slot, state), group in moved.items():
        names = [task.task for task in group]
        facts: dict[str, object] = {"worker": slot, "tasks": names, "state": state}
        level = "warning" if state == "failing" else "info"
        yield Change(level, f"worker {slot} {_TASK_VERBS[state]} {listed(names)}", facts)


def listed(tasks: list[str]) -> str:
    """`task 4_0`, `tasks 4_0, 4_1`; long lists are cut, with their length."""
    if len(tasks) == 1:
        return f"task {tasks[0]}"
    shown = ", ".join(tasks[:8])
    return f"{len(tasks)} tasks ({shown}{', ...' if len(tasks) > 8 else ''})"


class RestoreProgress(msgspec.Struct, frozen=True):
    """How far all restores are. Records done and to do; eta: seconds of the slowest task, None when unknown."""

    tasks: int
    restored: int
    total: int
    eta: float | None

    @classmethod
    def of(cls, status: Status) -> RestoreProgress | None:
        """The restore that is under way in `status`; None when there is none."""
        under_way = [task for task in status.tasks if task.state == "restoring" and task.figures.restore_total > 0]
        if not under_way:
            return None
        etas = [task.restore_eta for task in under_way if task.restore_eta is not None]
        return cls(
            tasks=len(under_way),
            restored=sum(task.figures.restored for task in under_way),
            total=sum(task.figures.restore_total for task in under_way),
            eta=max(etas, default=None),
        )

    def text(self) -> str:
        """`restoring 2 tasks: 1.2M of 4.6M records, 6 s left`."""
        tasks = "1 task" if self.tasks == 1 else f"{self.tasks} tasks"
        left = f", {seconds(self.eta)} left" if self.eta is not None else ""
        return f"restoring {tasks}: {count(self.restored)} of {count(self.total)} records{left}"


def bar(part: float) -> str:
    """A bar of fixed width. part: 0 to 1."""
    full = round(min(max(part, 0.0), 1.0) * _BAR_CELLS)
    return "\u2501" * full + "\u2500" * (_BAR_CELLS - full)


class BarStream:
    """A terminal whose last line may be a bar: every other write takes the bar away first.

    Workers write to the same terminal on their own. One line with a carriage return survives that; a redrawn region of
    several lines (rich's Live) would erase what users print.
    """

    __slots__ = ("_columns", "_shown", "_stream")

    def __init__(self, stream: TextIO, *, columns: int) -> None:
        self._stream = stream
        self._columns = columns
        self._shown = False

    def write(self, text: str, /) -> int:
        """Text of a log line."""
        self.clear()
        return self._stream.write(text)

    def flush(self) -> None:
        """Push it out."""
        self._stream.flush()

    def show(self, text: str) -> None:
        """Draw or redraw the bar."""
        self._stream.write("\r\x1b[2K" + text[: self._columns - 1])
        self._stream.flush()
        self._shown = True

    def clear(self) -> None:
        """Take the bar away, when there is one."""
        if self._shown:
            self._stream.write("\r\x1b[2K")
            self._shown = False


class Presentation:
    """What the runtime tells (lines and snapshots), on the screen or in the log. For one thread."""

    __slots__ = ("_bar", "_last", "_logger", "_restoring", "_snapshots", "_with_facts")

    def __init__(self, terminal: BarStream | None, *, with_facts: bool) -> None:
        self._logger = logging.getLogger("streamcluster")
        self._bar = terminal
        # The text says it all to people; the facts are for machines.
        self._with_facts = with_facts
        self._last: Status | None = None
        # Snapshots since the start; paces progress lines in a log.
        self._snapshots = 0
        self._restoring: RestoreProgress | None = None

    def line(self, level: str, text: str) -> None:
        """One message of the coordinator."""
        self._say(Change(level, text))

    def on_status(self, status: Status) -> None:
        """The newest snapshot; called about twice a second."""
        if self._last is None:
            self._say(Change("info", banner(status), banner_facts(status)))
        for change in changes(self._last, status):
            self._say(change)
        self._show_restore(status)
        self._last = status
        self._snapshots += 1

    def close(self) -> None:
        """Leave the terminal clean."""
        finish_logging()
        if self._bar is not None:
            self._bar.clear()
            self._bar.flush()

    def _say(self, change: Change) -> None:
        facts = change.facts if self._with_facts else {}
        # The place is no part of the line: repeats.py looks at what comes first.
        place = change.place or change.text
        self._logger.log(_LEVELS.get(change.level, logging.INFO), "%.0s%s", place, change.text, extra=facts)

    def _show_restore(self, status: Status) -> None:
        restore = RestoreProgress.of(status)
        if restore is None:
            if self._restoring is not None and all(task.state != "restoring" for task in status.tasks):
                self._say(Change("info", "all state is restored", {"state": "restored"}))
                self._restoring = None
            if self._bar is not None:
                self._bar.clear()
            return
        is_new = self._restoring is None
        self._restoring = restore
        if self._bar is not None:
            self._bar.show(f"{bar(restore.restored / restore.total)} {restore.text()}")
        elif is_new or self._snapshots % _SNAPSHOTS_PER_PROGRESS_LINE == 0:
            facts: dict[str, object] = {"restored": restore.restored, "restore_total": restore.total}
            self._say(Change("info", restore.text(), facts))


def banner(status: Status) -> str:
    """One line: what runs, where, and how."""
    return (
        f"{status.app}: {_counted(len(status.workers), 'worker')}, "
        f"{status.processing_guarantee.replace('_', ' ')}, broker {status.broker} (pid {status.pid} on {status.host})"
    )


def banner_facts(status: Status) -> dict[str, object]:
    """The banner for machines."""
    return {
        "app": status.app,
        "broker": status.broker,
        "processing_guarantee": status.processing_guarantee,
        "workers": len(status.workers),
        "pid": status.pid,
        "host": status.host,
        "topology_hash": status.topology_hash,
    }


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def make_presentation(log_format: str, log_level: str, *, columns: int = 100) -> Presentation:
    """Set up logging for this process and return what shows its lines. columns: width of the terminal."""
    is_terminal = sys.stderr.isatty()
    as_json = log_format == "json" or (log_format == "auto" and not is_terminal)
    terminal = BarStream(sys.stderr, columns=columns) if is_terminal and not as_json else None
    configure_logging("json" if as_json else "text", log_level, stream=terminal)
    return Presentation(terminal, with_facts=as_json)
