"""Ordering: which of several inputs a coroutine takes its next event from: the one with the least timestamp.

It waits for an input that has records, or may have some, and never for one at its end. So the order of inputs depends
on what is in the logs, as long as that is there already, and not on what was fetched first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from ...current import Run
from ...ids import TP

# A long run is cut into pieces of so many events first: each cut copies what is left.
PIECE_EVENTS = 64
Head = tuple[int, TP]


class Ordering:
    """Of one coroutine.

    inputs: partitions that are taken in the order of time; what is of another goes first. may_come: whether there may
    be records of one that has none waiting. entered: called when a run is taken, since T depends on where others are.
    """

    __slots__ = ("_inputs", "_may_come", "entered")

    def __init__(self, inputs: Collection[TP], may_come: Callable[[TP], bool], entered: Callable[[], None]) -> None:
        self._inputs = frozenset(inputs)
        self._may_come = may_come
        self.entered = entered

    def first(self, queue: Iterable[Run]) -> Run | None:
        """The run to take next; None: that is not known yet."""
        heads = self._heads(queue)
        for tp, run in heads.items():
            if tp not in self._inputs or not run.values:
                return run
        if not heads or any(self._may_come(tp) for tp in self._inputs - heads.keys()):
            return None
        return heads[min(map(_head, heads.values()))[1]]

    def count(self, run: Run, queue: Iterable[Run]) -> int:
        """How many events of `run`, which comes next, are before those of all other inputs."""
        if run.tp not in self._inputs:
            return len(run.values)
        others = [_head(one) for tp, one in self._heads(queue).items() if tp != run.tp and one.values]
        if not others:
            # Of the others may come something in the meantime that is older.
            return min(len(run.values), PIECE_EVENTS)
        before, tp = min(others), run.tp
        times = run.batch.timestamps
        for index in range(1, min(len(run.values), PIECE_EVENTS)):
            if (times[run.start + index], tp) > before:
                return index
        return min(len(run.values), PIECE_EVENTS)

    def _heads(self, queue: Iterable[Run]) -> dict[TP, Run]:
        heads: dict[TP, Run] = {}
        for run in queue:
            heads.setdefault(run.tp, run)
        return heads


def _head(run: Run) -> Head:
    return run.batch.timestamps[run.start], run.tp
