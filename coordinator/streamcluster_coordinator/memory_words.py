"""What the workers of this host may take of its memory, in words, for `start` and `check`."""

from __future__ import annotations

import os

from streamcluster.memory import MIB, worker_memory
from streamcluster.memory_limit import memory_limit
from streamcluster.settings import Settings


def memory_words(settings: Settings) -> str:
    """How much each worker may take, and where that comes from."""
    workers = settings.workers or len(os.sched_getaffinity(0))
    memory = worker_memory(settings, workers, *memory_limit())
    return f"each of {workers} workers may take {memory.bytes_max / MIB:,.0f} MiB of memory ({memory.source})"
