"""What memory this process really has and may have, and how allocators are told to give back what is free.

It decides nothing of what is evicted or paused: the engine's budget does, and asks here.
"""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import time

import msgspec

from streamcluster.memory import Shares, shares_of, too_small, worker_memory
from streamcluster.memory_limit import memory_limit
from streamcluster.protocol.messages import WorkerConfig
from streamcluster.settings import Settings

logger = logging.getLogger("streamcluster")
_PAGE_BYTES = resource.getpagesize()
# mallopt(3). Without the first, each of librdkafka's threads gets an arena of its own, up to 8 for each core, and keeps
# in it what it had at most; without the second, glibc takes what was freed once as large as it comes for normal, and
# keeps blocks of up to 32 MB in an arena, where one small block behind them keeps all.
# Not less: with 2 arenas, 256 KiB and 1 MiB an event of map and produce took 15 % more CPU (locks, and pages that are
# given back and taken again at each fetch). What that keeps, `give_back` returns when it is too much.
_ARENA_MAX, _ARENAS = -8, 8
_MMAP_THRESHOLD, _MMAP_BYTES = -3, 4 * 1024 * 1024
_TRIM_THRESHOLD, _TRIM_BYTES = -1, 32 * 1024 * 1024
# What clients and RocksDB take beside their queues and caches, once they are open (measured: 12 to 16 MB).
_CLIENTS_BYTES = 16 * 1024 * 1024
# malloc_trim(3) takes 2 ms for each 100 MB, so it is called so often at most.
_TRIM_SECONDS = 1.0


def tune_allocator() -> None:
    """Before any thread: see above. Does nothing where the C library is another one."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in (
            (_ARENA_MAX, _ARENAS),
            (_MMAP_THRESHOLD, _MMAP_BYTES),
            (_TRIM_THRESHOLD, _TRIM_BYTES),
        ):
            mallopt(parameter, value)


class Resident:
    """This process, as the engine's budget asks for it."""

    __slots__ = ("_statm", "_trim", "_trimmed_at")

    def __init__(self) -> None:
        # Open as long as the process: to open it takes as long as all else.
        self._statm = os.open("/proc/self/statm", os.O_RDONLY)
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        self._trimmed_at = float("-inf")

    def size(self) -> int:
        """Bytes of memory that it has."""
        return int(os.pread(self._statm, 128, 0).split()[1]) * _PAGE_BYTES

    def give_back(self) -> None:
        """Return what is free to the kernel, if that was not done a moment ago."""
        now = time.monotonic()
        if self._trim is not None and now - self._trimmed_at >= _TRIM_SECONDS:
            self._trimmed_at = now
            self._trim(0)


def split_memory(config: WorkerConfig, process: Resident, *, has_stores: bool) -> tuple[WorkerConfig, Shares]:
    """What this worker may take, split; `config` with what the parts come to. To be called when the app is loaded."""
    settings = config.settings
    workers = settings.workers or len(os.sched_getaffinity(0))
    memory = worker_memory(settings, workers, *memory_limit())
    settings = msgspec.structs.replace(settings, worker_memory=memory.bytes_max)
    shares = shares_of(settings, process.size() + _CLIENTS_BYTES, has_stores=has_stores, source=memory.source)
    if (text := too_small(shares)) is not None:
        logger.warning("%s (worker_memory: %s)", text, memory.source)
    return msgspec.structs.replace(config, settings=_resolved(settings, shares)), shares


def _resolved(settings: Settings, shares: Shares) -> Settings:
    """The settings of what is not of the pool, as clients and stores read them."""
    return msgspec.structs.replace(
        settings,
        consumer_prefetch_bytes=shares.prefetch,
        store_block_cache_bytes=shares.block_cache,
        store_write_buffer_bytes=shares.write_buffers,
    )
