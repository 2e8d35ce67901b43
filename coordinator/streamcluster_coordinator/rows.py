"""Reads of tables on behalf of the control socket: which workers to ask, and in which order pages come.

A key is in one shard, and its worker knows that better than we do: all workers are asked, the owner answers. A page
walks the workers in slot order; its cursor is the slot and that worker's own cursor.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence

from streamcluster.ids import Slot
from streamcluster.messages import ReadTable, Rows
from streamcluster.topology import Topology

from .machine_slots import State
from .status import GetRows, RowsAnswer

ROWS_SECONDS = 5.0


class TableReader:
    """Matches answers of workers with what was asked."""

    __slots__ = ("_numbers", "_send", "_state", "_topology", "_waiting")

    def __init__(self, topology: Topology, state: State, send: Callable[[Slot, ReadTable], bool]) -> None:
        self._topology = topology
        self._state = state
        # False: there is no process in that slot now.
        self._send = send
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Rows]] = {}

    def received(self, rows: Rows) -> None:
        """A worker's answer; one that nobody waits for any more is dropped."""
        future = self._waiting.pop(rows.request, None)
        if future is not None and not future.done():
            future.set_result(rows)

    async def read(self, request: GetRows) -> RowsAnswer:
        """Answer a request, within ROWS_SECONDS."""
        table = next((table for table in self._topology.tables if table.name == request.table), None)
        if table is None:
            names = ", ".join(sorted(table.name for table in self._topology.tables)) or "none"
            return RowsAnswer(error=f"there is no such table; there are: {names}")
        try:
            async with asyncio.timeout(ROWS_SECONDS):
                slots = self._slots(table.group)
                if request.key is not None:
                    return await self._key(request, slots, table.group)
                return await self._page(request, slots)
        except TimeoutError:
            return RowsAnswer(error=f"no worker answered within {ROWS_SECONDS:g} s: is it restoring, or stalled?")

    def _slots(self, group: int) -> list[Slot]:
        """Slots with shards of a table of `group`."""
        return sorted({slot for task, slot in self._state.held.items() if task.group == group})

    async def _key(self, request: GetRows, slots: Sequence[Slot], group: int) -> RowsAnswer:
        asked = [self._ask(slot, request, None) for slot in slots]
        error: str | None = None
        if sum(task.group == group for task in self._state.held) < group:
            error = "no worker has that key's shard now: its task is moving. Try again"
        try:
            for answer in asyncio.as_completed(asked):
                rows = await answer
                if rows.owner:
                    return RowsAnswer(rows=rows.rows, error=rows.error)
                error = rows.error or error
        finally:
            for future in asked:
                future.cancel()
        # Without an error, every shard was asked and none has the key.
        return RowsAnswer(error=error)

    async def _page(self, request: GetRows, slots: Sequence[Slot]) -> RowsAnswer:
        start, after = _cursor(request.after)
        ahead = [slot for slot in slots if slot >= start]
        if not ahead:
            return RowsAnswer(error=None if slots else "no worker has a shard of it now. Try again")
        found: list[tuple[str, str]] = []
        for slot in ahead:
            if len(found) >= request.rows_max:
                return RowsAnswer(rows=tuple(found), after=f"{slot}:")
            rows_max = request.rows_max - len(found)
            rows = await self._ask(slot, request, after if slot == start else None, rows_max)
            if rows.error is not None:
                return RowsAnswer(error=rows.error)
            found += rows.rows
            if rows.after is not None:
                return RowsAnswer(rows=tuple(found), after=f"{slot}:{rows.after}")
        return RowsAnswer(rows=tuple(found))

    def _ask(self, slot: Slot, request: GetRows, after: str | None, rows_max: int = 1) -> asyncio.Future[Rows]:
        number = next(self._numbers)
        future: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        # A cancelled or timed-out question leaves nothing behind.
        future.add_done_callback(lambda _: self._waiting.pop(number, None))
        question = ReadTable(request=number, table=request.table, key=request.key, after=after, rows_max=rows_max)
        if not self._send(slot, question):
            future.set_result(Rows(request=number, owner=False, error=f"worker {slot} is being replaced. Try again"))
        return future


def _cursor(text: str | None) -> tuple[int, str | None]:
    """`3:abc` is slot 3 after abc; `3:` is slot 3 from its start."""
    if text is None:
        return 0, None
    slot, _, after = text.partition(":")
    return (int(slot) if slot.isdigit() else 0), (after or None)
