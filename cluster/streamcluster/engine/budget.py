"""Budget: keeps what the engine holds within the worker's memory. It says when to read less, to commit and to evict.

Estimates lead (encoded sizes, and samples of what is decoded), and the process's real size corrects them: `squeeze`.
Nothing here is done per record: a few comparisons a step, and the rest when something may have to be done.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ..ids import TP, TaskId
from ..memory import MIB, Shares
from .backlog import Backlog, PartitionBacklog
from .cache_budget import UNCOMMITTED_BYTES, CacheBudget
from .memory_pool import MemoryPool
from .outbox import OutputRoom
from .ports import Process
from .task import RunningTask
from .transaction import Transaction
from .weigh import RecordWeight

logger = logging.getLogger("streamcluster")
# The same warning again, when it is about so many times as much.
AGAIN_FACTOR = 2
# How often the process is asked what it takes: 5 us. A worker that reads 200 MB/s has 10 MB more by then.
LOOK_SECONDS = 0.05


class Budget:
    """The memory of one worker.

    Args:
        shares: how it is split.
        tasks: those of the worker, now and later.
        records_max: how many records may wait for agents.
        events_max: how many may be done and not committed.
        process: what is asked how much it really takes; nothing when None.
    """

    __slots__ = (
        "_cache",
        "_events_max",
        "_grown",
        "_look_at",
        "_pool",
        "_process",
        "_records_max",
        "_said",
        "_tasks",
        "_transaction",
        "_weights",
        "backlog",
        "output_room",
        "shares",
    )

    def __init__(
        self,
        shares: Shares,
        tasks: dict[TaskId, RunningTask],
        records_max: int,
        events_max: int,
        process: Process | None = None,
    ) -> None:
        self.shares = shares
        self._pool = MemoryPool(shares)
        self._tasks = tasks
        self._transaction: Transaction | None = None
        self._records_max = records_max
        self._events_max = events_max
        # What waits for agents, and what is done and not committed; as of the last look of `overfull`.
        self.backlog = Backlog(records_max, self._pool.records_bytes_max, events_max)
        self._cache = CacheBudget(self._pool.cache_bytes_max)
        self.output_room = OutputRoom(lambda: self._pool.output_bytes_max, self._output_count)
        # By topic.
        self._weights: dict[str, RecordWeight] = {}
        # What may have come into the cache since it was trimmed.
        self._grown = 0
        self._process = process
        # When it is asked next.
        self._look_at = float("-inf")
        # Warning -> the bytes that it was about.
        self._said: dict[str, int] = {}

    def watch(self, transaction: Transaction) -> None:
        """Of this transaction, which is made later: it needs what is made with the budget."""
        self._transaction = transaction

    def _output_count(self) -> int:
        return self._transaction.output_count() if self._transaction is not None else 0

    def weight(self, topic: str) -> RecordWeight:
        """What the records of a topic take, for all its partitions."""
        return self._weights.setdefault(topic, RecordWeight())

    # Reading

    def room(self, records_max: int) -> int:
        """How many records may be read at once: at least one."""
        room = self.backlog.room(records_max)
        if self._cache.entry_bytes_max:
            # Each event may bring an entry into the cache, where it stays until it is cut.
            room = min(room, max(1, self._pool.step_bytes_max // self._cache.entry_bytes_max))
        return room

    def fed(self, records: int, size: int) -> None:
        """So many records were read, which take so many bytes."""
        self.backlog.fed(records, size)
        self._grown += records * self._cache.entry_bytes_max

    def overfull(self, waiting: Mapping[TP, PartitionBacklog], count: int) -> set[TP]:
        """The partitions that must pause, as `Backlog.look`."""
        pool, backlog = self._pool, self.backlog
        backlog.bytes_max = pool.records_bytes_max
        if self._cache.entry_bytes_max:
            # They may all be taken in one step.
            events = pool.uncommitted_bytes_max // self._cache.entry_bytes_max
            backlog.records_max = max(count, min(self._records_max, events))
        full = set(backlog.look(waiting, count))
        pool.record_bytes = backlog.bytes
        if backlog.bytes > 2 * backlog.bytes_max:
            self._say_records(waiting, backlog.bytes)
        return full

    def _say_records(self, waiting: Mapping[TP, PartitionBacklog], size: int) -> None:
        tp, largest = max(waiting.items(), key=lambda item: item[1].record_bytes)
        self._say(
            "records",
            size,
            f"records that wait for agents take {_mib(size)}, and their share is {_mib(self.backlog.bytes_max)}: those "
            f"of {tp} take {_mib(largest.record_bytes)} each, decoded, and each of {len(waiting)} partitions holds one",
        )

    # Tables and output

    def must_commit(self, done: int) -> bool:
        """So many events are done, or so much is changed in the cache or sent, that a commit is due."""
        if done >= self._events_max or self._pool.output_bytes > self._pool.output_bytes_max:
            return True
        return self._may_hold_much() and self._uncommitted() > self._pool.uncommitted_bytes_max

    def must_hand_over(self, outputs: int) -> bool:
        """So many records were sent that they should go to Kafka's client before the commit."""
        self._pool.output_bytes = outputs * self.output_room.record_bytes
        return self._pool.output_bytes > self._pool.output_bytes_max // 2

    def must_wait(self, outputs: int) -> bool:
        """So much waits behind a commit under way, so many records sent among it, that nothing may be added."""
        if self.backlog.done >= 2 * self._events_max:
            return True
        if outputs * self.output_room.record_bytes > 2 * self._pool.output_bytes_max:
            return True
        return self._may_hold_much() and self._uncommitted() > 2 * self._pool.uncommitted_bytes_max

    def _may_hold_much(self) -> bool:
        """What was read could have changed so much: a look at each shard is worth its time."""
        events = self.backlog.records + self.backlog.fed_records + self.backlog.done
        return events * self._cache.entry_bytes_max > self._pool.uncommitted_bytes_max // 2

    def _uncommitted(self) -> int:
        """What the entries take that cannot be evicted before the next cut."""
        size = 0.0
        for task in self._tasks.values():
            for shard in task.shards.values():
                count = shard.dirty_count() + sum(len(view.dirty) + len(view.touched) for view in shard.views)
                size += count * (shard.memory.entry_bytes() + UNCOMMITTED_BYTES) if count else 0
        return int(size)

    def step(self, now: float) -> None:
        """Evict what was read into the cache, when it may be much; and look, now and then, what the process takes."""
        if self._grown > self._pool.step_bytes_max:
            self.trim()
        if self._process is not None and now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self.squeeze(self._process.size())

    def trim(self) -> None:
        """Evict from the cache what is too much, after a commit and in between."""
        self._grown = 0
        cache = self._cache
        cache.bytes_max = self._pool.cache_bytes_max
        cache.trim([shard.memory for task in self._tasks.values() for shard in task.shards.values()])
        self._pool.cache_bytes = cache.held_bytes
        if cache.entry_bytes_max > cache.bytes_max // 2 > 0:
            self._say_entries(cache.entry_bytes_max)

    def _say_entries(self, size: int) -> None:
        shards = [shard for task in self._tasks.values() for shard in task.shards.values()]
        largest = max(shards, key=lambda shard: shard.memory.entry_bytes())
        self._say(
            "entries",
            size,
            f"an entry of table {largest.name!r} takes {_mib(size)}, decoded, and the share of all entries is "
            f"{_mib(self._cache.bytes_max)}; it is read from the store and decoded at each use",
        )

    # The process

    def resident_bytes(self) -> int:
        """What the process takes; 0 when nobody is asked."""
        return self._process.size() if self._process is not None else 0

    def squeeze(self, resident_bytes: int) -> None:
        """So much the process takes: when that is too much, all shares shrink, and what is free is given back."""
        if not self._pool.squeeze(resident_bytes):
            return
        self.trim()
        if self._process is not None:
            self._process.give_back()
        if self._pool.is_least and resident_bytes > self.shares.worker:
            self._say(
                "process",
                resident_bytes,
                f"this worker has {_mib(resident_bytes)} of the {_mib(self.shares.worker)} that it may take, and its "
                "caches are as small as they get: what agents and libraries hold is not ours to give back",
            )

    def _say(self, about: str, size: int, text: str) -> None:
        """Warn once, and again when it is much more."""
        if size < AGAIN_FACTOR * self._said.get(about, 0):
            return
        self._said[about] = size
        wanted = max(self.shares.worker + size // 2, size * 5 // 4)
        logger.warning("%s. Set worker_memory=%d or more.", text, -(-wanted // (16 * MIB)) * 16 * MIB)


def _mib(size: float) -> str:
    return f"{size / MIB:,.0f} MiB" if size >= 10 * MIB else f"{size / MIB:.1f} MiB"
