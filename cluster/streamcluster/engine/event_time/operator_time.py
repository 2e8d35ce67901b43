"""OperatorTime: the time T of one operator in one task: the least of its live inputs' watermarks.

    committed <= finished <= now()

`committed`: as the last commit has it: what is due goes by that. `finished`: behind the last finished event of each
input. `now()`: at the event in hand, whose own partition counts up to and with that event. So what is closed was late
for whoever is in the middle of an event.

An input is left out while it is idle, and when it comes back until it has caught up. T never goes back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from ...current import Cursor
from ...ids import TP
from ...times import FOREVER, NO_TIME
from .least import time_of_inputs
from .watermarks import Mark


@dataclass(frozen=True, slots=True)
class InputState:
    """An input of an operator now: what is known behind its finished events; idle_since: None while it is not.

    is_read_again: not even so much, until it has been read up to them again, for a unit that is behind. age: so old, in
    ms, its records come, beside those of other inputs (`topology.units.WrittenTopic`).
    """

    mark: Mark
    idle_since: float | None = None
    is_read_again: bool = False
    age: int = 0

    def watermark(self, time: int) -> tuple[int, bool]:
        """With whether it is idle. time: T, which what is read again once was no less than, and holds."""
        if self.is_read_again:
            return max(time, self.mark.watermark), False
        return self.mark.watermark, self.idle_since is not None


def is_live(state: InputState, idle_after: int) -> bool:
    """The last record of an input was no older than `idle_after` when it was read, or than records of it always are.

    Of what is uploaded later nobody knows how old the next record will be.
    """
    mark = state.mark
    return mark.last != NO_TIME and mark.last >= mark.read_at - idle_after - state.age


def time_run_on(states: Collection[InputState], idle_after: int, wall: int) -> int:
    """T by the wall clock, while nothing comes: the time since the last record was read is added to it.

    Only behind live data; and so far behind the clock as records may be that still come.
    """
    behind = max([state.age for state in states], default=0)
    marks = [state.mark for state in states if is_live(state, idle_after)]
    return min(wall, max([mark.watermark + max(0, wall - mark.read_at) for mark in marks], default=NO_TIME)) - behind


class OperatorTime:
    """Of one operator in one task.

    inputs: its partitions, and how each is now; more may come. idle_after: how long all must be idle, in ms, until T
    runs on with the wall clock; None: it never does.
    """

    __slots__ = (
        "_add",
        "_expecting",
        "_floors",
        "by_wall",
        "committed",
        "finished",
        "idle_after",
        "idle_since",
        "inputs",
        "lapsed_committed",
        "lapsed_total",
        "late_committed",
        "late_total",
        "looks",
        "name",
        "told",
    )

    def __init__(
        self,
        name: str,
        inputs: dict[TP, Callable[[], InputState]],
        add: Callable[[TP], Callable[[], InputState]],
        idle_after: int | None,
        committed: int = NO_TIME,
        late: int = 0,
        lapsed: int = 0,
        *,
        by_wall: bool = False,
    ) -> None:
        """add: asked for a partition that nobody has said it reads, once an event of that asks for the time.

        by_wall: it is the time of day, whatever its inputs have.
        """
        self.name = name
        self.inputs = inputs
        self.idle_after = idle_after
        self.by_wall = by_wall
        self.committed = self.finished = committed
        # What `bounds` says is the same while this is.
        self.looks = 0
        # Events that were late: ever, and as of the last commit.
        self.late_total = self.late_committed = late
        # And rows that came due before they were written, which were not written then (lapsing.py).
        self.lapsed_total = self.lapsed_committed = lapsed
        # Since when all inputs are idle.
        self.idle_since: float | None = None
        self._add = add
        # Partition -> what the others let T be at most, as of the last look.
        self._floors: dict[TP, int] = {}
        # What is told of places of new rows.
        self._expecting: list[Callable[[int], None]] = []
        # Of places from this one on nothing need be told, at the moment.
        self.told = FOREVER

    def now(self, cursor: Cursor) -> int:
        """T at the event in hand."""
        run = cursor.run
        if cursor.kept.handed_out:
            ends = cursor.kept.last_of_each()
            return max([self.finished, *[self._at(run.tp, run.batch.watermarks, run.start + at) for run, at in ends]])
        if run is None:
            return self.finished
        count = len(run.values) - cursor.iterator.__length_hint__()
        at = self._at(run.tp, run.batch.watermarks, run.start + count - 1) if count else NO_TIME
        return at if at > self.finished else self.finished

    def bounds(self, tp: TP) -> tuple[int, int]:
        """T at an event of this partition is its watermark there, but no less and no more than these.

        That is so until the coroutine awaits.
        """
        floor = self._floors.get(tp)
        if floor is None:
            self._at(tp, None, 0)
            floor = self._floors[tp]
        return self.finished, floor

    def _at(self, tp: TP, watermarks: list[int] | None, index: int) -> int:
        if (floor := self._floors.get(tp)) is None:
            self.inputs[tp] = self._add(tp)
            floor = self._floors[tp] = FOREVER
        if watermarks is None:
            return NO_TIME
        watermark = watermarks[index]
        return watermark if watermark < floor else floor

    def latest(self) -> int:
        """The latest that an input is at, behind its finished events: T may be far behind that."""
        return max([self.finished, *(state().mark.watermark for state in self.inputs.values())])

    def look(self, now: float, wall: int) -> None:
        """Events were finished, records came, or time passed. now: of the engine's clock; wall: of day."""
        self.looks += 1
        if self.by_wall:
            self.finished = max(self.finished, wall)
            return
        states = {tp: state() for tp, state in self.inputs.items()}
        marks = {tp: state.watermark(self.finished) for tp, state in states.items()}
        self.finished = max(self.finished, time_of_inputs(self.finished, marks.values()))
        since = [state.idle_since for state in states.values() if state.idle_since is not None]
        self.idle_since = max(since) if since and len(since) == len(states) else None
        idle_after = self.idle_after
        if idle_after is not None and self.idle_since is not None and now >= self.idle_since + idle_after / 1000:
            run_on = time_run_on(states.values(), idle_after, wall)
            self.finished = max(self.finished, run_on)
        # Those that T waits for.
        live = [(tp, mark) for tp, (mark, is_idle) in marks.items() if not is_idle and mark >= self.finished]
        for tp in states:
            self._floors[tp] = min([mark for other, mark in live if other != tp], default=FOREVER)

    def expect(self, place: int) -> None:
        """A row was written that comes due when T reaches its place in the index, give or take what `Due` says."""
        if place < self.told:
            self.told = place
        for tell in self._expecting:
            tell(place)

    def count_late(self) -> None:
        """The event in hand came too late."""
        self.late_total += 1

    def tell(self, tell: Callable[[int], None]) -> None:
        """Have `expect` told."""
        self._expecting.append(tell)

    def rewind(self) -> None:
        """A rollback: T is what was committed, and who was late comes again."""
        self.looks += 1
        self.finished = self.committed
        self.late_total = self.late_committed
        self.lapsed_total = self.lapsed_committed
