"""ChangelogRead: what makes a topic that an agent reads out of a table's changelog."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NoReturn, Protocol, TypeVar

from .codecs.table_coding import Pair, make_table_coder
from .errors import AppError
from .settings import Settings

C = TypeVar("C", bound=Any)
# So many changes are held back at most under `every`: with more of them they are given out sooner.
HELD_MAX = 10_000


class ChangedTable(Protocol):
    """What is needed of a table: how its changelog is written."""

    name: str
    key_type: Any
    value_type: Any
    key_serializer: str | None
    value_serializer: str | None
    migrate: Callable[[Any], Any] | None


@dataclass(frozen=True, slots=True)
class ChangelogRead:
    """Of one table.

    every: seconds for which changes are held back, so that the newest of each key is given out; None: all of them are.
    coding: makes the coders of rows' keys of those of `key_type`.
    """

    table: ChangedTable
    every: float | None = None
    coding: Callable[[Pair], Pair] | None = None

    def coders(self, coders: C, settings: Settings) -> C:
        """The topic's coders with those of the table, and none to send with."""
        table, bounds = self.table, settings.codec_bounds
        key = make_table_coder(table.key_type, table.key_serializer, is_key=True, **bounds)
        if self.coding is not None:
            key = self.coding(key)
        value = make_table_coder(table.value_type, table.value_serializer, migrate=table.migrate, **bounds)
        refuse = partial(_refuse, table.name)
        changed: C = replace(
            coders, decode_key=key[1], decode_value=value[1], encode_key=refuse, encode_value=refuse, hint=None
        )
        return changed

    def describe(self) -> str:
        """For messages."""
        return f"the changes of table {self.table.name!r}"


def _refuse(table: str, _given: Any) -> NoReturn:
    raise AppError(f"the changes of table {table!r} are what agents write to the table: nothing can be sent there.")
