"""Ordering: which of several inputs a coroutine takes its next event from: the one with the least timestamp.

It waits for an input that has records, or may have some, and never for one at its end. So the order of inputs depends
on what is in the logs, as long as that is there already, and not on what was fetched first.

Timestamps may count in steps of `step_ms`: then an input's events of one step come together, and events of two inputs
that alternate are no runs of one event each. That is for operators whose results do not depend on which input comes
first within a step, as a join of two streams:

- The order is that of (largest timestamp up to the event // step, input, offset), so it depends on the logs alone, as
  the exact one, which is the case of a step of 1 ms.
- T is still the least of all watermarks, so at an event it is never beyond the watermark of the event's own partition.
  So an event that is no later than the grace behind its own partition is not late in either order, and meets all of its
  partners, whichever side comes first: whoever comes second finds the other.
- What is later than that depends in both orders on how far the other inputs have come. Here they may have finished the
  rest of a step before it: T may be ahead of the exact order's, by no more than what is between two records of theirs.
- What is closed is due by the committed T, which is never beyond `now()`, in either order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from ...current import Run
from ...ids import TP
from ...times import FOREVER

# A long run is cut into pieces of so many events first: each cut copies what is left.
PIECE_EVENTS = 64
# The same where steps of time are taken: T is looked at once for so many.
STEP_PIECE_EVENTS = 1000
Head = tuple[int, TP]


class Ordering:
    """Of one coroutine.

    inputs: partitions that are taken in the order of time; what is of another goes first. may_come: whether there may
    be records of one that has none waiting. entered: called when a run is taken, since T depends on where others are.
    bound: says before which time events may be taken now, in ms, of coroutines that wait for others (following.py).
    """

    __slots__ = ("_inputs", "_may_come", "_piece", "_step", "bound", "entered")

    def __init__(
        self, inputs: Collection[TP], may_come: Callable[[TP], bool], entered: Callable[[], None], step_ms: int = 1
    ) -> None:
        self._inputs = frozenset(inputs)
        self._may_come = may_come
        self._step = step_ms
        self._piece = PIECE_EVENTS if step_ms == 1 and len(self._inputs) > 1 else STEP_PIECE_EVENTS
        self.entered = entered
        self.bound: Callable[[], int] | None = None

    def first(self, queue: Iterable[Run]) -> Run | None:
        """The run to take next; None: that is not known yet."""
        heads = self._heads(queue)
        for tp, run in heads.items():
            if tp not in self._inputs or not run.values:
                return run
        if not heads or any(self._may_come(tp) for tp in self._inputs - heads.keys()):
            return None
        run = heads[min(map(self._head, heads.values()))[1]]
        return run if self.lets(run.batch.timestamps[run.start]) else None

    def lets(self, time: int) -> bool:
        """Whether those that it waits for would let an event of this time be taken now."""
        return self.bound is None or time < self.bound()

    def count(self, run: Run, queue: Iterable[Run]) -> int:
        """How many events of `run`, which comes next, are before those of all other inputs."""
        if run.tp not in self._inputs:
            return len(run.values)
        piece = min(len(run.values), self._piece)
        others = [self._head(one) for tp, one in self._heads(queue).items() if tp != run.tp and one.values]
        bound = FOREVER if self.bound is None else self.bound()
        if others:
            at, tp = min(others)
            # The first timestamp that is not before the other's head.
            bound = min(bound, (at + (run.tp < tp)) * self._step)
        elif len(self._inputs) > 1:
            # Of the others may come something in the meantime that is older.
            piece = min(piece, PIECE_EVENTS)
        if bound == FOREVER:
            return piece
        times = run.batch.timestamps[run.start + 1 : run.start + piece]
        return next((index for index, time in enumerate(times, 1) if time >= bound), piece)

    def _heads(self, queue: Iterable[Run]) -> dict[TP, Run]:
        heads: dict[TP, Run] = {}
        for run in queue:
            heads.setdefault(run.tp, run)
        return heads

    def _head(self, run: Run) -> Head:
        return run.batch.timestamps[run.start] // self._step, run.tp
