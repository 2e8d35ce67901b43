"""Keeps the stores of standbys at the ends of their changelogs: one thread and one consumer for all of a worker's.

It is never in a hurry: it takes half of a core at most, steps aside while a task is restored, and sleeps at the broker
while nothing is written. What stands in its way is told in `Standing`, and tried again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

import msgspec

from streamcluster.engine.topic_rows import TopicRows
from streamcluster.errors import BrokerUnreachable, StreamclusterError
from streamcluster.ids import TP, TaskId
from streamcluster.kafka.config import FOLLOWER_PART
from streamcluster.kafka.offsets import Offsets
from streamcluster.kafka.opening import Connection, Consumer, KafkaError, end_seen
from streamcluster.kafka.verdicts import error_for
from streamcluster.memory import shares_of
from streamcluster.printable import repr_of
from streamcluster.protocol.messages import LAG_UNKNOWN
from streamcluster.settings import Settings
from streamcluster.stores import StoreFailed, TaskStore

from ..kafka.consumers import open_follower_consumer
from .changelogs import NEAR_RECORDS, Log, StoreReplay
from .replay import NO_TOPIC_ROWS, Pace, Replay

_log = logging.getLogger("streamcluster.follow")
_T = TypeVar("_T")
# 2 ms of work, which is how long the data plane may have to wait for Python's lock.
_BATCH_RECORDS = 1_000
_IDLE_SECONDS = 0.2
# How long it steps aside for a task that was followed here and is granted: its first commit must not wait for the rest.
_PROMOTION_SECONDS = 2.0
ASK_SECONDS = 2.0
# Every so often one task's logs are asked for their ends, in turn: a consumer does not notice for minutes that a topic
# is gone, or another one.
_CHECK_SECONDS = 1.0


class OpensStores(Protocol):
    """Where the stores are: `stores.Stores`, and a dict in tests. May be called from any thread."""

    def open(self, task: TaskId) -> TaskStore:
        """The store of a task, opened at the first call."""
        ...

    def close(self, task: TaskId) -> None:
        """Close it, if it is open."""
        ...


class Standing(msgspec.Struct, frozen=True):
    """How far a standby is. lag: per changelog; restored, total: of the records that it was far behind by.

    store: None while it is not open. error: why it does not get on, None while it does.
    """

    lag: dict[str, int]
    restored: int
    total: int
    store: TaskStore | None
    error: str | None


class Follower:
    """The policy for tasks that others run."""

    def __init__(
        self,
        settings: Settings,
        connection: Connection,
        offsets: Offsets,
        stores: OpensStores,
        must_step_aside: Callable[[], bool] = lambda: False,
        *,
        dated: Collection[str] = (),
        topic_rows: Mapping[str, TopicRows] = NO_TOPIC_ROWS,
        positions: Callable[[Sequence[Log]], Mapping[TP, int]] = lambda _: {},
    ) -> None:
        """Nothing is opened yet.

        Args:
            settings: the app's settings.
            connection: gets the news of the brokers.
            offsets: asks for the ends of changelogs.
            stores: where the stores are. Those that it opens stay open, for whoever goes on with them.
            must_step_aside: whether others need the processor more; called from the thread.
            dated: the tables whose rows have dates.
            topic_rows: of the tables whose changelog is the topic that they are made of.
            positions: asks how far the agents are that read these topics.
        """
        self._settings = settings
        self._connection = connection
        self._stores = stores
        self._others_first = must_step_aside
        bytes_max = shares_of(settings).prefetch // FOLLOWER_PART
        pace = Pace("follow", _BATCH_RECORDS, bytes_max, _IDLE_SECONDS, ASK_SECONDS, to_end=False)
        self._positions = positions
        self._replay = Replay(self, pace, offsets, dated, topic_rows)
        # time.monotonic() when the ends are looked at again, and when a task's are asked for again.
        self._next_look = self._next_check = 0.0
        # Until then the processor is for a task that was followed here and is about to run.
        self._aside_until = 0.0

    def follow(self, task: TaskId, logs: Iterable[tuple[str, str, int]]) -> None:
        """Open the store of `task` soon, and keep it at the end of its logs: (table, changelog topic, partition)."""
        self._replay.add(StoreReplay.of(task, logs))

    def leave(self, tasks: Iterable[TaskId]) -> None:
        """Follow these no more; when this returns their stores are the caller's. Waits for one batch, or one open."""
        self._aside_until = time.monotonic() + _PROMOTION_SECONDS
        self._replay.remove(tasks)

    def drop(self, tasks: Iterable[TaskId]) -> None:
        """Follow these no more, and close their stores."""
        dropped = tuple(tasks)
        self.leave(dropped)
        for task in dropped:
            self._stores.close(task)

    def standing(self, task: TaskId) -> Standing | None:
        """How far `task` is; None when it is not followed. Does not wait."""
        replay = self._replay.stores.get(task)
        return _standing(replay) if replay is not None else None

    def read(self, look: Callable[[Mapping[TaskId, Standing]], _T]) -> _T:
        """What `look` says of everything that is followed; meanwhile no store is written or closed. May wait."""
        with self._replay.lock:
            return look({task: _standing(replay) for task, replay in sorted(self._replay.stores.items())})

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread; the stores stay open, as far as they are."""
        self._replay.stop(timeout)

    # The policy

    def open_consumer(self) -> Consumer:
        """One that stays at the ends of logs at little cost."""
        return open_follower_consumer(self._settings, self._connection)

    def open_store(self, replay: StoreReplay) -> TaskStore:
        """It may be open, from an earlier try."""
        return self._stores.open(replay.task)

    def rests(self) -> None:
        """Nothing changes by that."""

    def bounds(self, logs: Sequence[Log]) -> Mapping[TP, int]:
        """As far as the owners have committed: what is behind that is not in the tables yet."""
        return self._positions(logs)

    def must_step_aside(self) -> bool:
        """For whoever is restored, or was followed here and is about to run."""
        return self._others_first() or time.monotonic() < self._aside_until

    def choose(self, able: list[StoreReplay]) -> list[StoreReplay]:
        """All."""
        return able

    def stepped(self, active: list[StoreReplay], consumer: Consumer, records: int, *, full: bool, began: float) -> None:
        """Note how far the logs have grown, and rest as long as the work took while there is more."""
        self._look(consumer, active)
        if full:
            with self._replay.lock:
                self._replay.lock.wait(min(_IDLE_SECONDS, time.monotonic() - began))

    def at_end(self, replay: StoreReplay) -> None:
        """It goes on there."""

    def refused(self, replay: StoreReplay, what: str, error: KafkaError) -> None:
        """Above all its log was trimmed, or made anew, under us: begin again, maybe with an empty store."""
        self.failed(replay, error_for(what, error))

    def failed(self, replay: StoreReplay, error: Exception) -> None:
        """Begin again after a pause; with its store, too, if that refused a write."""
        if isinstance(error, BrokerUnreachable):
            # That brokers are away is said of the worker, and is no fault of a standby.
            _log.debug("standby of task %s: %s", replay.task, error)
            reason = None
        else:
            reason = str(error) if isinstance(error, StreamclusterError) else repr_of(error)
        self._replay.put_off(replay, reason)
        if isinstance(error, StoreFailed):
            self._replay.drop_store(replay, self._stores.close)

    def _look(self, consumer: Consumer, active: list[StoreReplay]) -> None:
        """Note now and then how far the logs have grown; each fetch brought the news."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _IDLE_SECONDS
        bounded = {log.tp: log for log in self._replay.bounded(active)}
        for replay in active:
            replay.look({log.tp: end_seen(consumer, log.tp) or 0 for log in replay.logs if log.tp not in bounded})
        if now >= self._next_check:
            self._next_check = now + _CHECK_SECONDS
            oldest = min(active, key=lambda one: one.asked)
            try:
                bounds = self.bounds([*bounded.values()]) if bounded else {}
                for replay in active:
                    replay.look(bounds)
                self._replay.ask_ends(oldest)
            except BrokerUnreachable:
                # As above: what was read stays, and more comes when they are back.
                _log.debug("the ends of %s are not known", oldest.task)
            except StreamclusterError as error:
                self.failed(oldest, error)


def _standing(replay: StoreReplay) -> Standing:
    if not replay.planned:
        lag = {log.tp.topic: LAG_UNKNOWN for log in replay.logs}
        return Standing(lag, 0, 0, replay.store, replay.error)
    # The offsets are read once, and it is near by what they say: the thread goes on meanwhile, and looks later.
    offsets = [(log, log.next_offset) for log in replay.logs]
    lag = {log.tp.topic: max(0, log.end_offset - next_offset) for log, next_offset in offsets}
    if replay.near or sum(lag.values()) <= NEAR_RECORDS:
        return Standing(lag, 0, 0, replay.store, replay.error)
    restored = sum(next_offset - log.first_offset for log, next_offset in offsets)
    return Standing(lag, restored, restored + sum(lag.values()), replay.store, replay.error)
