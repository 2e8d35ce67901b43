"""How the memory of one worker is split. Arithmetic only: what the machine has, `memory_limit.py` finds out.

    worker_memory = the process itself + RocksDB + the clients' queues + a pool + what allocators keep

The pool is for what Python holds: decoded table entries, records that wait for agents, and output. It is one for all
three, so that an app without tables reads further ahead, and one whose agents keep up caches more.
A setting that names a part's size is obeyed, and the others get what is left.
"""

from __future__ import annotations

from dataclasses import dataclass

from .settings import Settings

MIB = 1024 * 1024
# Without the setting, a worker takes no more than this of a large machine. What agents do gets no faster by more: it
# is the tables that may, and how much is worth it only their owner knows.
WORKER_BYTES_DEFAULT = 384 * MIB
# Coordinator and fork server: 50 MB each, of which half is shared with the workers (measured, RSS and PSS).
HOST_BYTES = 112 * MIB
# Of what a machine or cgroup has, this part is left to the kernel's share: sockets, page cache, page tables.
HOST_PART = 16
# Below this nothing can be split: an idle worker has 45 to 60 MB (measured).
WORKER_BYTES_LEAST = 96 * MIB
# A worker before it reads, until it has measured itself.
PROCESS_BYTES = 64 * MIB
# What allocators keep beside what is used: blocks of 1 MB that are not all free (Python), the tops of arenas (glibc).
# Measured with tables of lists that grow: RSS is 1.1 to 1.2 times what is in use.
SLACK_PART = 8
# Parts of what is left then. The rest is the pool.
_PREFETCH_PART = 12
_QUEUE_PART = 12
_BLOCKS_PART = 8
_BUFFERS_PART = 8
# The most that is of use. Prefetch: 30 ms of a full network; producer: what it sends while a commit ends.
PREFETCH_BYTES_MAX = 32 * MIB
QUEUE_BYTES_MAX = 64 * MIB
# Least values with which everything still works, if slowly.
PREFETCH_BYTES_LEAST = 2 * MIB
QUEUE_BYTES_LEAST = 4 * MIB
STORE_BYTES_LEAST = 4 * MIB
POOL_BYTES_LEAST = 16 * MIB


@dataclass(frozen=True, slots=True)
class Shares:
    """Bytes for each part of a worker.

    worker: all of it. process: the interpreter, its modules, and what the app holds. pool: for table entries, records
    that wait, and output; each of these three is None where it takes of the pool what it needs.
    source: where `worker` comes from, for people.
    """

    worker: int
    process: int
    prefetch: int
    producer_queue: int
    block_cache: int
    write_buffers: int
    pool: int
    table_cache: int | None
    records: int | None
    outbox: int | None
    source: str

    @property
    def needed(self) -> int:
        """What all parts come to; more than `worker` when that is too small, or settings ask for more."""
        fixed = self.process + self.prefetch + self.producer_queue + self.block_cache + self.write_buffers
        explicit = (self.table_cache or 0) + (self.records or 0) + (self.outbox or 0)
        open_ended = None in (self.table_cache, self.records, self.outbox)
        return fixed + explicit + (self.pool if open_ended else 0)


@dataclass(frozen=True, slots=True)
class WorkerMemory:
    """What one worker may take. source: where that comes from, for people."""

    bytes_max: int
    source: str


def worker_memory(settings: Settings, workers: int, limit: int, limit_name: str) -> WorkerMemory:
    """What each of `workers` workers may take.

    Args:
        settings: `worker_memory` beats everything.
        workers: how many this host has.
        limit: bytes that they may use together, with their coordinator.
        limit_name: what sets that limit, for people.
    """
    if settings.worker_memory is not None:
        text = "worker_memory"
        together = settings.worker_memory * workers + HOST_BYTES
        if together > limit:
            text = (
                f"worker_memory; {workers} workers and their coordinator may take {_mib(together)}, and there are "
                f"{_mib(limit)} ({limit_name}): the kernel may kill one"
            )
        return WorkerMemory(settings.worker_memory, text)
    share = (limit - HOST_BYTES - limit // HOST_PART) // max(1, workers)
    if share >= WORKER_BYTES_DEFAULT:
        return WorkerMemory(WORKER_BYTES_DEFAULT, f"the default; there are {_mib(limit)} ({limit_name})")
    text = f"a share of {_mib(limit)} ({limit_name}) for each of {workers} workers"
    if share < WORKER_BYTES_LEAST:
        text = (
            f"the least that works; a share of {_mib(limit)} ({limit_name}) for each of {workers} workers is less: "
            "start fewer workers, or give them more"
        )
    return WorkerMemory(max(WORKER_BYTES_LEAST, share), text)


def shares_of(
    settings: Settings, process_bytes: int = PROCESS_BYTES, *, has_stores: bool = True, source: str = "worker_memory"
) -> Shares:
    """Split `settings.worker_memory`.

    Args:
        settings: what they set is obeyed.
        process_bytes: what the process has before it reads anything.
        has_stores: it may open RocksDB.
        source: where `settings.worker_memory` comes from.
    """
    worker = WORKER_BYTES_DEFAULT if settings.worker_memory is None else settings.worker_memory
    rest = max(0, worker - process_bytes - worker // SLACK_PART)
    has_stores = has_stores and settings.store == "rocksdb://"
    prefetch = settings.consumer_prefetch_bytes
    if prefetch is None:
        prefetch = min(PREFETCH_BYTES_MAX, max(PREFETCH_BYTES_LEAST, rest // _PREFETCH_PART))
    queue = min(QUEUE_BYTES_MAX, max(QUEUE_BYTES_LEAST, rest // _QUEUE_PART))
    blocks, buffers = settings.store_block_cache_bytes, settings.store_write_buffer_bytes
    if blocks is None:
        blocks = max(STORE_BYTES_LEAST, rest // _BLOCKS_PART) if has_stores else 0
    if buffers is None:
        buffers = max(STORE_BYTES_LEAST, rest // _BUFFERS_PART) if has_stores else 0
    parts = (settings.table_cache_bytes, settings.stream_buffer_bytes_max, settings.outbox_bytes_max)
    # What is fetched is there twice for a moment: in the client, and in the batch that is taken from it.
    taken = 2 * prefetch + queue + blocks + buffers + sum(part or 0 for part in parts)
    pool = max(POOL_BYTES_LEAST, rest - taken)
    return Shares(worker, process_bytes, prefetch, queue, blocks, buffers, pool, *parts, source)


def too_small(shares: Shares) -> str | None:
    """What is wrong, and what to set, when `shares` do not fit into the worker's memory; None when they do."""
    needed = shares.needed + shares.worker // SLACK_PART
    if needed <= shares.worker:
        return None
    return (
        f"a worker may take {_mib(shares.worker)}, and needs {_mib(needed)} by its settings: {_mib(shares.process)} "
        f"are its own before it reads a record, {_mib(shares.block_cache + shares.write_buffers)} RocksDB's. "
        f"Set worker_memory={_round_up(needed)} or more, or start fewer workers."
    )


def _round_up(size: int) -> int:
    """To the next 16 MiB."""
    return -(-size // (16 * MIB)) * 16 * MIB


def _mib(size: int) -> str:
    return f"{size / MIB:,.0f} MiB"
