"""Expiry: entries of a table go `ttl` after their last write, by event time.

    a commit: what changed of the table ---> the internal table of its times: row key -> time of the write
    the time is `ttl` past that          ---> the entry is deleted, and with the next commit its time

So a write costs nothing more when it is made, whatever way it is made, and what a commit changed is noted with it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from .indexes import Index
from .tables import Table, bytes_table
from .times import PLACE_BYTES, Closing

_WRITTEN = "written"


def times_name(table: str) -> str:
    """The internal table of when entries of this one were written."""
    return f"{table}-ttl"


def times_of(table: Table[Any, Any]) -> Table[bytes, bytes]:
    """The same, which goes by the time of its table."""
    assert table.ttl_ms is not None

    def place(_key: bytes, row: bytes) -> bytes | None:
        return row if len(row) == PLACE_BYTES else None

    name, help_ = times_name(table.name), f"when entries of {table.name} were written"
    times = bytes_table(name, partitions=table.partitions, help=help_)
    expire = Closing(_WRITTEN, partial(_expire, table, times), table.ttl_ms, deletes=False, is_harmless=True)
    times.go_by(table.timed, [Index(_WRITTEN, PLACE_BYTES, place)], [expire])
    return times


def _expire(table: Table[Any, Any], times: Table[bytes, bytes], key: bytes, row: bytes) -> None:
    """Delete an entry whose time has come, unless a commit has noted a later write of it meanwhile."""
    if times.get(key) == row:
        table.shard_var.get().expire(key)
