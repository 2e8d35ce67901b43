"""Replay: reads changelogs into stores, in a thread of its own with one consumer.

It decides where each store is in each of its changelogs (invariant I4), what of a batch is applied, and what becomes of
errors that heal by themselves. Which stores are read, for how long, and what to do when one cannot be, its policy says:
`restore.Restorer` reads to the end and hands over, `follow.Follower` stays there. It knows no event loop, agent or life
cycle.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import msgspec

from streamcluster.batch import Batch
from streamcluster.engine.topic_rows import TopicRows
from streamcluster.errors import BrokerUnreachable, StreamclusterError
from streamcluster.ids import TP, TaskId
from streamcluster.kafka.hearing import Replaceable
from streamcluster.kafka.offsets import Offsets
from streamcluster.kafka.opening import Consumer, KafkaError
from streamcluster.kafka.verdicts import classify, error_for
from streamcluster.stores import TaskStore

from ..kafka.batches import NOTHING_THERE, Taken, take
from ..watch import OWN_THREAD
from .batch_room import BatchRoom
from .changelogs import Log, StoreReplay, assign_only, rows_of

_log = logging.getLogger("streamcluster.restore")
NO_TOPIC_ROWS: Mapping[str, TopicRows] = MappingProxyType({})
# How long the thread steps aside before it looks whether it still must.
_ASIDE_SECONDS = 0.05
# A log that cannot be unpacked is looked at again after so long: each look unpacks 100 MB, and only its retention or a
# compaction may heal it.
_UNREADABLE_PAUSE_SECONDS = 10.0


class Pace(msgspec.Struct, frozen=True):
    """How a policy reads. name: of its thread.

    records_max, bytes_max: what is applied at once; idle_seconds: how long it waits for records before it looks at its
    orders again; ask_seconds: for the begins and ends of logs; to_end: a log is read up to the end that it had.
    """

    name: str
    records_max: int
    bytes_max: int
    idle_seconds: float
    ask_seconds: float
    to_end: bool


class Policy(Protocol):
    """What restoring and following decide differently. All is called from the thread."""

    def open_consumer(self) -> Consumer:
        """A new consumer of changelogs."""
        ...

    def open_store(self, replay: StoreReplay) -> TaskStore:
        """Its store. Called without the lock; may raise StoreFailed."""
        ...

    def rests(self) -> None:
        """There is nothing to replay."""
        ...

    def must_step_aside(self) -> bool:
        """Whether nothing is to be done for the moment. Called with the lock."""
        ...

    def choose(self, able: list[StoreReplay]) -> list[StoreReplay]:
        """Those that are read now."""
        ...

    def stepped(self, active: list[StoreReplay], consumer: Consumer, records: int, *, full: bool, began: float) -> None:
        """So many records came for these, in a step since `began`. full: as many as were asked for."""
        ...

    def at_end(self, replay: StoreReplay) -> None:
        """It is where its logs ended when it was planned; only called if the pace says `to_end`."""
        ...

    def refused(self, replay: StoreReplay, what: str, error: KafkaError) -> None:
        """Its log cannot be read from there, and that does not heal by itself."""
        ...

    def failed(self, replay: StoreReplay, error: Exception) -> None:
        """Its store, or asking for its logs, failed."""
        ...

    def bounds(self, logs: Sequence[Log]) -> Mapping[TP, int]:
        """Up to where the app has got in these topics that tables are made of. Raises StreamclusterError."""
        ...


class Replay:
    """The stores that one policy replays, and the thread that does it, which begins with the first of them."""

    def __init__(
        self,
        policy: Policy,
        pace: Pace,
        offsets: Offsets,
        dated: Collection[str] = (),
        topic_rows: Mapping[str, TopicRows] = NO_TOPIC_ROWS,
    ) -> None:
        """Nothing is opened yet.

        offsets: asks for the begins and ends of changelogs. dated: tables with dated rows. topic_rows: of tables whose
        changelog is the topic that they are made of. It is read up to where the app has got, and no further.
        """
        self._topic_rows = topic_rows
        self._policy = policy
        self._pace = pace
        self._room = BatchRoom(pace.records_max, pace.bytes_max)
        self._offsets = offsets
        self._dated = dated
        # Guards `stores` and every touch of a store, so that after remove() nobody touches the task's store.
        self.lock = threading.Condition()
        # Newest last.
        self.stores: dict[TaskId, StoreReplay] = {}
        self._stopping = False
        self._consumer = Replaceable(policy.open_consumer)
        self.thread: threading.Thread | None = None

    def add(self, replay: StoreReplay) -> None:
        """Replay this one, too; from now on its store is the thread's."""
        with self.lock:
            earlier = self.stores.pop(replay.task, None)
            if earlier is not None:
                earlier.leave()
            self.stores[replay.task] = replay
            self.lock.notify_all()
            if self.thread is None:
                self.thread = threading.Thread(target=self._run, name=f"{OWN_THREAD}{self._pace.name}", daemon=True)
                self.thread.start()

    def remove(self, tasks: Iterable[TaskId]) -> None:
        """Replay these no more; when this returns their stores are the caller's. Waits for one batch, or one open."""
        with self.lock:
            removed = [self.stores.pop(task) for task in tasks if task in self.stores]
            for replay in removed:
                replay.leave()
            while any(replay.opening for replay in removed):
                self.lock.wait()

    def stop(self, timeout: float) -> None:
        """End the thread; the stores stay open, as far as they are."""
        with self.lock:
            self._stopping = True
            for replay in self.stores.values():
                replay.leave()
            self.stores.clear()
            self.lock.notify_all()
        if self.thread is not None:
            self.thread.join(timeout)

    def let_go(self, replay: StoreReplay) -> bool:
        """As `remove`, from the thread; whether it was among these until now."""
        with self.lock:
            if replay.gone:
                return False
            replay.leave()
            del self.stores[replay.task]
        return True

    def begin_again(self, replay: StoreReplay, error: str) -> None:
        """Ask at once where its logs begin and end, and go on from what its store says."""
        replay.count_restart()
        self._put_off(replay, error, 0.0)

    def put_off(self, replay: StoreReplay, error: str | None) -> None:
        """The same after a while, which is longer each time."""
        self._put_off(replay, error, replay.next_pause())

    def _put_off(self, replay: StoreReplay, error: str | None, seconds: float) -> None:
        if error is not None and error != replay.error:
            _log.warning("Task %s: %s", replay.task, error)
        with self.lock:
            replay.begin_anew(error, seconds)

    def drop_store(self, replay: StoreReplay, close: Callable[[TaskId], None]) -> None:
        """Have the store of one that was put off closed, if it is ours still: it is opened anew."""
        with self.lock:
            if not replay.gone:
                replay.lose_store()
                close(replay.task)

    def ask_ends(self, replay: StoreReplay) -> None:
        """Ask how far its logs have grown, and that they are there still.

        Raises:
            BrokerUnreachable, ConfigurationError, ResetNeeded: as `Offsets.end_offsets`.
            StreamclusterError: one is shorter than what was read of it.
        """
        replay.ask_now()
        ends = self._offsets.end_offsets([log.tp for log in replay.logs], timeout=self._pace.ask_seconds)
        replay.look({log.tp: ends[log.tp] for log in replay.logs if not self._is_bounded(log)})
        for log in replay.logs:
            if ends[log.tp] < log.next_offset:
                raise StreamclusterError(f"{log.tp} ends at {ends[log.tp]}, before {log.next_offset}, which was read")

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._step()
            except Exception as error:  # noqa: BLE001
                # The thread's boundary: every store that is waited for learns why.
                _log.exception("replaying changelogs")
                self._consumer.drop()
                for replay in list(self.stores.values()):
                    self._policy.failed(replay, error)
        self._consumer.drop()

    def _step(self) -> None:
        """Plan what is new, keep what the policy chooses assigned, and apply what has come."""
        with self.lock:
            while not self.stores and not self._stopping:
                self._consumer.drop()
                self._policy.rests()
                self.lock.wait()
            if self._stopping:
                return
            if self._policy.must_step_aside():
                self._consumer.heard()
                self.lock.wait(_ASIDE_SECONDS)
                return
            replays = list(self.stores.values())
        began = time.monotonic()
        self._plan([one for one in replays if not one.planned and one.due <= began])
        self._end(replays)
        now = time.monotonic()
        able = [one for one in replays if one.planned and one.logs and not one.gone and one.due <= now]
        active = self._policy.choose(able)
        if not active:
            with self.lock:
                if self.stores.keys() == {one.task for one in replays}:
                    self.lock.wait(self._pace.idle_seconds)
            return
        consumer = self._assign(active)
        wanted = self._room.records()
        taken = take(consumer, wanted, 0)
        if not taken:
            taken = take(consumer, 1, self._pace.idle_seconds)
            began = time.monotonic()
            taken += take(consumer, wanted, 0) if taken else []
        records = self._take(taken, active)
        self._end(active)
        self._policy.stepped(active, consumer, records, full=records >= wanted, began=began)
        if taken or not any(one.lag() for one in active):
            self._consumer.heard()
        elif self._consumer.is_quiet:
            # There is something to come, if it be only that a log ends.
            self._consumer.drop()

    def _plan(self, replays: Sequence[StoreReplay]) -> None:
        """Ask for the begins and ends of all their logs at once, and set each log's course."""
        opened = [one for one in replays if not self._stopping and self._open(one)]
        if not opened:
            return
        if any(one.error is not None for one in opened):
            # A consumer keeps what it knew of a topic that was cut, or made anew, and never gets on with it.
            self._consumer.drop()
        tps = [log.tp for one in opened for log in one.logs]
        try:
            ends = self._offsets.end_offsets(tps, timeout=self._pace.ask_seconds)
            begins = self._offsets.begin_offsets(tps, timeout=self._pace.ask_seconds)
            if bounded := self.bounded(opened):
                bounds = self._policy.bounds(bounded)
                ends |= {log.tp: min(ends[log.tp], bounds.get(log.tp, begins[log.tp])) for log in bounded}
        except StreamclusterError as error:
            # One of them is to blame, and the others go on; but nobody waits long for brokers more than once.
            is_final = len(opened) == 1 or (self._pace.to_end and isinstance(error, BrokerUnreachable))
            for one in opened:
                if is_final:
                    self._policy.failed(one, error)
                else:
                    self._plan([one])
            return
        for one in opened:
            try:
                with self.lock:
                    if not one.gone:
                        one.set_course(begins, ends)
            except StreamclusterError as error:
                self._policy.failed(one, error)

    def _open(self, replay: StoreReplay) -> bool:
        with self.lock:
            if replay.gone:
                return False
            replay.opens()
        store = None
        try:
            store = self._policy.open_store(replay)
        except StreamclusterError as error:
            self._policy.failed(replay, error)
        finally:
            with self.lock:
                replay.opened(store)
                self.lock.notify_all()
        return store is not None

    def _assign(self, active: Sequence[StoreReplay]) -> Consumer:
        """Give the consumer the logs of `active` that are to be read, and nothing else."""
        consumer, to_end = self._consumer.get(), self._pace.to_end
        logs = [log for one in active for log in one.logs]
        assign_only(consumer, [log for log in logs if not (log.finished and (to_end or self._is_bounded(log)))])
        return consumer

    def _is_bounded(self, log: Log) -> bool:
        return log.table in self._topic_rows

    def bounded(self, replays: Iterable[StoreReplay]) -> list[Log]:
        """The logs that are read up to where the app has got."""
        return [log for one in replays for log in one.logs if self._is_bounded(log)]

    def _take(self, taken: Sequence[Taken], active: Sequence[StoreReplay]) -> int:
        """Apply what came to the stores; return how many records that were."""
        batches = [one for one in taken if isinstance(one, Batch)]
        self._room.took(batches)
        owners = {log.tp: (one, log) for one in active for log in one.logs if log.assigned}
        for one in taken:
            if one.tp not in owners or not owners[one.tp][1].assigned:
                continue
            replay, log = owners[one.tp]
            try:
                if self._is_bounded(log) and self._pass_packed(replay, log, one):
                    continue
                if isinstance(one, Batch):
                    self._apply(replay, log, self._rows_of(one, log), one.next_offset)
                elif one.is_end:
                    # Its offset is the next one to read, behind whatever markers and holes the log ends with.
                    self._apply(replay, log, (), one.offset)
                else:
                    self._trouble(replay, log, one.error)
            except StreamclusterError as error:
                self._policy.failed(replay, error)
        return sum(len(batch.values) for batch in batches)

    def _pass_packed(self, replay: StoreReplay, log: Log, one: Taken) -> bool:
        """Look for the end of what the client cannot unpack, and go on behind it, as the agent has that read it."""
        instead = None if isinstance(one, Batch) else one
        if instead is not None and classify(instead.error) == "unreadable":
            behind = log.meets_packed(instead.offset)
        elif log.packed is not None and (instead is None or instead.error.code() in NOTHING_THERE):
            behind = log.meets_other()
        else:
            return False
        if behind is not None:
            _log.warning("Task %s: %s from %d to %d is passed over", replay.task, log.tp, log.next_offset, behind - 1)
            self._apply(replay, log, (), behind)
        return True

    def _rows_of(self, batch: Batch, log: Log) -> Iterable[tuple[bytes, bytes | None]]:
        made = self._topic_rows.get(log.table)
        if made is None:
            return rows_of(batch, is_dated=log.table in self._dated)
        count = batch.index_of(log.end_offset)
        return made.rows_of(batch.keys[:count], batch.values[:count])

    def _apply(
        self, replay: StoreReplay, log: Log, rows: Iterable[tuple[bytes, bytes | None]], next_offset: int
    ) -> None:
        if self._is_bounded(log):
            next_offset = min(next_offset, log.end_offset)
        with self.lock:
            if replay.gone or not replay.planned or next_offset <= log.next_offset:
                return
            replay.apply(log, rows, next_offset)

    def _trouble(self, replay: StoreReplay, log: Log, error: KafkaError) -> None:
        """An error that came in place of records."""
        what = f"Task {replay.task}, table {log.table}: reading {log.tp} at {log.next_offset}"
        verdict = classify(error)
        if verdict in ("retriable", "unreachable"):
            _log.warning("%s: %s; trying again", what, error.str())
        elif verdict == "unreadable":
            # Never passed over: what is in it belongs to the table. The task waits, and the others go on.
            reason = str(error_for(what, error))
            if reason != replay.error:
                _log.error("%s The task waits until the changelog can be read", reason)
            replay.wait(reason, _UNREADABLE_PAUSE_SECONDS)
        else:
            self._policy.refused(replay, what, error)

    def _end(self, replays: Iterable[StoreReplay]) -> None:
        """Hand over those that are at their ends, if that is all."""
        if not self._pace.to_end:
            return
        for one in replays:
            if one.is_at_end() and not one.gone:
                self._policy.at_end(one)
