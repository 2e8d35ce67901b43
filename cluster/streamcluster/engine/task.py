"""RunningTask: one task's coroutines, shards, outbox and partitions; what a commit takes and a rollback drops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from ..errors import StreamclusterError
from ..ids import TP, TaskId
from ..stores import StoreFailed, TaskStore
from .coroutine import Coroutine, event_in_hand, holds_back, settle
from .definitions import add_definitions
from .event_time.task_time import TaskTime
from .instance import Instance
from .outbox import Outbox, Outputs, merge
from .partition import SourcePartition
from .rows import Changes
from .shards import CachedShard
from .values import TaskCommit

logger = logging.getLogger("streamcluster")
Encoded = Mapping[str, Changes]


class RunningTask:
    """One task that this worker owns and that has been restored."""

    __slots__ = (
        "_kept",
        "beside",
        "closing",
        "coroutines",
        "id",
        "instances",
        "logs",
        "missing",
        "outbox",
        "partitions",
        "shards",
        "stopped",
        "store",
        "store_error",
        "strict_until",
        "time",
    )

    def __init__(self, task: TaskId, store: TaskStore, shards: dict[str, CachedShard], outbox: Outbox) -> None:
        self.id = task
        self.store = store
        self.shards = shards
        # What finished events sent, and dead letters.
        self.outbox = outbox
        self.instances: list[Instance] = []
        # The instances, and what shared streams do in this task.
        self.coroutines: list[Coroutine] = []
        self.partitions: dict[TP, SourcePartition] = {}
        # Those of them that are read from Kafka: the others are rows that come due.
        self.logs: dict[TP, SourcePartition] = {}
        # What each of these is read in the order of time with, of agents that wait for one another (following.py).
        self.beside: dict[TP, set[TP]] = {}
        # None: nothing in it goes by event time.
        self.time: TaskTime | None = None
        # Table -> the row that says by what its rows are made, until that is committed (definitions.py).
        self.missing: dict[str, bytes] = {}
        # It is being rolled back: it takes no records and is in no cut.
        self.stopped = False
        # It finishes what is in hand and takes nothing more: it is being closed.
        self.closing = False
        # Its store could not be read or written: what its events read may be wrong.
        self.store_error: StoreFailed | None = None
        # While set, events come one by one and what each wrote is looked at, up to these positions: one of them wrote
        # what cannot be committed.
        self.strict_until: dict[TP, int] | None = None
        # Coroutine -> the event for which the bound of its outbox is lifted.
        self._kept: dict[int, tuple[TP, int]] = {}

    def start(self) -> None:
        """Start every coroutine."""
        for instance in self.instances:
            instance.start()

    def resting(self) -> bool:
        """No event of this task is half done."""
        return all(coroutine.resting for coroutine in self.coroutines)

    def idle(self) -> bool:
        """Resting, with nothing queued."""
        return all(coroutine.idle for coroutine in self.coroutines)

    def failed(self) -> bool:
        """A coroutine failed at an event, or a store did, and what follows from that is still to come."""
        return self.store_error is not None or any(coroutine.failed for coroutine in self.coroutines)

    def is_cuttable(self) -> bool:
        """Its finished events can be committed now, whatever else is half done."""
        return not self.stopped and not self.failed() and not any(map(holds_back, self.coroutines))

    def hold(self) -> None:
        """Let every coroutine come to rest after its current event."""
        for coroutine in self.coroutines:
            coroutine.intake.hold(self.id)

    def release(self) -> None:
        """Go on after `hold`."""
        for coroutine in self.coroutines:
            coroutine.intake.release(self.id)

    def set_flush(self, flush: bool) -> None:
        """While true, take() hands out what it has at once."""
        for coroutine in self.coroutines:
            coroutine.intake.flush = flush
            if flush:
                coroutine.intake.wake()

    def set_strict(self, until: dict[TP, int] | None) -> None:
        """Look at each event's writes when it ends, up to these positions; None: do so no more."""
        self.strict_until = until
        for coroutine in self.coroutines:
            coroutine.intake.strict = until is not None

    def stop_taking(self) -> None:
        """Take no records and be in no cut until the rollback."""
        self.stopped = True
        for partition in self.partitions.values():
            partition.stopped = True

    def close(self) -> None:
        """Finish what is in hand, and take nothing more."""
        self.closing = True
        for partition in self.partitions.values():
            partition.stopped = True
        for coroutine in self.coroutines:
            coroutine.stop_taking()

    # What waits for a commit

    def output_count(self) -> int:
        """Records that finished events, as far as that is known, have sent."""
        return self.outbox.count() + sum(c.hand.outbox.count() for c in self.coroutines if c.resting)

    def uncommitted_count(self) -> int:
        """Output records and table entries since the last cut: what the next commit carries at least."""
        entries = sum(shard.dirty_count() for shard in self.shards.values())
        for coroutine in self.coroutines:
            if coroutine.resting:
                entries += sum(len(view.dirty) + len(view.touched) for view in coroutine.hand.views)
        return self.output_count() + entries

    def is_clean(self) -> bool:
        """Nothing has happened since the last commit, and nothing is on its way."""
        return (
            not self.uncommitted_count()
            and not any(shard.staged or shard.inflight for shard in self.shards.values())
            and all(p.position() == p.committed for p in self.partitions.values())
        )

    # Committing

    def settle(self) -> None:
        """What resting coroutines have done is finished."""
        for coroutine in self.coroutines:
            settle(coroutine)

    def encode(self) -> Encoded:
        """What the shards have for the next cut. Nothing is taken yet.

        Raises:
            BaseException: something cannot be encoded, or is too large.
        """
        self.settle()
        if self.time is not None:
            self.time.lapse()
        encoded = {name: changes for name, shard in self.shards.items() if (changes := shard.encoded_changes())}
        if self.time is not None:
            encoded |= self.time.changes(encoded)
        if self.missing:
            add_definitions(self.missing, encoded)
        return encoded

    def cut(self, encoded: Encoded, *, all_offsets: bool = False) -> TaskCommit:
        """Take everything since the last cut into the open transaction. all_offsets: also those that did not move."""
        assert self.is_cuttable(), f"task {self.id} is cut in the middle of an event"
        offsets = {
            tp: position
            for tp, partition in self.logs.items()
            if (position := partition.position()) != partition.committed or all_offsets
        }
        for name, shard in self.shards.items():
            shard.stage(encoded.get(name, {}))
        for coroutine in self.coroutines if self._kept else ():
            if id(coroutine) in self._kept:
                self._bound_again(coroutine)
        commit = TaskCommit(task=self.id, offsets=offsets, outputs=self.take_outputs(), changes={})
        if self.time is not None:
            commit.time, commit.passed = self.time.cut(), self.time.passed()
            merge(commit.outputs, self.time.marks())
        return commit

    def keep_output(self) -> None:
        """An event that sends more than there is room for took too long: next time, keep all of it in memory."""
        for coroutine in self.coroutines:
            if (event := event_in_hand(coroutine)) is not None:
                text = (
                    "event %s@%d of %s has sent more than outbox_records_max or outbox_bytes_max allows and does not "
                    "end: it is done again, and what it sends is kept in memory"
                )
                logger.warning(text, *event, coroutine.unit_name)
                coroutine.hand.outbox.lift()
                self._kept[id(coroutine)] = event

    def _bound_again(self, coroutine: Coroutine) -> None:
        """Bound what the coroutine may send once the event is behind it for which the bound was lifted."""
        tp, offset = self._kept[id(coroutine)]
        if coroutine.intake.position(tp, coroutine.intake.done.get(tp, 0)) > offset:
            del self._kept[id(coroutine)]
            coroutine.hand.outbox.bound_again()

    def take_outputs(self) -> Outputs:
        """What finished events have sent; senders that were held up behind it go on."""
        outputs = self.outbox.swap()
        for coroutine in self.coroutines:
            coroutine.hand.outbox.let_go_on()
        return outputs

    def seal(self, commit: TaskCommit) -> None:
        """Everything that was cut is in the commit that starts now."""
        for name, shard in self.shards.items():
            if changes := shard.seal():
                commit.changes[name] = changes
                if shard.sealed_stamps:
                    commit.stamps[name] = shard.sealed_stamps

    def committed(self, commit: TaskCommit) -> None:
        """`commit` is in Kafka and in the store."""
        due = {} if commit.time is None else {tp: position for tp, (position, _) in commit.time.due.items()}
        for tp, position in (commit.offsets | due).items():
            partition = self.partitions[tp]
            assert position.next_offset >= partition.committed.next_offset, f"{tp} goes back"
            partition.committed = position
            partition.forget_skips()
        for shard in self.shards.values():
            shard.committed()
        if self.time is not None and commit.time is not None:
            self.time.committed(commit.time, commit.ends)
        if self.missing:
            self.missing = {name: row for name, row in self.missing.items() if name not in commit.changes}
        until = self.strict_until
        if until is not None and all(self.partitions[tp].committed.next_offset >= at for tp, at in until.items()):
            self.set_strict(None)

    # Ending

    async def stop(self) -> None:
        """Cancel every coroutine, and wait for its end.

        Raises:
            WillNotEnd: one swallowed its cancellation; only the end of the process helps.
        """
        for instance in self.instances:
            instance.end()
        ends = await asyncio.gather(*(instance.cancel() for instance in self.instances), return_exceptions=True)
        errors = [end for end in ends if isinstance(end, BaseException)]
        # Not as a group: who handles it looks at its class.
        for error in sorted(errors, key=lambda error: not isinstance(error, StreamclusterError)):
            raise error

    async def rollback(
        self, rewind: Callable[[dict[TP, int]], None], strict_until: dict[TP, int] | None = None
    ) -> None:
        """Drop everything since the last commit and start afresh from there; the store is untouched.

        rewind: called with where the consumer must go on, at the moment that the partitions expect that.
        strict_until: see the attribute.
        """
        self.stop_taking()
        await self.stop()
        self.outbox.swap()
        for coroutine in self.coroutines:
            coroutine.hand.forget()
            coroutine.intake.release(self.id)
        for shard in self.shards.values():
            shard.rollback()
        for partition in self.partitions.values():
            partition.rewind()
        if self.time is not None:
            self.time.rewind()
        rewind({tp: partition.next_offset for tp, partition in self.logs.items()})
        if self.closing:
            # What it was at is for the next owner.
            return
        self.stopped = False
        if strict_until is not None:
            self.set_strict(strict_until)
        self.start()
