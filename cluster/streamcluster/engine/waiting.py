"""Waiting: batches of one partition that wait behind a gate, in order, and may go on in parts. Pure."""

from __future__ import annotations

from ..batch import Batch


class Waiting:
    """A queue of records."""

    __slots__ = ("_batches",)

    def __init__(self) -> None:
        self._batches: list[Batch] = []

    def __bool__(self) -> bool:
        return bool(self._batches)

    def add(self, batch: Batch) -> None:
        """Behind the others."""
        if len(batch):
            self._batches.append(batch)

    def first_offset(self) -> int | None:
        """Where the first one is."""
        return self._batches[0].offsets[0] if self._batches else None

    def first_time(self) -> int | None:
        """The timestamp of the first one."""
        return self._batches[0].timestamps[0] if self._batches else None

    def offsets_before(self, offset: int) -> list[int]:
        """Those that are before it."""
        return [one for batch in self._batches for one in batch.offsets if one < offset]

    def take(self, count: int) -> list[Batch]:
        """The first so many, if there are."""
        taken: list[Batch] = []
        while self._batches and count > 0:
            batch = self._batches.pop(0)
            if len(batch) > count:
                self._batches.insert(0, batch.part(count))
                batch = batch.part(0, count)
            count -= len(batch)
            taken.append(batch)
        return taken

    def take_before(self, offset: int) -> list[Batch]:
        """Those that are before it."""
        return self.take(sum(batch.index_of(offset) for batch in self._batches))

    def take_all(self) -> list[Batch]:
        """All of them."""
        taken, self._batches = self._batches, []
        return taken
