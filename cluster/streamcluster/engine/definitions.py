"""By what the rows of an operator were made, in a row of its own: with another definition it does not begin.

Operators that go by event time have it with their time (event_time/time_row.py); these here do not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress

import msgspec

from ..errors import StateIncompatible
from ..stores import StoreFailed
from ..tables import Table
from .rows import Changes
from .shards import CachedShard

# No row that an operator makes has this key.
DEFINITION_KEY = b""
Definition = dict[str, int | str]

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Definition)


def open_definitions(tables: Collection[Table[bytes, bytes]], shards: Mapping[str, CachedShard]) -> dict[str, bytes]:
    """Table -> the row that says it, of those that have none yet: it goes with the first rows that are written.

    Raises:
        StateIncompatible: a table has rows of another definition.
    """
    found: dict[str, bytes] = {}
    for table in tables:
        if not table.definition or table.timed or (shard := shards.get(table.name)) is None:
            continue
        row = None
        # The store has said so itself: the task is opened anew before anything of it is committed.
        with suppress(StoreFailed):
            row = shard.read_store(shard.store.get, DEFINITION_KEY)
        if row is None:
            found[table.name] = _encoder.encode(table.definition)
        elif (before := _decoder.decode(row)) != table.definition:
            was, now = words_of(before), words_of(table.definition)
            raise StateIncompatible(
                f"table {table.name!r}, {table.help}, is of {was}, and now the app says {now}. {REMEDY}"
            )
    return found


REMEDY = (
    "Put that back, or give the table or the join another name, under which it begins empty; or start the whole app "
    "from nothing: `streamcluster reset --offsets --topics` deletes what is stored."
)


def words_of(definition: Definition) -> str:
    """As people read it. Numbers are durations, in ms."""
    return ", ".join(
        f"{name}={repr(value) if isinstance(value, str) else f'{value / 1000:g} s'}"
        for name, value in definition.items()
    )


def add_definitions(missing: Mapping[str, bytes], encoded: Mapping[str, Changes]) -> None:
    """Have them written with the rows of their tables."""
    for name, row in missing.items():
        if changes := encoded.get(name):
            changes[DEFINITION_KEY] = row
