"""The body of a closing unit: a handler for each row that comes due, and then the row is gone."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import repeat
from types import CoroutineType
from typing import Any, cast

from .. import loops
from ..batch import Column
from ..current import Run
from ..errors import UndecodableRow
from ..live_shards import LiveShard
from ..topology.units import CloseUnit
from ..windows.kinds import window_between
from .intake import RunIntake
from .rows import DELETED
from .shard_view import ShardView, columns_of


async def close(unit: CloseUnit, intake: RunIntake, view: LiveShard) -> None:
    """Handle what comes due, for ever. view: of the unit's table."""
    deletes, cursor = unit.deletes, intake.cursor
    while True:
        run = await intake.next_run()
        if run is None:
            continue
        if not run.values and deletes:
            # Its handler has failed for good.
            _discard(view, run, unit.skipped)
        handler = None if unit.only_deletes(run.tp.topic) else unit.handler
        iterator = cursor.iterator
        if handler is not None and unit.of_window is not None and isinstance(view, ShardView) and loops.is_in_c():
            await _closed(unit.of_window, run, view, iterator, deletes=deletes)
            continue
        if handler is None and deletes and (identities := _identities(run, view)):
            # At once: nothing can come in between.
            deque(iterator, maxlen=0)
            view.discard_all(identities)
            continue
        keys, identities = _read(run, view)
        handle = handler or _pass
        # In step with the iterator: what cannot be decoded is the event then.
        for key, identity, data, value in zip(keys, identities or repeat(None), _rows(run), iterator, strict=False):
            row = run.decode_key(data) if identities is None else key
            result = handle(row, value)
            if result is not None and (type(result) is CoroutineType or inspect.isawaitable(result)):
                await result
            if deletes:
                view.discard(view.identity(row) if identities is None else identity)


def _closed(
    handle: Callable[[Any, Any, Any], Any], run: Run, view: ShardView, iterator: Iterator[Any], *, deletes: bool
) -> Awaitable[None]:
    """Handles the windows of a run, of which each is deleted when it was."""
    awake = ShardView if deletes else None
    is_text = view.part is not None and str in view.part.as_json
    calls = run.decode_key, window_between, _waiting
    return loops.closed(handle, [*_rows(run)], iterator, is_text, *calls, view, awake, columns_of(view), DELETED)


def _waiting(result: Any) -> Awaitable[Any] | None:
    return _wait(result) if inspect.isawaitable(result) else None


async def _wait(awaitable: Awaitable[Any]) -> None:
    await awaitable


def _pass(_key: Any, _value: Any) -> None:
    pass


def _rows(run: Run) -> Column[bytes]:
    """The row keys of a run."""
    return cast(Column[bytes], run.batch.keys[run.start : run.start + len(run.values)])


def _identities(run: Run, view: LiveShard) -> Sequence[Any] | None:
    """The rows of a run as its view takes them; None: one of them cannot be decoded."""
    try:
        return view.read_identities(_rows(run))
    except UndecodableRow:
        return None


def _read(run: Run, view: LiveShard) -> tuple[Iterable[Any], Sequence[Any] | None]:
    """The keys of a run, and as its view takes them; None: one of them cannot be decoded."""
    try:
        return view.read_keys(_rows(run))
    except UndecodableRow:
        return repeat(None), None


def _discard(view: LiveShard, run: Run, skipped: Callable[[Any], None] | None) -> None:
    """Delete the row that was given up. What is no key of the table stays: it is no row that anybody could read.

    skipped: called with its key.
    """
    data = run.batch.keys[0] if len(run.batch) else None
    if data is not None:
        with suppress(UndecodableRow):
            key = run.decode_key(data)
            view.discard(view.identity(key))
            if skipped is not None:
                skipped(key)
