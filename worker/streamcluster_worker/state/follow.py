"""Keeps the stores of standbys at the ends of their changelogs: one thread and one consumer for all of a worker's.

It is never in a hurry: it takes half of a core at most, steps aside while a task is restored, and sleeps at the broker
while nothing is written. It knows no event loop and no life cycle. What stands in its way is told in `Standing`, and
tried again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from streamcluster.config.security import QUIET_SECONDS
from streamcluster.errors import BrokerUnreachable, StreamclusterError
from streamcluster.ids import TP, TaskId
from streamcluster.kafka.config import FOLLOWER_PART
from streamcluster.kafka.offsets import Offsets
from streamcluster.kafka.opening import Connection, Consumer, Message, end_seen
from streamcluster.kafka.verdicts import classify, error_for
from streamcluster.memory import shares_of
from streamcluster.printable import repr_of
from streamcluster.protocol.messages import LAG_UNKNOWN
from streamcluster.settings import Settings
from streamcluster.stores import TaskStore

from ..data.batch_room import BatchRoom
from ..kafka.consumers import open_follower_consumer
from ..watch import OWN_THREAD
from .changelogs import Log, assign_only, offset_of, rows_of, runs_of, set_course

_log = logging.getLogger("streamcluster.follow")
_T = TypeVar("_T")
# 2 ms of work, which is how long the data plane may have to wait for Python's lock.
_BATCH_RECORDS = 1_000
# How long the thread waits for records before it looks at its orders again.
_IDLE_SECONDS = 0.2
# How long it steps aside for a task that was followed here and is granted: its first commit must not wait for the rest.
_PROMOTION_SECONDS = 2.0
# How long it steps aside before it looks whether a task is still being restored.
_ASIDE_SECONDS = 0.05
_ASK_SECONDS = 2.0
# Every so often one task's logs are asked for their ends, in turn: a consumer does not notice for minutes that a topic
# is gone, or another one.
_CHECK_SECONDS = 1.0
_PAUSE_SECONDS = (0.1, 10.0)
# Nearer than this to the end, what comes is no restore: the store is tuned for reads.
_NEAR_RECORDS = 10_000


class OpensStores(Protocol):
    """Where the stores are: `stores.Stores`, and a dict in tests. May be called from any thread."""

    def open(self, task: TaskId) -> TaskStore:
        """The store of a task, opened at the first call."""
        ...

    def close(self, task: TaskId) -> None:
        """Close it, if it is open."""
        ...


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a standby is. lag: per changelog; restored, total: of the records that it was far behind by.

    store: None while it is not open. error: why it does not get on, None while it does.
    """

    lag: dict[str, int]
    restored: int
    total: int
    store: TaskStore | None
    error: str | None


@dataclass(slots=True)
class _Followed:
    """One task that is followed."""

    task: TaskId
    logs: list[Log]
    store: TaskStore | None = None
    # time.monotonic() when its logs were last asked for their ends.
    asked: float = 0.0
    # The store is being opened, by the thread.
    opening: bool = False
    # Where the logs begin and end was asked, and the store fits.
    planned: bool = False
    # Not ours any more: its store may not be touched.
    gone: bool = False
    # It was near the end: its store is tuned for reads, and stays so.
    near: bool = False
    # time.monotonic() before which it is not tried again, and for how long that was put off.
    due: float = 0.0
    pause: float = _PAUSE_SECONDS[0]
    error: str | None = None

    def lag(self) -> int:
        return sum(max(0, log.end_offset - log.next_offset) for log in self.logs)

    def standing(self) -> Standing:
        if not self.planned:
            lag = {log.tp.topic: LAG_UNKNOWN for log in self.logs}
            return Standing(lag, 0, 0, self.store, self.error)
        # The offsets are read once, and it is near by what they say: the thread goes on meanwhile, and looks later.
        offsets = [(log, log.next_offset) for log in self.logs]
        lag = {log.tp.topic: max(0, log.end_offset - next_offset) for log, next_offset in offsets}
        if self.near or sum(lag.values()) <= _NEAR_RECORDS:
            return Standing(lag, 0, 0, self.store, self.error)
        restored = sum(next_offset - log.first_offset for log, next_offset in offsets)
        return Standing(lag, restored, restored + sum(lag.values()), self.store, self.error)


class Follower:
    """Follows tasks in a thread of its own, which begins with the first of them."""

    def __init__(
        self,
        settings: Settings,
        connection: Connection,
        offsets: Offsets,
        stores: OpensStores,
        must_step_aside: Callable[[], bool] = lambda: False,
    ) -> None:
        """Nothing is opened yet.

        Args:
            settings: the app's settings.
            connection: gets the news of the brokers.
            offsets: asks for the ends of changelogs.
            stores: where the stores are. Those that it opens stay open, for whoever goes on with them.
            must_step_aside: whether others need the processor more; called from the thread.
        """
        self._settings = settings
        self._room = BatchRoom(_BATCH_RECORDS, shares_of(settings).prefetch // FOLLOWER_PART)
        self._connection = connection
        self._offsets = offsets
        self._stores = stores
        self._must_step_aside = must_step_aside
        # Guards _followed and every touch of an open store, so that after leave() nobody touches the task's store.
        self._lock = threading.Condition()
        self._followed: dict[TaskId, _Followed] = {}
        self._stopping = False
        self._consumer: Consumer | None = None
        # time.monotonic() when it brought something, or had nothing to bring.
        self._heard_at = 0.0
        self._thread: threading.Thread | None = None
        # time.monotonic() when the ends are looked at again, and when a task's are asked for again.
        self._next_look = self._next_check = 0.0
        # Until then the processor is for a task that was followed here and is about to run.
        self._aside_until = 0.0

    def follow(self, task: TaskId, logs: Iterable[tuple[str, str, int]]) -> None:
        """Open the store of `task` soon, and keep it at the end of its logs: (table, changelog topic, partition)."""
        followed = _Followed(task, [Log(table, TP(topic, partition)) for table, topic, partition in logs])
        with self._lock:
            self._followed[task] = followed
            self._lock.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"{OWN_THREAD}follow", daemon=True)
                self._thread.start()

    def leave(self, tasks: Iterable[TaskId]) -> None:
        """Follow these no more; when this returns their stores are the caller's. Waits for one batch, or one open."""
        with self._lock:
            left = [self._followed.pop(task) for task in tasks if task in self._followed]
            self._aside_until = time.monotonic() + _PROMOTION_SECONDS
            for followed in left:
                followed.gone = True
            while any(followed.opening for followed in left):
                self._lock.wait()

    def drop(self, tasks: Iterable[TaskId]) -> None:
        """Follow these no more, and close their stores."""
        dropped = tuple(tasks)
        self.leave(dropped)
        for task in dropped:
            self._stores.close(task)

    def standing(self, task: TaskId) -> Standing | None:
        """How far `task` is; None when it is not followed. Does not wait."""
        followed = self._followed.get(task)
        return followed.standing() if followed is not None else None

    def read(self, look: Callable[[Mapping[TaskId, Standing]], _T]) -> _T:
        """What `look` says of everything that is followed; meanwhile no store is written or closed. May wait."""
        with self._lock:
            return look({task: followed.standing() for task, followed in sorted(self._followed.items())})

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread; the stores stay open, as far as they are."""
        with self._lock:
            self._stopping = True
            for followed in self._followed.values():
                followed.gone = True
            self._followed.clear()
            self._lock.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._step()
            except Exception as error:  # noqa: BLE001
                # The thread's boundary. A standby that lags is seen; one that is not there at all would be worse.
                _log.exception("following changelogs")
                self._drop_consumer()
                for followed in list(self._followed.values()):
                    self._put_off(followed, repr_of(error))
        self._drop_consumer()

    def _step(self) -> None:
        """Open what is new, keep what is open assigned, apply what has come, and rest as long as that took."""
        with self._lock:
            while not self._followed and not self._stopping:
                self._drop_consumer()
                self._lock.wait()
            if self._must_step_aside() or time.monotonic() < self._aside_until:
                self._heard_at = time.monotonic()
                self._lock.wait(_ASIDE_SECONDS)
                return
            followed = list(self._followed.values())
        began = time.monotonic()
        for one in followed:
            if not one.planned and one.due <= time.monotonic() and not self._stopping:
                self._prepare(one)
        active = [one for one in followed if one.planned and one.logs]
        if not active:
            with self._lock:
                if self._followed.keys() == {one.task for one in followed}:
                    self._lock.wait(_IDLE_SECONDS)
            return
        if self._consumer is None:
            self._consumer = open_follower_consumer(self._settings, self._connection)
            self._heard_at = time.monotonic()
        consumer = self._consumer
        assign_only(consumer, [log for one in active for log in one.logs])
        wanted = self._room.records()
        messages = consumer.consume(wanted, 0)
        if not messages:
            messages = consumer.consume(1, _IDLE_SECONDS)
            began = time.monotonic()
            messages += consumer.consume(wanted, 0) if messages else []
        self._room.took(messages)
        self._take(messages, active)
        self._look(consumer, active)
        if messages or not any(one.lag() for one in active):
            self._heard_at = time.monotonic()
        elif time.monotonic() - self._heard_at >= QUIET_SECONDS:
            self._drop_consumer()
        if len(messages) >= wanted:
            with self._lock:
                self._lock.wait(min(_IDLE_SECONDS, time.monotonic() - began))

    def _prepare(self, followed: _Followed) -> None:
        """Open the store, ask where the logs begin and end, and set their course."""
        with self._lock:
            if followed.gone:
                return
            followed.opening = True
        if followed.error is not None:
            # A consumer keeps what it knew of a topic that was made anew, and never gets on with it.
            self._drop_consumer()
        try:
            store = self._stores.open(followed.task)
        except StreamclusterError as error:
            self._put_off(followed, str(error))
            return
        finally:
            with self._lock:
                followed.opening = False
                self._lock.notify_all()
        tps = [log.tp for log in followed.logs]
        try:
            ends = self._offsets.end_offsets(tps, timeout=_ASK_SECONDS)
            begins = self._offsets.begin_offsets(tps, timeout=_ASK_SECONDS)
            with self._lock:
                if not followed.gone:
                    followed.store = store
                    set_course(followed.task, store, followed.logs, begins, ends)
                    followed.near = followed.lag() <= _NEAR_RECORDS
                    followed.planned = True
                    followed.asked = time.monotonic()
        except BrokerUnreachable as error:
            # That brokers are away is said of the worker, and is no fault of a standby.
            _log.debug("standby of task %s: %s", followed.task, error)
            self._put_off(followed, None)
        except StreamclusterError as error:
            self._put_off(followed, str(error))

    def _take(self, messages: Sequence[Message], active: Sequence[_Followed]) -> None:
        """Apply a batch to the stores."""
        owners = {log.tp: (one, log) for one in active for log in one.logs}
        for tp, error, run in runs_of(messages):
            if tp not in owners:
                continue
            followed, log = owners[tp]
            try:
                if error is None:
                    self._apply(followed, log, rows_of(run), offset_of(run[-1]) + 1)
                elif error.name() == "_PARTITION_EOF":
                    # Its offset is the next one to read, behind whatever markers and holes the log ends with.
                    self._apply(followed, log, [], offset_of(run[-1]))
                elif classify(error) not in ("retriable", "unreachable"):
                    # Above all a log that was trimmed, or made anew, under us: begin again, maybe with an empty store.
                    self._put_off(followed, str(error_for(f"Reading {log.tp} at {log.next_offset}", error)))
            except StreamclusterError as problem:
                self._put_off(followed, str(problem), close=True)

    def _apply(self, followed: _Followed, log: Log, rows: list[tuple[bytes, bytes | None]], next_offset: int) -> None:
        with self._lock:
            if followed.gone or not followed.planned or next_offset <= log.next_offset:
                return
            assert followed.store is not None
            if followed.near:
                followed.store.write({log.table: dict(rows)}, {log.table: next_offset})
            else:
                followed.store.restore(log.table, rows, next_offset)
            log.next_offset = next_offset
        followed.error = None
        followed.pause = _PAUSE_SECONDS[0]

    def _look(self, consumer: Consumer, active: Sequence[_Followed]) -> None:
        """Note now and then how far the logs have grown; each fetch brought the news."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _IDLE_SECONDS
        for followed in active:
            for log in followed.logs:
                log.end_offset = max(log.end_offset, end_seen(consumer, log.tp) or 0)
            followed.near = followed.near or followed.lag() <= _NEAR_RECORDS
        if now >= self._next_check:
            self._next_check = now + _CHECK_SECONDS
            oldest = min(active, key=lambda one: one.asked)
            if (reason := _ask_ends(oldest, self._offsets)) is not None:
                self._put_off(oldest, reason)

    def _put_off(self, followed: _Followed, error: str | None, *, close: bool = False) -> None:
        """Begin again with this one after a pause. close: with its store, too: it refused a write."""
        if error is not None and error != followed.error:
            _log.warning("standby of task %s: %s", followed.task, error)
        with self._lock:
            followed.planned = False
            followed.error = error
            followed.due = time.monotonic() + followed.pause
            followed.pause = min(_PAUSE_SECONDS[1], 2 * followed.pause)
            if close and not followed.gone:
                followed.store = None
                self._stores.close(followed.task)

    def _drop_consumer(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None


def _ask_ends(followed: _Followed, offsets: Offsets) -> str | None:
    """Ask whether its logs are still there, and at least as long as what was read of them; return why not."""
    followed.asked = time.monotonic()
    try:
        ends = offsets.end_offsets([log.tp for log in followed.logs], timeout=_ASK_SECONDS)
    except BrokerUnreachable:
        return None
    except StreamclusterError as error:
        return str(error)
    for log in followed.logs:
        log.end_offset = max(log.end_offset, ends[log.tp])
        if ends[log.tp] < log.next_offset:
            return f"{log.tp} ends at {ends[log.tp]}, before {log.next_offset}, which was read"
    return None
