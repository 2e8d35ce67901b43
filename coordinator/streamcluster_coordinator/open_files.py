"""The limit of open files of this host's processes: raised as far as it may be, and refused when that is too few."""

from __future__ import annotations

import contextlib
import os
import resource

from streamcluster.errors import ConfigurationError
from streamcluster.open_files import files_needed
from streamcluster.settings import Settings
from streamcluster.topology import Topology

# More than any worker has use for. Where the limit is a thousand times that, a program that goes through all possible
# files before it starts another one takes minutes.
_RAISED_MAX = 1 << 20


def raise_file_limit() -> None:
    """Raise the soft limit to the hard one, for this process and all that it starts.

    The soft one is 1024 nearly everywhere, for programs that use select(2), which knows no higher files.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, _RAISED_MAX) if hard != resource.RLIM_INFINITY else _RAISED_MAX
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # A kernel that allows less than the hard limit says so, and what we have must do.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def refuse_too_few_files(settings: Settings, topology: Topology) -> None:
    """Before any task runs: else a worker would find out when the tasks of others arrive.

    Raises:
        ConfigurationError: a worker may need more files than it may open (the operator).
    """
    if settings.store == "memory://":
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    workers = settings.workers or len(os.sched_getaffinity(0))
    needed = files_needed(topology, workers)
    if limit == resource.RLIM_INFINITY or needed <= limit:
        return
    tasks = sum(bool(topology.tables_of(task)) for task in topology.tasks())
    raised = 1 << (needed - 1).bit_length()
    raise ConfigurationError(
        f"a worker may open {limit:,} files and sockets at most, and may need {needed:,}: of the {tasks:,} tasks with "
        f"tables, this host's {workers} workers have all when the other hosts are away, and one worker less must do. "
        f"Raise the hard limit (`ulimit -Hn {raised}` as root, LimitNOFILE={raised} in a systemd unit, "
        f"`--ulimit nofile={raised}` of a container){', or start more workers' if tasks > workers else ''}."
    )
