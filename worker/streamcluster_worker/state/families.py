"""Column families of a task's database: which there is for a table and an index, and which nobody keeps any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rocksdict import Rdict

from streamcluster.indexes import Index

from .record import index_key, is_offset_elsewhere, offset_key
from .store_errors import store_error

# A table may be called "default", which is RocksDB's own column family.
_FAMILY_PREFIX = "table:"
_INDEX_PREFIX = "index:"
# Rows that do not lie in the order of their keys: a family of another name, so that none is taken for another.
_ORDER_PREFIX = "order:"


def family_of(table: str, order: Index | None) -> str:
    """Of the rows of a table, which may lie in the order of an index."""
    return _FAMILY_PREFIX + table if order is None else f"{_ORDER_PREFIX}{order.name}.{order.version}:{table}"


def index_family(table: str, index: Index) -> str:
    """Of an index that is none."""
    return f"{_INDEX_PREFIX}{index.name}:{table}"


def drop_indexes(path: Path, db: Rdict, families: Sequence[str], tables: Sequence[str]) -> None:
    """Drop the indexes among `families` that these tables do not declare any more: from now on nobody keeps them."""
    for family in families:
        if not family.startswith(_INDEX_PREFIX):
            continue
        name, table = family.removeprefix(_INDEX_PREFIX).split(":", 1)
        if table in tables:
            try:
                # The record first: a family without one is built anew.
                db.delete(index_key(table, name))
                db.drop_column_family(family)
            except Exception as error:
                raise store_error(path, error) from error


def drop_orders(path: Path, db: Rdict, families: Sequence[str], tables: Sequence[str]) -> None:
    """Drop what these tables have among `families`: rows in another order, which nobody keeps from now on.

    A table that has any is restored: the rows of an order that it had before, and has again, are old.
    """
    for family in families:
        table = family.removeprefix(_FAMILY_PREFIX)
        if family.startswith(_ORDER_PREFIX):
            _, table = family.removeprefix(_ORDER_PREFIX).split(":", 1)
        elif table == family:
            continue
        if table in tables:
            try:
                # The offsets first: rows without one are emptied.
                for in_order in (False, True):
                    db.delete(offset_key(table, in_order=in_order))
                db.drop_column_family(family)
            except Exception as error:
                raise store_error(path, error) from error


def drop_other_logs(path: Path, db: Rdict, tables: Sequence[str], topics: Mapping[str, str]) -> None:
    """Drop the offsets of these tables in other logs than those that count now; rows without an offset are emptied.

    topics: tables whose changelog is the topic that they are made of.
    """
    try:
        for key in [*db.keys()]:
            if any(is_offset_elsewhere(key, table, topics.get(table, "")) for table in tables):
                db.delete(key)
    except Exception as error:
        raise store_error(path, error) from error
