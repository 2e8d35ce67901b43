"""Index: a second order of a table's rows, for ranges by something that the rows' keys do not begin with.

    row:    key ------------> value          in the changelog, and in the table's column family
    entry:  place + key ----> nothing        in the index's column family only

An index is derived from the rows and has no changelog records. Its entries go into the write that changes the rows, a
replay derives them from what it reads, and a store whose index is not there, or of another version, builds it from the
rows that it has. So an index can be added to a table that is in use, and cannot disagree with it.

What windows and joins are to be made of:

- Windows are rows under (key, window). An index by the window's end (`by_key`, 8 bytes) finds what is over: close and
  expiry scan it from "closed up to" to T, and read nothing else, however many windows are open.
- Join buffers are rows whose keys begin with the join's key and go on with the time (`codecs.ordered_keys`): partners
  are one range, and an index by time finds what no partner can come for any more.
- Versions of a row are keys of (key, time); what was valid at t is the first row of a scan in reverse from t.
- What is over is deleted by ranges of so many rows an event or a commit: see `engine.ranges`.

An index may be the order in which the rows themselves lie in the store (`is_order`):

    row:    place + key ----> value          in the changelog it is the key alone

Then it costs no write of its own, what comes due is read with what it holds in one scan, and goes by one deletion of a
range; but rows are not in the order of their keys. So it is for tables whose rows are found by their whole keys.

A scan begins at "closed up to" and not at the first key: RocksDB would go through the tombstones of all that was closed
and is not compacted yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

# No place begins with so many of these as it is wide.
NOWHERE = b"\xff"


@dataclass(frozen=True, slots=True)
class Index:
    """One index of a table.

    name: unique in its table, without a colon.
    width: bytes of each place; they are compared bytewise.
    place: where a row is, by its key and value as the changelog has them; None: it is not in the index. It answers for
        all bytes that a changelog may hold, and always the same for the same row.
    by_key: it looks at the key only and is given no value, so that no write has to read what the row was before.
    places: the same of many rows at once, of an index that looks at the key only: for one with very many rows.
    version: raised when `place` has changed: stores build the index anew.
    is_order: rows lie in stores in this order. It is `by_key`; a table has one such index at most.
    """

    name: str
    width: int
    place: Callable[[bytes, bytes], bytes | None]
    by_key: bool = False
    places: Callable[[Sequence[bytes]], Sequence[bytes | None]] | None = None
    version: int = 1
    is_order: bool = False

    def __post_init__(self) -> None:
        assert self.by_key or not self.is_order, f"index {self.name!r}: rows are read by their keys"
        assert ":" not in self.name, f"index {self.name!r}: names of column families are divided by colons"

    def entry(self, key: bytes, value: bytes | None) -> bytes | None:
        """Place and key of a row; None when there is no row (value None), or it is not in the index."""
        if value is None:
            return None
        place = self.place(key, b"" if self.by_key else value)
        if place is None:
            return None
        assert len(place) == self.width, f"index {self.name!r}: a place of {len(place)} bytes, and not {self.width}"
        return place + key

    def where(self, key: bytes) -> bytes:
        """Where the row of a key lies, in a store that is in this order: behind all others if it has no place."""
        return (self.place(key, b"") or NOWHERE * self.width) + key

    def where_all(self, keys: Sequence[bytes]) -> list[bytes]:
        """The same of many."""
        if self.places is None:
            return list(map(self.where, keys))
        nowhere = NOWHERE * self.width
        return [(place or nowhere) + key for place, key in zip(self.places(keys), keys, strict=True)]

    def placed(self, rows: Mapping[bytes, bytes | None]) -> dict[bytes, bytes | None]:
        """Rows by where they lie."""
        return dict(zip(self.where_all([*rows]), rows.values(), strict=True))

    def end(self, end: bytes | None) -> bytes:
        """Where a scan in this order ends that is to find those only that have a place."""
        nowhere = NOWHERE * self.width
        return nowhere if end is None else min(end, nowhere)

    def split(self, entry: bytes) -> tuple[bytes, bytes]:
        """Place and key."""
        return entry[: self.width], entry[self.width :]

    def changes(self, rows: Mapping[bytes, bytes | None], before: Sequence[bytes | None]) -> dict[bytes, bytes | None]:
        """What changes of rows do to the index: entries that come (b"") and go (None).

        before: what the rows were; not looked at, and may be empty, when the index is `by_key`.
        """
        if self.by_key:
            keys = [*rows]
            places = [self.place(key, b"") for key in keys] if self.places is None else self.places(keys)
            assert {*map(len, filter(None, places))} <= {self.width}
            return {
                place + key: None if value is None else b""
                for place, (key, value) in zip(places, rows.items(), strict=True)
                if place is not None
            }
        found: dict[bytes, bytes | None] = {}
        for (key, value), old in zip(rows.items(), before, strict=True):
            was, now = self.entry(key, old), self.entry(key, value)
            if was != now:
                if was is not None:
                    found[was] = None
                if now is not None:
                    found[now] = b""
        return found


def order_of(indexes: Sequence[Index]) -> Index | None:
    """The one of them that rows lie in, if there is one."""
    return next((index for index in indexes if index.is_order), None)


@dataclass(frozen=True, slots=True)
class Passed:
    """A part of such an order that all rows which it had are deleted from: from behind `start` up to `end`.

    start: None: from the beginning. keys: of the rows that were there.
    """

    start: bytes | None
    end: bytes
    keys: Sequence[bytes]
