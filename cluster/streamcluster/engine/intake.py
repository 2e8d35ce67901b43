"""RunIntake: the queue of runs of one coroutine, and how far that coroutine has come.

It holds the moves that commits rest on: `hold` cuts the run in hand behind the current event, so that the coroutine
comes to rest there; `one_at_a_time` has it settle before each event; `position` says the oldest offset of a partition
that it has not finished (I5).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Container, Hashable, Iterable

from ..current import Cursor, Run
from ..ids import TP, TaskId
from ..stream_joins.loops import Brings
from .clock import Clock
from .event_time.ordering import Ordering
from .hand import Hand
from .killers import Caution

# So many events come one at a time at the start, and again after a coroutine was met in the middle of an event. That
# costs 2.5 us each, nothing beside an await, and one that awaits seldom is soon as fast again as one that never does.
SINGLE_EVENTS = 1000
# A long run is cut into pieces of so many events before single ones are cut off: each cut copies what is left.
PIECE_EVENTS = 64
# After so many events of which each is looked at, others have a turn.
STRICT_EVENTS = 64


class RunIntake:
    """Implements `streams.Intake`.

    Args:
        on_rest: called when the coroutine comes to rest, and when others have a turn between two of its events.
        settle: called when every event that was handed out is finished, before the next one, while events come one at
            a time. False: the last event failed by what it wrote, and nothing more may be handed out.
        enter: called with each run that is handed out.
        settles: settle after every run, also while runs are handed out whole.
        caution: says whether a run may be handed out now, and is told of each.
    """

    __slots__ = (
        "_caution",
        "_clock",
        "_enter",
        "_holders",
        "_on_rest",
        "_settle",
        "_settles",
        "_single_left",
        "_stopped",
        "_strict_count",
        "_waiter",
        "brings",
        "cursor",
        "done",
        "flush",
        "hand",
        "is_begun",
        "is_ended",
        "kept",
        "leave",
        "now",
        "only",
        "order",
        "others",
        "queue",
        "reader",
        "strict",
        "unsettled",
    )

    def __init__(
        self,
        cursor: Cursor,
        clock: Clock,
        on_rest: Callable[[], None],
        settle: Callable[[], bool],
        caution: Caution,
        enter: Callable[[Run], None] | None = None,
        *,
        settles: bool = False,
    ) -> None:
        self.cursor = cursor
        self._clock = clock
        self.now = clock.now
        self._on_rest = on_rest
        self._settle = settle
        self._enter = enter
        self._settles = settles
        self._caution = caution
        # Who iterates, and what to call when its loop is left (leaving.py).
        self.reader: object = None
        self.leave: Callable[[], None] | None = None
        # Since this was set to False.
        self.is_begun = False
        # What the run in hand brings to a join, whose loop may be left in between (stream_joins/loops.py).
        self.brings: Brings | None = None
        self._waiter: asyncio.Future[None] | None = None
        # A run said that it must not be passed, or the last event failed by what it wrote.
        self._stopped = False
        # The coroutine was ended: it gets no event, also if it goes on.
        self.is_ended = False
        self._single_left = SINGLE_EVENTS
        # Every event comes alone, and what it wrote is looked at when it ends.
        self.strict = False
        self._strict_count = 0
        # While set, only this task's runs are handed out: an event of it is tried alone.
        self.only: TaskId | None = None
        # Of several inputs, where something goes by event time.
        self.order: Ordering | None = None
        # Those who may wait for what is done here.
        self.others: tuple[RunIntake, ...] = ()
        # Runs were finished and not settled since.
        self.unsettled = False
        self.kept = cursor.kept
        self.queue: deque[Run] = deque()
        # TP -> offset behind the last finished run.
        self.done: dict[TP, int] = {}
        # Where what its coroutine does goes now.
        self.hand: Hand | None = None
        # Who wants it to rest.
        self._holders: set[Hashable] = set()
        self.flush = False

    # What streams call

    def begin(self) -> None:
        """An iteration starts: what an earlier one left comes again. A batch in the body counts as finished.

        An event that has brought several pairs is in hand until the last of them was handed out.
        """
        self.is_begun = True
        if self.brings is not None and self.cursor.run is not None:
            return
        self.finish()
        if not self.kept.handed_out:
            self.give_back()
        self.kept.clear()
        self._caution.leave(self)

    def give_back(self, leaving: frozenset[TaskId] = frozenset()) -> None:
        """Queue the buffered events again, but those of the tasks that leave."""
        for run, index in reversed(self.kept.events):
            if run.task in leaving:
                continue
            offset, value = run.offset(index), run.values[index]
            again = Run(run.task, run.batch, [value], offset + 1, run.decode_key, start=run.start + index)
            self.queue.appendleft(again)
            self.done[run.tp] = min(offset, self.done.get(run.tp, offset))
        self.kept.handed_out = False
        self.kept.clear()

    async def next_run(self, timeout: float | None = None) -> Run | None:
        """Finish the run in hand and wait for the next one; None on time-out, or when kept events are wanted."""
        self.finish()
        if self.others:
            wake(self.others)
        if self.strict:
            self._strict_count += 1
            if self._strict_count % STRICT_EVENTS == 0:
                # What each event wrote is encoded, so thousands of them take seconds: the loop must turn meanwhile.
                self._on_rest()
                await asyncio.sleep(0)
        deadline = None if timeout is None else self.now() + timeout
        while not self._may_enter():
            if self._wants_kept(deadline):
                if self.hand is not None and self.hand.rests:
                    self.hand.wake()
                return None
            await self._rest(None if deadline is None or self.held else deadline - self.now())
        run = self._next()
        assert run is not None
        self.queue.remove(run)
        if self.order is not None:
            if run.values and (count := self.order.count(run, self.queue)) < len(run.values):
                self.queue.appendleft(run)
                run = run.split(count)
            self.order.entered()
        if self._single_left or self.strict or self._caution.suspects:
            run = self._single(run)
        self._caution.enter(self, self.cursor.owner, run)
        if self._enter is not None:
            self._enter(run)
        self.cursor.run = run
        self.cursor.iterator = iter(run.values)
        if self.hand is not None and self.hand.rests:
            self.hand.wake()
        return run

    def _next(self) -> Run | None:
        """The run to hand out next."""
        if self.order is not None and not self._caution.suspects:
            return self.order.first(self.queue)
        if self.only is None and not self._caution.suspects:
            return self.queue[0] if self.queue else None
        runs = (run for run in self.queue if self.only is None or run.task == self.only)
        return self._caution.first(runs, self.wake) if self._caution.suspects else next(runs, None)

    def _single(self, run: Run) -> Run:
        """The first event of the run; the others wait."""
        if self._single_left:
            self._single_left -= 1
        for count in (PIECE_EVENTS, 1):
            if len(run.values) > count:
                self.queue.appendleft(run.cut(count))
        return run

    def _may_enter(self) -> bool:
        if self.held or not self.queue or self._stopped:
            return False
        run = self._next()
        if run is None or (self._caution.suspects and not self._caution.is_free(run, self.wake)):
            return False
        before = run.before
        if before is None:
            return True
        # What it does is committed with the position behind it, so nothing before it may be unfinished.
        if self.kept.events:
            return False
        self._stopped = not before()
        return not self._stopped

    def _wants_kept(self, deadline: float | None) -> bool:
        """take() is to hand out what it has: time is up, a trial waits for it, or the next run must not pass it."""
        if self.held or not self.kept.events or self._stopped:
            return False
        is_alone = self._caution.holder is self
        return self.flush or is_alone or bool(self.queue) or (deadline is not None and self.now() >= deadline)

    async def _rest(self, seconds: float | None) -> None:
        if self.is_ended:
            # Its code has swallowed the cancellation, as a bare `except:` does, and asks for more.
            raise asyncio.CancelledError
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        alarm = None if seconds is None else self._clock.call_later(seconds, self.wake)
        if self.hand is not None and not self.hand.rests and not self._stopped:
            self.hand.rest()
        self._on_rest()
        try:
            await waiter
        finally:
            self._waiter = None
            if alarm is not None:
                alarm.cancel()

    def finish(self) -> None:
        """The events that were handed out are done with; others of the run in hand, left by `break`, come again."""
        run = self.cursor.run
        if self._single_left or self.strict or self._settles:
            if not self._settle():
                # What the event wrote cannot be committed: it is not finished, and a rollback follows.
                self._stopped = True
                return
            self.unsettled = False
        elif run is not None:
            self.unsettled = True
        if run is not None:
            self._put_back(run)
            # A reader that was ahead of the committed position gets empty runs until it is reached: it stays ahead.
            self.done[run.tp] = max(run.next_offset, self.done.get(run.tp, 0))
            self.cursor.run = None
            self.cursor.iterator = iter(())
        if not self.kept.events:
            self._caution.leave(self)

    def _put_back(self, run: Run) -> None:
        count = self.cursor.consumed_count()
        if count < len(run.values):
            self.queue.appendleft(run.cut(count))

    # What the engine calls

    def drop_runs(self, tasks: Container[TaskId]) -> None:
        """Forget what waits of these tasks."""
        self.queue = deque(run for run in self.queue if run.task not in tasks)

    def forget(self) -> None:
        """Forget the run in hand and what was kept."""
        self.brings = None
        self.kept.handed_out = False
        self.kept.clear()
        self._stopped = self.unsettled = False
        self.cursor.run = None
        self.cursor.iterator = iter(())
        self._caution.leave(self)

    @property
    def resting(self) -> bool:
        """No event is half done in the coroutine."""
        return self._waiter is not None

    @property
    def idle(self) -> bool:
        """Resting, with nothing queued that it may hand out."""
        if self._waiter is None:
            return False
        return not self.queue or self._stopped or (self.order is not None and self._next() is None)

    def one_at_a_time(self, count: int = SINGLE_EVENTS) -> None:
        """Hand out so many events one at a time, from the one behind the event in hand on."""
        self._single_left = max(self._single_left, count)
        if self.cursor.run is not None:
            self._put_back(self.cursor.run)

    def push(self, run: Run) -> None:
        """Add a run behind the others."""
        self.queue.append(run)
        if not self.held:
            self.wake()
        if self.others:
            wake(self.others)

    def wake(self) -> bool:
        """Let the coroutine look again. False: nobody waits."""
        if self._waiter is None or self._waiter.done():
            return False
        self._waiter.set_result(None)
        return True

    @property
    def held(self) -> bool:
        """It comes to rest after the current event, or rests already."""
        return bool(self._holders)

    def take_only(self, task: TaskId | None) -> None:
        """Hand out runs of this task alone, from the next event on, since one of it is tried; None: of all again."""
        if task is not None and self.cursor.run is not None:
            self._put_back(self.cursor.run)
        self.only = task
        self.wake()

    def hold(self, by: Hashable) -> None:
        """Come to rest after the current event, until all who asked for it have released it.

        What is behind that event in the run in hand goes back to the queue.
        """
        if not self._holders and self.cursor.run is not None:
            self._put_back(self.cursor.run)
        self._holders.add(by)

    def release(self, by: Hashable) -> None:
        """Go on after `hold`, unless others hold it too."""
        if by in self._holders:
            self._holders.discard(by)
            if not self._holders:
                self.wake()

    def position(self, tp: TP, done: int) -> int:
        """The oldest offset of `tp` that is not finished. done: behind all that was handed out and finished."""
        for kept_tp, offset in self.kept.offsets() if self.kept.events else ():
            if kept_tp == tp:
                return offset
        return done

    def suspects(self) -> list[tuple[TP, int]]:
        """The events that a failure now belongs to: those kept by take(), and the current one."""
        found = list(dict.fromkeys(self.kept.offsets()))
        current = self.current()
        if current is not None and current not in found:
            found.append(current)
        return found

    def current(self) -> tuple[TP, int] | None:
        """The event in hand."""
        run, index = self.cursor.run, self.cursor.index()
        return None if run is None or index is None else (run.tp, run.offset(index))


def wake(intakes: Iterable[RunIntake]) -> None:
    """Let those of them look again that may have waited for what another one does."""
    for intake in intakes:
        if intake.queue and not intake.held:
            intake.wake()
