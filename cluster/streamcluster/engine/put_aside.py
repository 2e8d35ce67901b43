"""PutAside: the records that were put aside and are not committed yet: a rollback does that again. Pure."""

from __future__ import annotations

from ..ids import TP
from .values import Failure


class PutAside:
    """Records of one worker that became dead letters, or were skipped.

    bare: those whose letter Kafka refused; blamed: those that are to be put aside for what they sent, and why.
    """

    __slots__ = ("_units", "bare", "blamed")

    def __init__(self) -> None:
        # By partition: offset and unit.
        self._units: dict[TP, set[tuple[int, str]]] = {}
        self.bare: set[tuple[TP, int]] = set()
        self.blamed: dict[tuple[TP, int], list[Failure]] = {}

    def note(self, tp: TP, offset: int, unit: str) -> bool:
        """The unit gives the record up. Returns whether that is news."""
        known = self._units.setdefault(tp, set())
        is_news = (offset, unit) not in known
        known.add((offset, unit))
        return is_news

    def has(self, tp: TP, offset: int) -> bool:
        """Whether a unit has given the record up."""
        return any(offset == known for known, _ in self._units.get(tp, ()))

    def committed(self, tp: TP, next_offset: int) -> None:
        """The position is committed, and what was put aside before it."""
        if tp not in self._units:
            return
        left = {(offset, unit) for offset, unit in self._units.pop(tp) if offset >= next_offset}
        if left:
            self._units[tp] = left
        self.bare = {(of, offset) for of, offset in self.bare if of != tp or offset >= next_offset}
        self.blamed = {at: whose for at, whose in self.blamed.items() if at[0] != tp or at[1] >= next_offset}
