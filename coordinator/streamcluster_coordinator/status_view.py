"""`streamcluster status` and `check` for people: aligned text. Pure: a snapshot or topology in, lines out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from streamcluster.settings import Settings
from streamcluster.topology import Topology

from .presentation import count, seconds
from .status import Status, TaskStatus, WorkerStatus

_MEBIBYTE = 1024 * 1024


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table whose columns are as wide as their widest cell; the last column is not padded."""
    widths = [max(len(row[index]) for row in (header, *rows)) for index in range(len(header))]
    for row in (header, *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def status_text(status: Status) -> str:
    """The whole snapshot: a headline, workers, tasks, and what went wrong."""
    lines = [
        f"{status.app} is {status.state}, up {seconds(status.uptime)}: "
        f"{status.processing_guarantee.replace('_', ' ')}, "
        f"broker {status.broker} {'answers' if status.broker_state == 'up' else 'DOES NOT ANSWER'}, "
        f"pid {status.pid} on {status.host}",
        "",
        *aligned(_WORKER_COLUMNS, [_worker_row(worker) for worker in status.workers]),
        "",
        *aligned(_TASK_COLUMNS, [_task_row(task) for task in status.tasks]),
    ]
    troubles = list(_troubles(status))
    return "\n".join([*lines, "", *troubles] if troubles else lines)


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
_TASK_COLUMNS = ("TASK", "WORKER", "STATE", "BEHIND", "RESTORE")


def _worker_row(worker: WorkerStatus) -> tuple[str, ...]:
    return (
        f"{worker.slot}{' leader' if worker.leader else ''}",
        worker.state.replace("_", " "),
        str(worker.pid) if worker.pid is not None else "-",
        str(len(worker.tasks)),
        count(worker.events_per_second),
        count(worker.events_total),
        count(worker.commits_total),
        count(worker.dead_letters_total),
        f"{worker.rss_bytes / _MEBIBYTE:.0f} MiB",
        str(worker.restarts),
    )


def _task_row(task: TaskStatus) -> tuple[str, ...]:
    # The lag is of this task's partition number in each topic that the task reads.
    partition = task.task.rpartition("_")[2]
    behind = ", ".join(f"{topic}[{partition}] {count(lag)}" for topic, lag in sorted(task.lag.items()))
    restore = ""
    if task.restore_total and task.state == "restoring":
        left = f", {seconds(task.restore_eta)} left" if task.restore_eta is not None else ""
        restore = f"{count(task.restored)} of {count(task.restore_total)}{left}"
    return (task.task, str(task.slot) if task.slot is not None else "none", task.state, behind or "-", restore)


def _troubles(status: Status) -> Iterator[str]:
    for worker in status.workers:
        if worker.last_death is not None:
            times = "once" if worker.restarts == 1 else f"{worker.restarts} times"
            yield f"worker {worker.slot} was replaced {times}, the last time because: {worker.last_death}"
        if worker.note is not None:
            yield f"worker {worker.slot}: {worker.note}"
    for task in status.tasks:
        if task.error is not None:
            yield f"task {task.task}: {task.error}"


def topology_text(topology: Topology, settings: Settings) -> str:
    """What `check` found: the topics with their partitions, the agents, the tables, and the number of tasks."""
    topics = [
        (
            topic.name,
            topic.role.replace("_", " "),
            str(topic.partitions),
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
