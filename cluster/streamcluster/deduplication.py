"""Deduplicate: the first event of each key and id within an interval goes on, what comes again is dropped.

    key of a row: the event's key and its id    value: the times of events that went on and count, 8 bytes each

Mostly a row has one time; more while records are out of order by more than the interval. A row is deleted when the
operator's time T is beyond the latest and the interval: until then it is written again at its key, so what comes due
is compared with what the row has by then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from .codecs.table_coding import make_table_coder
from .current import Run, cursor_var
from .errors import AppError
from .indexes import Index
from .tables import Table, bytes_table
from .times import PLACE_BYTES, Closing, place_of, time_of

_EXPIRES = "expires"
_KEY_LENGTH_BYTES = 4
_encode_id, _ = make_table_coder(None, None, allow_pickle=False)


@dataclass(frozen=True, slots=True, eq=False)
class Deduplicate:
    """Drops events that came already. Each is another one: no two are equal, nor share their rows.

    by: what makes the id of a value; None: the event's key is all. rows: where it keeps them, once it runs.
    """

    by: Callable[[Any], Any] | None
    within_ms: int
    rows: Table[bytes, bytes] | None = None

    def is_first(self, name: Any, run: Run, index: int) -> bool:
        """The event goes on, and counts from now. name: its id."""
        at = run.start + index
        key, time = run.batch.keys[at], run.batch.timestamps[at]
        if key is None or (name is None and self.by is not None):
            return True
        rows, cursor = self.rows, cursor_var.get()
        live = None if rows is None else rows.shard_var.get().time
        if rows is None or cursor is None or live is None:
            raise AppError("stream.deduplicate() keeps what it has seen with an agent: read it in one.")
        row = len(key).to_bytes(_KEY_LENGTH_BYTES, "big") + key
        if self.by is not None:
            row += _encode_id(name)
        within, now = self.within_ms, live.now(cursor)
        before: bytes | None = rows.get(row)
        times = [] if before is None else [then for then in _times(before) if now - then <= within]
        if any(abs(time - then) <= within for then in times):
            return False
        if now - time <= within:
            times.append(time)
            rows[row] = b"".join(map(place_of, times))
            live.expect(max(times) + within)
        return True


def _times(row: bytes) -> list[int]:
    return [time_of(row[start : start + PLACE_BYTES]) for start in range(0, len(row), PLACE_BYTES)]


def seen_table(name: str, within_ms: int) -> Table[bytes, bytes]:
    """The table of what an operator has seen, which goes by its time. name: of both."""

    def place(_key: bytes, row: bytes) -> bytes | None:
        if not row or len(row) % PLACE_BYTES:
            return None
        return place_of(max(_times(row)) + within_ms)

    table = bytes_table(name, help="events that count as duplicates when they come again")
    forget = Closing(_EXPIRES, partial(_forget, table), is_inclusive=False, deletes=False, is_harmless=True)
    table.go_by(name, [Index(_EXPIRES, PLACE_BYTES, place)], [forget])
    return table


def _forget(table: Table[bytes, bytes], key: bytes, row: bytes) -> None:
    """Delete a row that came due, unless a later event was noted there meanwhile: it comes due again then."""
    if table.get(key) == row:
        del table[key]
