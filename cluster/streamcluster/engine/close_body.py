"""The body of a closing unit: a handler for each row that comes due, and then the row is gone."""

from __future__ import annotations

import inspect
from contextlib import suppress

from ..current import Run
from ..errors import UndecodableRow
from ..live_shards import LiveShard
from ..topology.units import CloseUnit
from .intake import RunIntake


async def close(unit: CloseUnit, intake: RunIntake, view: LiveShard) -> None:
    """Handle what comes due, for ever. view: of the unit's table."""
    handler, deletes, cursor = unit.handler, unit.deletes, intake.cursor
    while True:
        run = await intake.next_run()
        if run is None:
            continue
        if not run.values and deletes:
            # Its handler has failed for good.
            _discard(view, run)
        decode, iterator = run.decode_key, cursor.iterator
        if handler is None:
            # At once: nothing can come in between. In step with the iterator: what cannot be decoded is the event then.
            keys = [view.identity(decode(data)) for data, _ in zip(run.records().keys, iterator, strict=False)]
            if deletes:
                view.discard_all(keys)
            continue
        for data, value in zip(run.records().keys, iterator, strict=False):
            key = decode(data)
            result = handler(key, value)
            if result is not None and inspect.isawaitable(result):
                await result
            if deletes:
                view.discard(view.identity(key))


def _discard(view: LiveShard, run: Run) -> None:
    """Delete the row that was given up. What is no key of the table stays: it is no row that anybody could read."""
    data = run.batch.keys[0] if len(run.batch) else None
    if data is not None:
        with suppress(UndecodableRow):
            view.discard(view.identity(run.decode_key(data)))
