"""`streamcluster status` and `check` for people: aligned text. Pure: a snapshot or topology in, lines out.

With one host there are no words about hosts; with more, slots are written HOST/NUMBER.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from streamcluster.printable import printable
from streamcluster.protocol.messages import OPEN_MAX, TimedFigures, native_words
from streamcluster.settings import Settings
from streamcluster.topology import Topology

from ..number_words import count, seconds
from ..records.status import HostStatus, Status, TaskStatus, WorkerStatus

# Of the moves that the control log keeps, the ones that are news.
_MOVES_SHOWN = 5
_MEBIBYTE = 1024 * 1024


# Other rows are not padded to cells that are wider, as keys may be.
_WIDTH_MAX = 100


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table whose columns are as wide as their widest cell; empty columns are left out, the last is not padded.

    Cells are made printable first, so each row is one line. A very wide one moves what is behind it in its row only.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    shown = [index for index in range(len(header)) if not rows or any(row[index] for row in rows)]
    wide = [[len(row[index]) for row in (header, *rows)] for index in range(len(header))]
    widths = [max([width for width in column if width <= _WIDTH_MAX], default=0) for column in wide]
    for row in (header, *rows):
        yield "  ".join(row[index].ljust(widths[index]) for index in shown).rstrip()


def status_text(status: Status) -> str:
    """The whole snapshot: a headline, hosts, workers, tasks, the last moves, and what went wrong."""
    shown = len(status.hosts) > 1
    lines = [
        f"{status.app} is {status.state}, up {seconds(status.uptime)}: "
        f"{status.processing_guarantee.replace('_', ' ')}, "
        f"broker {status.broker} {'answers' if status.broker_state == 'up' else 'DOES NOT ANSWER'}, "
        f"pid {status.pid} on {status.host}",
        *_native_lines(status, shown=shown),
        "",
        *(_host_lines(status) if shown else ()),
        *aligned(_WORKER_COLUMNS, [_worker_row(worker, shown=shown) for worker in status.workers]),
        "",
        *aligned(_TASK_COLUMNS, [_task_row(task, shown=shown) for task in status.tasks]),
        *_timed_lines(status),
        *(_move_lines(status) if shown else ()),
    ]
    troubles = list(_troubles(status, shown=shown))
    # Hosts, reasons and errors are what others have written.
    return "\n".join(map(printable, [*lines, "", *troubles] if troubles else lines))


def _host_lines(status: Status) -> Iterator[str]:
    leader = f"host {status.leader}" if status.leader is not None else "nobody at the moment"
    yield f"{len(status.hosts)} hosts, led by {leader} (term {status.term}, epoch {status.epoch})"
    yield ""
    yield from aligned(_HOST_COLUMNS, [_host_row(host, status) for host in status.hosts])
    yield ""


_HOST_COLUMNS = ("HOST", "STATE", "MACHINE", "PID", "WORKERS", "RACK", "HEARD", "TABLES AT")


def _host_row(host: HostStatus, status: Status) -> tuple[str, ...]:
    return (
        f"{host.host}{' leader' if host.host == status.leader else ''}",
        f"{host.state}{', drained' if host.drained else ''}",
        host.machine or "-",
        str(host.pid) if host.pid else "-",
        str(host.slots),
        host.rack or "",
        f"{seconds(host.heard)} ago" if host.heard is not None else "never",
        host.peer or "",
    )


def _move_lines(status: Status) -> Iterator[str]:
    if not status.moves:
        return
    yield ""
    yield "The last moves:"
    for move in status.moves[-_MOVES_SHOWN:]:
        yield f"  task {move.task}: {move.source or 'nobody'} to {move.target or 'nobody yet'} ({move.reason})"


def _timed_lines(status: Status) -> Iterator[str]:
    """What windows and joins have open and closed, over all tasks."""
    tasks: dict[str, list[TimedFigures]] = {}
    for task in status.tasks:
        for name, figures in task.figures.timed.items():
            tasks.setdefault(name, []).append(figures)
    if not tasks:
        return
    rows = [
        (
            name,
            count(sum(one.open for one in those)) + (" or more" if max(one.open for one in those) >= OPEN_MAX else ""),
            count(sum(one.closed for one in those)),
            count(sum(one.late for one in those)),
            count(sum(one.ahead for one in those)),
        )
        for name, those in sorted(tasks.items())
    ]
    yield ""
    yield from aligned(("WINDOWS, JOINS", "OPEN", "CLOSED", "LATE", "TOO FAR AHEAD"), rows)


def _native_lines(status: Status, *, shown: bool) -> Iterator[str]:
    """Which path records take to the client: once, when it is the same for all workers that have one."""
    told = [worker for worker in status.workers if worker.figures.native is not None]
    words = {native_words(worker.figures.native_not) for worker in told}
    if len(words) < 2:
        yield from words
    else:
        yield from (f"worker {_name(one, shown=shown)}: {native_words(one.figures.native_not)}" for one in told)


_WORKER_COLUMNS = (
    "WORKER",
    "STATE",
    "PID",
    "TASKS",
    "EVENTS/S",
    "EVENTS",
    "COMMITS",
    "DEAD LETTERS",
    "MEMORY",
    "RESTARTS",
)
_TASK_COLUMNS = ("TASK", "WORKER", "STATE", "BEHIND", "RESTORE", "STANDBYS")


def _name(worker: WorkerStatus, *, shown: bool) -> str:
    return f"{worker.host}/{worker.slot}" if shown else str(worker.slot)


def _worker_row(worker: WorkerStatus, *, shown: bool) -> tuple[str, ...]:
    return (
        # Of one host, its worker with the on_leader work; of several, "leader" is a host.
        f"{_name(worker, shown=shown)}{(' on_leader' if shown else ' leader') if worker.leader else ''}",
        worker.state.replace("_", " "),
        str(worker.pid) if worker.pid is not None else "-",
        str(len(worker.tasks)),
        count(worker.events_per_second),
        count(worker.figures.events_total),
        count(worker.figures.commits_total),
        count(worker.figures.dead_letters_total),
        _memory(worker),
        str(worker.restarts),
    )


def _memory(worker: WorkerStatus) -> str:
    """`46 of 384 MiB`."""
    limit = f" of {worker.figures.memory_bytes / _MEBIBYTE:,.0f}" if worker.figures.memory_bytes else ""
    return f"{worker.figures.rss_bytes / _MEBIBYTE:,.0f}{limit} MiB"


def _task_row(task: TaskStatus, *, shown: bool) -> tuple[str, ...]:
    # The lag is of this task's partition number in each topic that the task reads.
    partition = task.task.rpartition("_")[2]
    behind = ", ".join(f"{topic}[{partition}] {count(lag)}" for topic, lag in sorted(task.figures.lag.items()))
    restore = ""
    if task.figures.restore_total and task.state == "restoring":
        left = f", {seconds(task.restore_eta)} left" if task.restore_eta is not None else ""
        restore = f"{count(task.figures.restored)} of {count(task.figures.restore_total)}{left}"
    number = str(task.slot) if task.slot is not None else "none"
    owner = (task.owner or "none") if shown else number
    return (task.task, owner, task.state, behind or "-", restore, _standbys(task) if shown else "")


def _standbys(task: TaskStatus) -> str:
    """`b/1, c/0 (1,200 behind)`; a lag that is not known yet is `?`."""
    behind = {None: " (?)", 0: ""}
    return ", ".join(
        f"{standby.slot}{behind.get(standby.lag, f' ({count(standby.lag or 0)} behind)')}" for standby in task.standbys
    )


def _troubles(status: Status, *, shown: bool) -> Iterator[str]:
    for worker in status.workers:
        if worker.last_death is not None:
            times = "once" if worker.restarts == 1 else f"{worker.restarts} times"
            name = _name(worker, shown=shown)
            yield f"worker {name} was replaced {times}, the last time because: {worker.last_death}"
        if worker.figures.note is not None:
            yield f"worker {_name(worker, shown=shown)}: {worker.figures.note}"
    for task in status.tasks:
        if task.figures.error is not None:
            yield f"task {task.task}: {task.figures.error}"
        yield from (f"task {task.task}: {text}" for text in task.figures.said)
    yield from _times(status.tasks)
    yield from status.notes
    for host in status.hosts:
        if host.trouble is not None:
            yield f"host {host.host}: what it tells of its workers and tasks cannot be read: {host.trouble}"
    for dropped in status.dropped:
        yield f"{dropped.place}: {count(dropped.count)} not used, the last: {dropped.last}"


def _times(tasks: Sequence[TaskStatus]) -> Iterator[str]:
    """Where time is and why: what is the same of several tables, and then of several tasks, is said once."""
    found: dict[tuple[str, str], list[str]] = {}
    for task in tasks:
        names: dict[tuple[str, str], list[str]] = {}
        for text in task.figures.times:
            head, _, rest = text.partition(": ")
            kind, _, name = head.rpartition(" of ")
            names.setdefault((kind, rest), []).append(name)
        for (kind, rest), those in names.items():
            found.setdefault((f"{kind} of {', '.join(those)}", rest), []).append(task.task)
    for (of, rest), where in found.items():
        yield f"{'task' if len(where) == 1 else 'tasks'} {', '.join(where)}: {of}: {rest}"


def topology_text(topology: Topology, settings: Settings) -> str:
    """What `check` found: the topics with their partitions, the agents, the tables, and the number of tasks."""
    topics = [
        (
            topic.name,
            topic.role.replace("_", " "),
            f"{topic.partitions} of {topic.partitions + topic.added}" if topic.added else str(topic.partitions),
            "will be created" if topic.create else "there",
        )
        for topic in topology.topics
    ]
    agents = [(agent.name, ", ".join(agent.topics), ", ".join(agent.tables) or "-") for agent in topology.agents]
    tables = [(table.name, table.changelog, str(table.group)) for table in topology.tables]
    tasks = len(topology.tasks())
    lines = [
        f"{topology.app_id} can start on {settings.broker}: {tasks} {'task' if tasks == 1 else 'tasks'}, "
        f"{settings.processing_guarantee.replace('_', ' ')}.",
        "",
        *aligned(("TOPIC", "ROLE", "PARTITIONS", "ON THE BROKERS"), topics),
        "",
        *aligned(("AGENT", "READS", "TABLES"), agents),
    ]
    return "\n".join([*lines, "", *aligned(("TABLE", "CHANGELOG", "SHARDS"), tables)] if tables else lines)
