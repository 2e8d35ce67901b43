"""Expected: where the next row that comes due can be, as far as writers have told and the store has shown."""

from __future__ import annotations

from collections import deque

from ...times import FOREVER, NO_TIME
from .operator_time import OperatorTime


class Expected:
    """Of one DueSource.

    earliest: no row that was not fed is before this place; told: no row that was written since the last cut, of which
    somebody has told.
    """

    __slots__ = ("_cuts", "_operator", "earliest", "told")

    def __init__(self, operator: OperatorTime, *, is_told: bool) -> None:
        """is_told: others still write rows."""
        self._operator = operator
        self.earliest = NO_TIME
        self.told = FOREVER
        # The same of those in cuts that are not committed, by their numbers.
        self._cuts: deque[tuple[int, int]] = deque()
        if is_told:
            operator.tell(self._expect)

    def _expect(self, place: int) -> None:
        if place < self.earliest:
            self.earliest = place
        if place < self.told:
            self.told = place

    def looked(self, earliest: int) -> None:
        """What is there was looked for. What is written from now on may be before it, and is told of again."""
        self.earliest = earliest
        self._operator.told = FOREVER

    def uncommitted(self) -> int:
        """No row that is not committed is before this place."""
        return min([self.told, *(place for _, place in self._cuts)])

    def cut(self, number: int) -> None:
        """The cut of this number has all that was told of."""
        if self.told < FOREVER:
            self._cuts.append((number, self.told))
            self.told = FOREVER
            self.looked(self.earliest)

    def committed(self, number: int) -> None:
        """The cuts up to this number are."""
        while self._cuts and self._cuts[0][0] <= number:
            self._cuts.popleft()

    def rewind(self) -> None:
        """Nobody knows."""
        self._cuts.clear()
        self.told = FOREVER
        self.looked(NO_TIME)
