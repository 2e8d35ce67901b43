"""Reads of tables from this host's own workers: which ones to ask, and what their answers cover.

A key is in one shard, and its worker knows that better than we do: all workers are asked, the owner answers. A page
walks the workers in slot order; its cursor is a mark of who had which tasks, the slot, and that worker's own cursor.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from streamcluster.ids import Slot, SlotId, TaskId
from streamcluster.protocol.messages import READ_SECONDS, ReadTable, Rows

from ..records.status import GetRows, RowsAnswer
from .ownership import Ownership, mark_of

LOCAL_SECONDS = READ_SECONDS
# A page of large values ends early. Workers end theirs there too, so an answer has at most about twice as many.
PAGE_BYTES_MAX = 8 * 1024 * 1024
# Of the number of a slot in a cursor.
_SLOT_DIGITS_MAX = 5
MOVED = "tasks of it have moved since the page before: begin again from the first"

Send = Callable[[Slot, ReadTable], bool]


class LocalRows:
    """Matches answers of workers with what was asked."""

    __slots__ = ("_numbers", "_ownership", "_send", "_waiting")

    def __init__(self, ownership: Callable[[], Ownership], send: Send) -> None:
        # What is known at the moment of the call.
        self._ownership = ownership
        # False: there is no process in that slot now.
        self._send = send
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Rows]] = {}

    def received(self, rows: Rows) -> None:
        """A worker's answer; one that nobody waits for any more is dropped."""
        future = self._waiting.pop(rows.request, None)
        if future is not None and not future.done():
            future.set_result(rows)

    async def read(self, request: GetRows, group: int) -> RowsAnswer:
        """Answer from owners here, or from standbys here. Each worker is waited for at most LOCAL_SECONDS."""
        ownership = self._ownership()
        slots = ownership.slots(group, standby=request.standby)
        if request.key is None:
            return await self._page(request, slots, ownership.host)
        return await first_found(
            [self._key(request, group, SlotId(ownership.host, slot), tasks) for slot, tasks in slots.items()]
        )

    async def _key(self, request: GetRows, group: int, place: SlotId, tasks: frozenset[TaskId]) -> RowsAnswer:
        slot, source = Slot(place.number), str(place)
        rows = await self._ask(slot, source, request, None)
        lag = rows.lag if request.standby else None
        if rows.error is not None:
            return RowsAnswer(error=rows.error, passing=rows.passing)
        if request.standby and lag is None:
            return RowsAnswer(error=f"standby {source} does not know yet how far behind it is", passing=True)
        if rows.rows:
            return RowsAnswer(rows=rows.rows, source=source, lag=lag)
        # A task that has left the worker in the meantime may have left it before the question came.
        kept = self._ownership().slots(group, standby=request.standby).get(slot, frozenset())
        return RowsAnswer(source=source, lag=lag, tasks=names_of(tasks & kept))

    async def _page(self, request: GetRows, slots: dict[Slot, frozenset[TaskId]], host: str) -> RowsAnswer:
        mark = mark_of({task: slot for slot, tasks in slots.items() for task in tasks})
        marked, start, after = cursor_of(request.after)
        if request.after is not None and marked != mark:
            return RowsAnswer(error=MOVED, passing=True)
        tasks = names_of(itertools.chain(*slots.values()))
        found: list[tuple[str, str]] = []
        for slot in (slot for slot in slots if slot >= start):
            if len(found) >= request.rows_max or size_of(found) > PAGE_BYTES_MAX:
                return RowsAnswer(rows=tuple(found), after=f"{mark}:{slot}:", tasks=tasks)
            rows_max = request.rows_max - len(found)
            rows = await self._ask(slot, str(SlotId(host, slot)), request, after if slot == start else None, rows_max)
            if rows.error is not None:
                return RowsAnswer(error=rows.error, passing=rows.passing)
            found += rows.rows
            if rows.after is not None:
                return RowsAnswer(rows=tuple(found), after=f"{mark}:{slot}:{rows.after}", tasks=tasks)
        return RowsAnswer(rows=tuple(found), tasks=tasks)

    async def _ask(self, slot: Slot, name: str, request: GetRows, after: str | None, rows_max: int = 1) -> Rows:
        number = next(self._numbers)
        question = ReadTable(
            request=number,
            table=request.table,
            key=request.key,
            after=after,
            rows_max=rows_max,
            as_of=request.as_of,
            standby=request.standby,
            until=time.monotonic() + LOCAL_SECONDS,
        )
        if not self._send(slot, question):
            return Rows(request=number, owner=False, error=f"worker {name} is being replaced", passing=True)
        future: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            async with asyncio.timeout(LOCAL_SECONDS):
                return await future
        except TimeoutError:
            text = f"worker {name} did not answer within {LOCAL_SECONDS:g} s: it may be restoring, or stalled"
            return Rows(request=number, owner=False, error=text, passing=True)
        finally:
            # A cancelled or timed-out question leaves nothing behind.
            self._waiting.pop(number, None)


async def first_found(questions: Sequence[Coroutine[Any, Any, RowsAnswer]]) -> RowsAnswer:
    """Ask all at once. The first answer with rows ends it; without one, what all of them say together."""
    answers: list[RowsAnswer] = []
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(question) for question in questions]
        for done in asyncio.as_completed(asking):
            answers.append(await done)
            if answers[-1].rows:
                for one in asking:
                    one.cancel()
                break
    return answers[-1] if answers and answers[-1].rows else together(answers)


def together(answers: Sequence[RowsAnswer]) -> RowsAnswer:
    """Answers without rows as one: each reason once, all that was looked through, and the largest lag."""
    reasons = dict.fromkeys(answer.error for answer in answers if answer.error is not None)
    lags = [answer.lag for answer in answers if answer.lag is not None]
    return RowsAnswer(
        error="; ".join(reasons) or None,
        passing=any(answer.passing for answer in answers),
        source=", ".join(answer.source for answer in answers if answer.source is not None) or None,
        lag=max(lags, default=None),
        tasks=names_of(TaskId.parse(name) for answer in answers for name in answer.tasks),
    )


def names_of(tasks: Iterable[TaskId]) -> tuple[str, ...]:
    """As they travel, sorted."""
    return tuple(str(task) for task in sorted(set(tasks)))


def size_of(rows: Iterable[tuple[str, str]]) -> int:
    """Characters, which is near enough to bytes for a bound."""
    return sum(len(key) + len(value) for key, value in rows)


def cursor_of(text: str | None) -> tuple[str, int, str | None]:
    """`7fe1:3:abc` is slot 3 after abc, as long as the mark is 7fe1; `7fe1:3:` is slot 3 from its start."""
    mark, _, rest = (text or "").partition(":")
    slot, _, after = rest.partition(":")
    is_slot = slot.isascii() and slot.isdecimal() and len(slot) <= _SLOT_DIGITS_MAX
    return mark, (int(slot) if is_slot else 0), (after or None)
