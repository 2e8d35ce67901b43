"""Operated: what operators build on a table: windows, joins, versions, expiry.

All of it is said before the app is started, by code of ours; what users say of a table is in tables.py. The engine
reads it: how rows are coded and ordered, by whose time they go, and what is done with them when they come due.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .codecs.table_coding import Pair
from .dates import Deleted
from .errors import AppError
from .indexes import Index
from .times import Closing
from .topics import Topic

DecodeMany = Callable[[Iterable[bytes]], list[Any]]
Lapsed = Callable[[Mapping[Any, Any], int], list[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Followed:
    """A table by whose time another operator goes, as far as its changes have been read.

    operator: whose time it is; wait_ms: so long it is waited for, by the clock, when nothing comes to it.
    """

    table: Any
    changes: Topic
    operator: str
    wait_ms: int


class Operated:
    """That half of a table. Nothing is built on it at first."""

    name: str

    def __init__(self) -> None:
        # Orders of its rows beside that of their keys.
        self.indexes: tuple[Index, ...] = ()
        # The operator whose event time it goes by; none: "".
        self.timed = ""
        # What its deletions are of, when its rows have dates (`dates.py`): only an operator may write it then.
        self.dated: Deleted | None = None
        # What must not change while there are rows: name -> value. It is kept with the operator's time, or else in a
        # row of its own (engine/definitions.py).
        self.definition: dict[str, int | str] = {}
        # What is done with rows that come due by the operator's time.
        self.closings: list[Closing] = []
        # Which of the rows that were written since the last cut nobody needs any more, so that they need not be written
        # at all, by its operator's time: (rows, time) -> keys. None: none.
        self.lapsed: Lapsed | None = None
        # What tells rows that are kept in another form, in tables beside it.
        self.merged: Any = None
        # Internal tables that are read and written with it.
        self.besides: list[Any] = []
        # What makes the coders of its rows' keys of those of `key_type`, and decodes many; None: they are the same.
        self.key_coding: Callable[[Pair], Pair] | None = None
        self.key_decoding: Callable[[Pair], DecodeMany] | None = None
        # Its changes are of the time of the events that they come of, and not of their commits.
        self.goes_by_events = False
        # The tables by whose time its operator goes.
        self.follows: list[Followed] = []
        # Of a join of windowed tables: which windows its rows are of.
        self.windows: Any = None
        # What agents read its changes as.
        self.changes_read: list[Topic] = []

    def go_by(
        self,
        operator: str,
        indexes: Sequence[Index] = (),
        closings: Sequence[Closing] = (),
        definition: Mapping[str, int | str] | None = None,
        dated: Deleted | None = None,
        lapsed: Lapsed | None = None,
    ) -> None:
        """Make it a table of an operator that goes by event time."""
        self.dated = dated
        self.timed = operator
        self.lapsed = lapsed
        self.definition = dict(definition or {})
        self.indexes += tuple(indexes)
        self.closings += closings

    def close_by(self, closings: Sequence[Closing], lapsed: Lapsed | None) -> None:
        """Say anew what is done with rows that come due."""
        self.closings[:] = closings
        self.lapsed = lapsed

    def go_by_events(self) -> None:
        """Have the changelog say of which time changes are that nobody says it of: that of events up to then."""
        self.goes_by_events = True
        if not self.timed:
            self.timed = self.name

    def follow(self, followed: Followed) -> None:
        """Have its operator go by the time of a table."""
        self.follows.append(followed)

    def be_of_windows(self, windows: Any) -> None:
        """Have its rows, which a join writes, be of these windows."""
        self.windows = windows

    def define(self, definition: Mapping[str, int | str]) -> None:
        """Have rows of another definition refused, of a table that does not go by event time."""
        self.definition = dict(definition)

    def merge_rows(self, merged: Any) -> None:
        """Have it tell what it has by rows of another form."""
        self.merged = merged

    def code_keys(self, coding: Callable[[Pair], Pair], decoding_many: Callable[[Pair], DecodeMany]) -> None:
        """Have keys of rows that are made of a key and something else.

        coding: makes their coders of the key's; decoding_many: what decodes many at once.
        """
        if self.key_coding is not None:
            raise AppError(f"table {self.name!r} has windows already.")
        self.key_coding, self.key_decoding = coding, decoding_many
