"""Caution: after two deaths of the process with the same events in hand, what it had handed out is tried alone.

    process dies twice, and not all that it had in hand is committed -> all that was handed out there are suspects
    next process: suspects one by one in the whole worker, each marked while it is with user code; others wait, but for
                  rows that no user code is given
    it dies with one event marked, and again -> that is the killer: given up by its policy, the other suspects go on

Commits go on as usual meanwhile, since the mark alone tells the killer. An event that was given up is committed before
anything behind it is handed out, so one event at a time is remembered for a partition.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from ..current import Run
from ..ids import TP
from .clock import Clock
from .in_hand import ANYBODY, InHand, unit_number

logger = logging.getLogger("streamcluster")
# How long the others wait for a suspect that does not come, or does not end. One that runs for longer kills late, if at
# all, and holding everybody up costs more than what it would tell.
PATIENCE_SECONDS = 10.0
# How long all suspects together may keep them waiting: ten thousand take seconds; a reader far behind the others
# of its partition has more of them.
WHOLE_SECONDS = 60.0


# Has an intake look again; False: nobody waits there.
Wake = Callable[[], bool]


class Killer:
    """An event not to be handed out again. unit: to whom, as `in_hand.unit_number` says, or `ANYBODY`."""

    __slots__ = ("offset", "unit", "why")

    def __init__(self, offset: int, unit: int, why: str) -> None:
        self.offset = offset
        self.unit = unit
        self.why = why


class Caution:
    """Who may have an event in hand. While `suspects` is empty all may, and it only notes how far that goes."""

    __slots__ = (
        "_began_at",
        "_clock",
        "_harmless",
        "_in_hand",
        "_killers",
        "_later",
        "_mark",
        "_moved_at",
        "_waiting",
        "holder",
        "suspects",
    )

    def __init__(self, in_hand: InHand, clock: Clock) -> None:
        self._in_hand = in_hand
        self._clock = clock
        # Partition -> the offset behind its last suspect.
        self.suspects: dict[TP, int] = {}
        # Partitions of what no user code is given.
        self._harmless: set[TP] = set()
        # Killers that are given up and not committed.
        self._killers: dict[TP, int] = {}
        # Who has the marked event.
        self.holder: object = None
        self._mark: tuple[TP, int, int] | None = None
        # What wakes those that wait for their turn, in that order, and those that have no suspect to hand out.
        self._waiting: dict[Wake, None] = {}
        self._later: dict[Wake, None] = {}
        # When there were suspects first, and when one came or went last.
        self._began_at = 0.0
        self._moved_at = 0.0

    # Partitions

    def open(self, tp: TP, committed: int) -> Killer | None:
        """The partition is read from there. Returns the event of it that must not be handed out again."""
        found = self._in_hand.opened(tp, committed)
        if found.suspects_next is None:
            return None
        if not self.suspects:
            self._began_at = self._clock.now()
            text = (
                "the worker died twice behind %s@%d, and perhaps elsewhere: all that it had in hand is done one by one"
            )
            logger.warning(text, tp, committed)
        self.suspects[tp] = found.suspects_next
        self._moved_at = self._clock.now()
        if found.killer is None:
            return None
        self._killers[tp] = found.killer
        return Killer(found.killer, found.killer_unit, found.why)

    def let_pass(self, tp: TP) -> None:
        """No user code is given what comes from this partition, so that it kills nobody and waits for nobody."""
        self._harmless.add(tp)

    def close(self, tp: TP) -> None:
        """The partition is read no more."""
        self.suspects.pop(tp, None)
        self._killers.pop(tp, None)
        self._harmless.discard(tp)
        self._in_hand.closed(tp)

    def committed(self, tp: TP, next_offset: int) -> None:
        """The position is committed."""
        self._in_hand.committed(tp, next_offset)
        if next_offset > self._killers.get(tp, next_offset):
            del self._killers[tp]
            self._wake_all()
        if next_offset >= self.suspects.get(tp, next_offset + 1):
            del self.suspects[tp]
            self._in_hand.cleared(tp)

    def ended(self, tp: TP, offset: int) -> None:
        """The log ends there: suspects behind it are not there any more."""
        if offset < self.suspects.get(tp, offset):
            self.suspects[tp] = offset
            if offset <= self._in_hand.note(tp).committed:
                del self.suspects[tp]

    def end(self) -> None:
        """An orderly end of the process."""
        self._in_hand.end()

    # What intakes ask

    def first(self, runs: Iterable[Run], wake: Wake) -> Run | None:
        """The first of these that may be handed out while there are suspects, each partition in its order."""
        refused: set[TP] = set()
        for run in runs:
            if run.tp not in refused and self._may_pass(run):
                return run
            refused.add(run.tp)
        self._later[wake] = None
        return None

    def _may_pass(self, run: Run) -> bool:
        if run.tp in self._harmless:
            return True
        if not run.values:
            return run.tp in self.suspects
        offset = run.offset(0)
        return offset < self.suspects.get(run.tp, 0) and offset <= self._killers.get(run.tp, offset)

    def is_free(self, run: Run, wake: Wake) -> bool:
        """Nobody has a suspect in hand; a run without events, or that nobody is given, may pass in any case."""
        if self.holder is None or not run.values or run.tp in self._harmless:
            return True
        self._waiting[wake] = None
        return False

    def enter(self, holder: object, unit: str, run: Run) -> None:
        """The run is handed out."""
        if not run.values:
            return
        self._in_hand.handed(run.tp, run.next_offset)
        if self.suspects and run.tp not in self._harmless:
            self.holder = holder
            self._moved_at = self._clock.now()
            self._mark = (run.tp, run.offset(0), unit_number(unit))
            self._in_hand.mark(*self._mark)

    def leave(self, holder: object) -> None:
        """It has finished its event, or it is rolled back; others may have theirs."""
        if self.holder is holder:
            self._release()

    def _release(self) -> None:
        self.holder = self._mark = None
        self._in_hand.unmark()
        self._moved_at = self._clock.now()
        self._wake_next()

    def _wake_next(self) -> None:
        while (wake := next(iter(self._waiting), None)) is not None:
            del self._waiting[wake]
            if wake():
                return

    # Decoding

    def decoding(self, tp: TP, next_offset: int) -> None:
        """Records up to there are given to a codec; 0: it has come back."""
        self._in_hand.decoding(tp, next_offset)

    def decode(self, tp: TP, offset: int) -> None:
        """While there are suspects: a codec gets this record alone. Whoever has a suspect in hand stands still."""
        if offset < self.suspects.get(tp, 0):
            self._in_hand.mark(tp, offset, ANYBODY)
        else:
            self._in_hand.unmark()

    def decoded(self) -> None:
        """The codec has come back."""
        if self._mark is None:
            self._in_hand.unmark()
        else:
            self._in_hand.mark(*self._mark)

    # Steps

    def step(self, *, are_tried: bool) -> None:
        """Let others go on once the suspects are through, or keep them waiting for too long.

        are_tried: suspects that raised an exception are tried again, with pauses (trial.py): that takes its time.
        """
        if not self.suspects:
            if self._later or self._waiting:
                self._wake_all()
        elif are_tried:
            self._moved_at = self._clock.now()
        elif self._clock.now() > min(self._moved_at + PATIENCE_SECONDS, self._began_at + WHOLE_SECONDS):
            text = "the events that may have killed the worker have kept others waiting for %.0f s: all go on together"
            logger.warning(text, self._clock.now() - self._began_at)
            self.suspects.clear()
            self._killers.clear()
            self._release()
            self._wake_all()
        elif self.holder is None:
            # Whoever was woken last may have been told to rest meanwhile.
            self._wake_next()

    def _wake_all(self) -> None:
        waiting = [*self._waiting, *self._later]
        self._waiting.clear()
        self._later.clear()
        for wake in waiting:
            wake()
