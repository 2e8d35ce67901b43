"""The RocksDB store of a task: one database per task, one column family per table and index, changelog offsets beside.

It decides how state lies on disk and what counts as damage; it knows no Kafka, no codec and no task life cycle.
Offsets live in the default column family and go into the same WriteBatch as the data they belong to (invariant I2).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path

import msgspec
from rocksdict import (
    AccessType,
    ColumnFamily,
    Options,
    Rdict,
    WriteBatch,
)

from streamcluster.causes import why
from streamcluster.indexes import Index, Passed, order_of
from streamcluster.stores import NO_INDEXES, NO_TOPICS, NOT_PASSED, AllPassed, Indexes, StoreClosed

from .families import drop_indexes, drop_orders, drop_other_logs, family_of, index_family
from .logs import mend_logs
from .memory import Memory
from .record import FORMAT_KEY, NOBODY, Identity, index_key, offset_key, read_identity, read_offset, refuse_another
from .rocks_shard import RocksShard
from .store_errors import CorruptStore, StoreUnavailable, store_error

# So many rows at a time are brought into an index that is built anew.
_BUILD_ROWS = 5_000
# So many rows at a time are written: RocksDB's client keeps Python's lock meanwhile, so that nothing else runs (0.15 to
# 0.4 us a row and index, so 100,000 rows that one commit deletes would be a pause of 80 ms for all other tasks).
_WRITE_ROWS = 10_000
# While a shard is restored its files pile up and are merged 32 at a time: 2.3 us of CPU a record, consuming included,
# where merging 4 at a time costs 2.8 us. SST files, made and ingested by us, cost 2.9 us: picking rows in key order
# misses the processor's cache, and batches of 5,000 rows stay in it (measured: 1 million records of 60 bytes in random
# order, 2 shared cores).
_RESTORING = {
    "level0_file_num_compaction_trigger": "32",
    "level0_slowdown_writes_trigger": "64",
    "level0_stop_writes_trigger": "96",
}
_SERVING = {
    "level0_file_num_compaction_trigger": "4",
    "level0_slowdown_writes_trigger": "20",
    "level0_stop_writes_trigger": "36",
}


class RocksStore:
    """All shards of one task, in one database. One thread at a time may write; reads may run beside it."""

    __slots__ = (
        "_db",
        "_families",
        "_indexes",
        "_memory",
        "_offsets",
        "_orders",
        "_path",
        "_reading",
        "_restoring",
        "_shards",
        "_topics",
    )

    def __init__(
        self,
        path: Path,
        db: Rdict,
        memory: Memory,
        tables: Sequence[str],
        indexes: Indexes,
        topics: Mapping[str, str],
    ) -> None:
        self._path = path
        self._topics = topics
        self._db: Rdict | None = db
        self._memory = memory
        # By their names; of tables and of indexes.
        self._families: dict[str, ColumnFamily] = {}
        self._orders = {table: order_of(indexes.get(table, ())) for table in tables}
        self._indexes = {table: [one for one in indexes.get(table, ()) if not one.is_order] for table in tables}
        self._shards: dict[str, RocksShard] = {}
        self._offsets: dict[str, int] = {}
        # Held by whoever reads from another thread, and by what would pull the database away under that.
        self._reading = threading.Lock()
        # Tables with the options of a restore.
        self._restoring: set[str] = set()
        for table in tables:
            order = self._orders[table]
            family = family_of(table, order)
            self._families[family] = db.get_column_family_handle(family)
            own: dict[str, tuple[Index, Rdict]] = {}
            for index in self._indexes[table]:
                family_of_index = index_family(table, index)
                self._families[family_of_index] = db.get_column_family_handle(family_of_index)
                own[index.name] = index, db.get_column_family(family_of_index)
            self._shards[table] = RocksShard(db.get_column_family(family), path, own, order)
            stored = _next_offset(path, db, table, self._offset_key(table))
            if stored is not None:
                self._offsets[table] = stored
            elif self._shards[table].scan(rows_max=1):
                # A crash in the middle of forget() or of a first restore left rows that no offset vouches for.
                self.forget(table)
            for index in self._indexes[table]:
                if _read(path, db, index_key(table, index.name)) != b"%d" % index.version:
                    self._build(table, index)

    @classmethod
    def open(
        cls,
        path: Path,
        tables: Sequence[str],
        memory: Memory,
        owner: Identity = NOBODY,
        *,
        indexes: Indexes = NO_INDEXES,
        topics: Mapping[str, str] = NO_TOPICS,
    ) -> RocksStore:
        """Open the database at `path`, made when it is not there.

        Args:
            path: its directory; parents are made.
            tables: every table with a shard in this task; families of other tables are kept as they are.
            memory: shared by all stores of the process.
            owner: whose state this is; a store with another owner is foreign.
            indexes: of those tables. One that is not there yet is built from the rows; others of theirs are dropped.
            topics: tables whose changelog is the topic that they are made of. Rows of another log are dropped.

        Raises:
            CorruptStore: damaged, another format, or another owner; `set_aside` it, open again, restore.
            StoreUnavailable: disk full, no permission, or another process has it open (the operator must act).
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            fresh = not any(path.iterdir())
            mend_logs(path)
        except OSError as error:
            raise StoreUnavailable(path, f"not usable as a state directory: {why(error)}") from error
        families = [family_of(table, order_of(indexes.get(table, ()))) for table in tables]
        families += [
            index_family(table, index) for table in tables for index in indexes.get(table, ()) if not index.is_order
        ]
        db, present = _open_database(path, families, memory, fresh=fresh)
        try:
            _check_identity(path, db, owner, fresh=fresh)
            others = [name for name in present if name not in families]
            drop_indexes(path, db, others, tables)
            drop_orders(path, db, others, tables)
            drop_other_logs(path, db, tables, topics)
            return cls(path, db, memory, tables, indexes, topics)
        except BaseException:
            db.close()
            raise

    def shard(self, table: str) -> RocksShard:
        """The shard of `table`; the same object each time."""
        return self._shards[table]

    def write(
        self,
        changes: Mapping[str, Mapping[bytes, bytes | None]],
        changelog_next_offsets: Mapping[str, int],
        passed: AllPassed = NOT_PASSED,
    ) -> None:
        """Apply one commit: atomically, or what is large in pieces, of which the last has the offsets (I2)."""
        # The first commit after a restore: merge what has piled up.
        while self._restoring:
            self._shards[self._restoring.pop()].tune(_SERVING)
        self._write(changes, changelog_next_offsets, passed)

    def _write(
        self,
        changes: Mapping[str, Mapping[bytes, bytes | None]],
        changelog_next_offsets: Mapping[str, int],
        passed: AllPassed = NOT_PASSED,
    ) -> None:
        batch, count = WriteBatch(raw_mode=True), 0
        for table, every in changes.items():
            left = self._pass(batch, table, every, passed[table]) if table in passed else every
            for rows in _pieces(left):
                if count >= _WRITE_ROWS:
                    # Without the offsets: after a crash these rows are read again and written once more.
                    self._apply(batch)
                    batch, count = WriteBatch(raw_mode=True), 0
                order = self._orders[table]
                self._add(batch, family_of(table, order), rows if order is None else order.placed(rows))
                for index in self._indexes[table]:
                    before = () if index.by_key else self._shards[table].multi_get(list(rows))
                    self._add(batch, index_family(table, index), index.changes(rows, before))
                count += len(rows)
        self._commit(batch, changelog_next_offsets)

    def _pass(
        self, batch: WriteBatch, table: str, rows: Mapping[bytes, bytes | None], passed: Sequence[Passed]
    ) -> Mapping[bytes, bytes | None]:
        """Delete what is passed, a range at a time; what is left of the changes. All go into one family: no index."""
        order = self._orders[table]
        if order is None or self._indexes[table]:
            return rows
        deleted: list[Sequence[bytes]] = []
        for part in passed:
            # Others are left alone: of an entry that nobody can read, say.
            if not any([rows.get(key, b"") is not None for key in part.keys]):  # noqa: C419 (faster)
                start = b"" if part.start is None else part.start + b"\0"
                # It does not look at the batch's default family (rocksdict 0.3).
                batch.delete_range(start, part.end + b"\0", self._families[family_of(table, order)])
                deleted.append(part.keys)
        # Most commits of rows that are passed change no others.
        if sum(map(len, deleted)) == len(rows):
            return {}
        gone = {*chain.from_iterable(deleted)}
        return {key: value for key, value in rows.items() if key not in gone}

    def _add(self, batch: WriteBatch, family: str, rows: Mapping[bytes, bytes | None]) -> None:
        batch.set_default_column_family(self._families[family])
        # In key order RocksDB inserts next to where it just was: 1.0 us a key sorted, 1.6 us unsorted.
        for key in sorted(rows):
            value = rows[key]
            if value is None:
                batch.delete(key)
            else:
                batch[key] = value

    def changelog_next_offset(self, table: str) -> int | None:
        """The changelog offset to restore from; None: this shard is empty and has never been restored."""
        return self._offsets.get(table)

    def restore(self, table: str, records: Iterable[tuple[bytes, bytes | None]], next_offset: int) -> None:
        """Apply changelog records in changelog order (later ones win) and remember `next_offset`, atomically.

        Fastest with 5,000 records a call.
        """
        if table not in self._restoring:
            self._shards[table].tune(_RESTORING)
            self._restoring.add(table)
        self._write({table: dict(records)}, {table: next_offset})

    def forget(self, table: str) -> None:
        """Empty the shard and its offset, before a restore from the beginning."""
        # The offset goes first: rows without an offset are emptied by the next open, should we die in between.
        batch = WriteBatch(raw_mode=True)
        batch.delete(self._offset_key(table))
        self._apply(batch)
        self._offsets.pop(table, None)
        for index in self._indexes[table]:
            self._shards[table].reopen(self._empty(index_family(table, index)), index)
        # Rows last: those that are there without an offset make the next open come here again.
        self._shards[table].reopen(self._empty(family_of(table, self._orders[table])))

    @contextmanager
    def reading(self) -> Iterator[None]:
        """While this is held, another thread may read the shards; `close` waits for its end. Raises StoreClosed."""
        with self._reading:
            if self._db is None:
                raise StoreClosed
            yield

    def close(self) -> None:
        """Release every handle, so that another process may open the store. Closing twice is fine. Waits for reads.

        Raises:
            StoreUnavailable: the last writes did not reach the disk; their changelog offsets did not either (I2).
        """
        with self._reading:
            db, self._db = self._db, None
            # RocksDB unlocks when the last of these is gone, an iterator too, and close() alone does not do it.
            if db is None:
                return
            for shard in self._shards.values():
                shard.release()
            self._families.clear()
            try:
                db.close()
            except Exception as error:
                raise store_error(self._path, error) from error

    def _empty(self, family: str) -> Rdict:
        """Make a column family anew."""
        with self._reading:
            self._families.pop(family)
            try:
                self._open_db().drop_column_family(family)
                made = self._open_db().create_column_family(family, self._memory.options())
            except Exception as error:
                raise store_error(self._path, error) from error
            self._families[family] = self._open_db().get_column_family_handle(family)
        return made

    def _build(self, table: str, index: Index) -> None:
        """Make an index of the rows that are there. It counts only when it is whole: its record comes last."""
        name, shard = index_family(table, index), self._shards[table]
        shard.reopen(self._empty(name), index)
        start: bytes | None = None
        while rows := shard.scan(start, rows_max=_BUILD_ROWS):
            batch = WriteBatch(raw_mode=True)
            self._add(batch, name, index.changes(dict[bytes, bytes | None](rows), [None] * len(rows)))
            self._apply(batch)
            start = shard.behind(rows[-1][0])
        batch = WriteBatch(raw_mode=True)
        batch[index_key(table, index.name)] = b"%d" % index.version
        self._apply(batch)

    def _commit(self, batch: WriteBatch, next_offsets: Mapping[str, int]) -> None:
        """Write `batch` and the offsets as one; remember the offsets once they are written."""
        batch.set_default_column_family(None)
        for table, offset in next_offsets.items():
            batch[self._offset_key(table)] = b"%d" % offset
        self._apply(batch)
        self._offsets.update(next_offsets)

    def _apply(self, batch: WriteBatch) -> None:
        try:
            self._open_db().write(batch)
        except Exception as error:
            raise store_error(self._path, error) from error

    def _offset_key(self, table: str) -> bytes:
        return offset_key(table, in_order=self._orders[table] is not None, topic=self._topics.get(table, ""))

    def _open_db(self) -> Rdict:
        if self._db is None:
            raise StoreUnavailable(self._path, "this store is closed")
        return self._db


def read_offsets(
    path: Path, tables: Sequence[str], owner: Identity, topics: Mapping[str, str] = NO_TOPICS
) -> dict[str, int]:
    """The changelog offsets of these tables in the database at `path`, which nobody should have open. Changes nothing.

    topics: as of `RocksStore.open`.

    Raises:
        CorruptStore: damaged, or another owner's.
        StoreUnavailable: not readable.
    """
    try:
        db = Rdict(str(path), Options(raw_mode=True), access_type=AccessType.read_only(False))
    except Exception as error:
        raise store_error(path, error) from error
    try:
        if _read(path, db, FORMAT_KEY) is None:
            raise CorruptStore(path, "it does not say whose it is")
        _check_identity(path, db, owner, fresh=False)
        found: dict[str, int | None] = {}
        for table in tables:
            topic = topics.get(table, "")
            found[table] = _next_offset(path, db, table, offset_key(table, in_order=True, topic=topic))
            found[table] = found[table] or _next_offset(path, db, table, offset_key(table, topic=topic))
    finally:
        db.close()
    return {table: offset for table, offset in found.items() if offset is not None}


def _pieces(rows: Mapping[bytes, bytes | None]) -> Iterable[Mapping[bytes, bytes | None]]:
    if len(rows) <= _WRITE_ROWS:
        return (rows,)
    left = iter(rows.items())
    return iter(lambda: dict(islice(left, _WRITE_ROWS)), {})


def _read(path: Path, db: Rdict, key: bytes) -> bytes | None:
    """A record of the store about itself. Raises as `RocksStore.open` says."""
    try:
        value: bytes | None = db.get(key)
    except Exception as error:
        del db
        raise store_error(path, error) from error
    return value


def _next_offset(path: Path, db: Rdict, table: str, key: bytes) -> int | None:
    """The changelog offset that `table` is at; None: it has none. Raises as `RocksStore.open` says."""
    stored = _read(path, db, key)
    return None if stored is None else read_offset(path, table, stored)


def _open_database(path: Path, families: Sequence[str], memory: Memory, *, fresh: bool) -> tuple[Rdict, list[str]]:
    """Open with every column family that is there and every one of `families`; and the names of those that were."""
    if not fresh and not (path / "CURRENT").exists():
        raise CorruptStore(path, "the directory has files, and none of them is a RocksDB database")
    try:
        present = [] if fresh else Rdict.list_cf(str(path), memory.options())
        wanted = {name: memory.options() for name in dict.fromkeys([*present, *families]) if name != "default"}
        return Rdict(str(path), memory.options(), column_families=wanted), present
    except Exception as error:
        raise store_error(path, error) from error


def _check_identity(path: Path, db: Rdict, owner: Identity, *, fresh: bool) -> None:
    """Compare the store's own record of what it is with `owner`; write it into a fresh store."""
    stored = _read(path, db, FORMAT_KEY)
    if stored is not None:
        refuse_another(path, read_identity(path, stored), owner)
        return
    if not fresh and any(True for _ in db.items()):
        raise CorruptStore(path, "a RocksDB database that streamcluster did not make")
    db.put(FORMAT_KEY, msgspec.json.encode(owner))
