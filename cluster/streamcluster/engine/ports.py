"""Reads and Writes: what the pump needs of Kafka. The worker gives it clients and stores, the test driver logs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from ..batch import Batch
from ..ids import TP, TaskId
from ..stores import StoreFailed
from .outbox import Outputs
from .values import Commit


class Reads(Protocol):
    """Where records come from."""

    # Partitions whose end was reached since they were last looked at: the offset there, beyond transaction markers.
    ended: dict[TP, int]

    def poll(self, room: Callable[[int], int]) -> list[Batch]:
        """The next records, without waiting. room: how many of so many may come.

        One that cannot be unpacked is the last of its partition in what one poll gives.
        """
        ...

    def is_all(self, tp: TP, offset: int) -> bool:
        """Of an end that was reached: the log has nothing behind it, not even in a transaction that is open."""
        ...

    def poll_when_idle(self) -> None:
        """Wake the loop when there are records again."""
        ...

    def is_full(self, record_count: int) -> bool:
        """Whether so many are as many as one poll gives."""
        ...

    def assign(self, positions: dict[TP, int]) -> None:
        """Read these partitions from there, in addition to the others. No record from elsewhere comes after that."""
        ...

    def unassign(self, tps: Iterable[TP]) -> None:
        """Read these partitions no more."""
        ...

    def pause_only(self, full: set[TP]) -> None:
        """Read nothing of these partitions for now, and go on with all others."""
        ...


class Writes(Protocol):
    """Where results go. At most one of these is under way at a time, but for what `outputs_landed` says.

    A future ends with None, or what its comment says; any exception means that the outcome is not known.
    """

    @property
    def outputs_landed(self) -> bool:
        """At least once: `produce` may be called beside the commit under way, whose outputs have landed."""
        ...

    def produce(self, outputs: Outputs) -> asyncio.Future[None] | None:
        """Put output into the open transaction (at least once: send it); None when that is done already."""
        ...

    def commit(self, commit: Commit) -> asyncio.Future[dict[TaskId, StoreFailed]]:
        """Commit it to Kafka and then to the stores (I2): gives the tasks whose store did not take it."""
        ...

    def abort(self) -> asyncio.Future[None]:
        """Drop what is in the open transaction, definitely."""
        ...


class Process(Protocol):
    """The process that the engine is in."""

    def size(self) -> int:
        """Bytes of memory that it has."""
        ...

    def give_back(self) -> None:
        """Return to the kernel what is free, if it was not done a moment ago."""
        ...
