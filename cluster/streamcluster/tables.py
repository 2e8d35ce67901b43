"""Table: a dict whose entries live in the shard of the running task, changelogged and committed with its events.

The object that users hold is a view: each operation finds the shard through a context variable that the engine sets
once per coroutine (and per run for streams that see several partitions). It does no I/O itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from datetime import datetime
from typing import Any, TypeVar

from .as_of import AsOf, NoVersion, time_ms
from .changelogs import ChangelogRead
from .checks import Seconds, check_callable, check_count, check_migrate, check_topic_name, seconds_of
from .codecs.table_coding import Pair
from .current import cursor_var
from .errors import AppError
from .faust_names import TABLE, names_what_is_missing
from .live_shards import LiveShard, LocalShards, ReadableShard, WholeShard
from .operated import Operated
from .table_joins.declaring import Joining
from .topics import Topic
from .windows.declaring import Windowing

K = TypeVar("K")
V = TypeVar("V")
# Values of these types cannot be changed in place, so a read of them needs no second look at the commit.
IMMUTABLE = frozenset({int, float, str, bytes, bool, type(None), complex})
# A key of one of these is never equal to one of another type that is found in memory; other types' are coded first.
SIMPLE_KEYS = frozenset({str, int, bytes})


@names_what_is_missing(TABLE, "table")
class Table(Windowing, Joining, Operated, MutableMapping[K, V]):
    """Made by `app.Table(...)`; the parameters are described there. What operators build on it is in operated.py."""

    # Its topic is read to the end that it has before its readers begin, in place of in the order of time with them.
    loads_first = False

    def __init__(
        self,
        name: str,
        *,
        default: Callable[[], V] | None = None,
        key_type: Any = None,
        value_type: Any = None,
        key_serializer: str | None = None,
        value_serializer: str | None = None,
        partitions: int | None = None,
        changelog_topic: Topic | str | None = None,
        extra_topic_configs: dict[str, Any] | None = None,
        on_recover: Callable[..., Any] | None = None,
        migrate: Callable[[Any], V] | None = None,
        ttl: Seconds | None = None,
        wall_clock: bool = False,
        history: Seconds | None = None,
        source: Topic | None = None,
        on_window_close: Callable[..., Any] | None = None,
        help: str = "",
    ) -> None:
        given = {"default": default, "on_recover": on_recover, "on_window_close": on_window_close}
        for what, fun in given.items():
            if fun is not None:
                check_callable(f"table {name!r}: {what}", fun)
        if migrate is not None:
            check_migrate(name, migrate)
        check_count(f"table {name!r}: partitions", partitions)
        _check_lifetimes(name, ttl, history, wall_clock=wall_clock)
        if isinstance(changelog_topic, str):
            check_topic_name(f"table {name!r}: changelog_topic", changelog_topic)
        Operated.__init__(self)
        self.name = name
        self.default = default
        self.key_type = key_type
        self.value_type = value_type if value_type is not None else _type_of_default(default)
        self.key_serializer = key_serializer
        self.value_serializer = value_serializer
        self.partitions = partitions
        self.changelog_topic = changelog_topic
        self.extra_topic_configs = dict(extra_topic_configs or {})
        self.migrate = migrate
        self.recover_callbacks: list[Callable[..., Any]] = [on_recover] if on_recover else []
        self.help = help
        self.window_close = on_window_close
        # The topic that it is made of.
        self.source = source
        self.shard_var: ContextVar[LiveShard] = ContextVar(f"streamcluster_table_{name}")
        # For those who ask at each event.
        self.live_shard = self.shard_var.get
        self.local: LocalShards | None = None
        # How long after its last write an entry is deleted; None: never.
        self.ttl_ms = _lasting_ms(name, "ttl", ttl)
        # That is counted by the time of day, and not by event time.
        self.wall_clock = wall_clock
        # How long what was in it before is kept; None: it is not.
        self.history_ms = _lasting_ms(name, "history", history)
        if ttl is not None or history is not None:
            self.go_by(name)

    def on_recover(self, fun: Callable[..., Any]) -> Callable[..., Any]:
        """Decorator: call `fun()` (sync or async) in a worker each time a shard of this table has been restored."""
        self.recover_callbacks.append(fun)
        return fun

    def changes(self, every: Seconds | None = None, *, coding: Callable[[Pair], Pair] | None = None) -> Topic:
        """What agents write to the table, for an agent: `@app.agent(table.changes())`. A deletion is the value None.

        Args:
            every: hold changes back for so many seconds and give out the newest of each key; None: give out all. They
                are held in the open commit, so a crash loses none; with very many of them they come sooner.
            coding: for windows.
        """
        seconds = None if every is None else seconds_of(f"table {self.name!r}: changes(every=)", every)
        topic = Topic((), changelog=ChangelogRead(self, seconds or None, coding or self.key_coding))
        self.changes_read.append(topic)
        return topic

    def suppress(
        self,
        wait: Seconds,
        *,
        max_records: int | None = None,
        max_bytes: int | None = None,
        name: str | None = None,
    ) -> Table[K, V]:
        """A table that follows this one, and gets of each key the newest of what has changed in `wait` of event time.

        Args:
            wait: seconds, or a timedelta: so long after its first change what a key has by then is let through, a
                deletion too; a change that comes later than that is let through at once.
            max_records, max_bytes: so much is held back in a partition; what has been held longest is let through
                before its time when it is more. None: no such bound.
            name: of the table that comes of it; "NAME-suppressed" when left out.
        """
        what = f"table {self.name!r}: suppress"
        check_count(f"{what}(max_records=)", max_records)
        check_count(f"{what}(max_bytes=)", max_bytes)
        if self.owner is None:
            raise AppError(f"{what}: only of tables that app.Table(...) has made.")
        if self.key_coding is not None:
            raise AppError(
                f"{what}: it has windows: give out each when it is over, with @table.on_close"
                + (" of the tables that are joined." if self.windows is not None else ".")
            )
        wait_ms = round(seconds_of(f"{what}(wait=)", wait) * 1000)
        found: Table[K, V] = self.owner.suppress_table(
            self, name, wait_ms=wait_ms, records_max=max_records, bytes_max=max_bytes
        )
        return found

    def as_of(self, time: float | datetime | None = None) -> AsOf:
        """The entries as they were at a time: `table.as_of(click.time)[key]`, `.get(key)`, `key in`; needs history=.

        In an agent `table.as_of(time)[key] = value` says what there was from that time on, until the next version.

        Args:
            time: seconds since 1970, or a datetime; None: that of the event in hand.
        """
        if self.history_ms is None:
            raise AppError(f"table {self.name!r} keeps no versions: declare it with history=, in seconds.")
        return AsOf(self, None if time is None else time_ms(f"table {self.name!r}: as_of", time))

    # The mapping

    def __getitem__(self, key: K) -> V:
        try:
            shard = self.shard_var.get()
        except LookupError:
            try:
                return self._shard_outside(key).stored(key)  # type: ignore[no-any-return]
            except KeyError:
                return self.__missing__(key)
        kind = type(key)
        identity = key if kind is str or kind is int else shard.identity(key)
        try:
            return shard.values[identity]  # type: ignore[no-any-return]
        except KeyError:
            pass
        if identity in shard.absent and identity not in shard.objects:
            return self.__missing__(key)
        try:
            return shard.read(identity)  # type: ignore[no-any-return]
        except KeyError:
            return self.__missing__(key)

    def __missing__(self, key: K) -> V:
        if self.default is None:
            raise KeyError(key) from None
        value = self.default()
        if type(value) not in IMMUTABLE:
            shard = self.shard_var.get(None)
            if shard is not None:
                shard.lend(shard.identity(key), value)
        return value

    def __setitem__(self, key: K, value: V) -> None:
        try:
            shard = self.shard_var.get()
        except LookupError:
            shard = self.shard_to_write()
        kind = type(key)
        identity = key if kind is str or kind is int else shard.identity(key)
        # `write` in this frame, for a table of plain values from which nothing was deleted since the last cut.
        if type(value) in IMMUTABLE and shard.is_at_event and not shard.objects and not shard.deleted:
            shard.values[identity] = value
            shard.dirty[identity] = value
        else:
            shard.write(identity, value)

    def __delitem__(self, key: K) -> None:
        shard = self.shard_to_write()
        try:
            shard.delete(shard.identity(key))
        except KeyError:
            raise KeyError(key) from None

    def __contains__(self, key: Any) -> bool:
        return self.get(key, _Items) is not _Items

    def __iter__(self) -> Iterator[K]:
        for shard in self._shards():
            for key, _ in shard.rows():
                yield key

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def get(self, key: K, default: Any = None) -> Any:
        """The stored value, or `default`; the table's own default is not used, as in a defaultdict."""
        own = self.shard_var.get(None)
        try:
            if own is None:
                return self._shard_outside(key).stored(key)
            return own.stored(key if type(key) is str else own.identity(key))
        except KeyError:
            return default

    def pop(self, key: K, *default: Any) -> Any:
        """Remove an entry and return its value; KeyError without a second argument when there is none."""
        value = self.get(key, _Items)
        if value is _Items:
            if default:
                return default[0]
            raise KeyError(key)
        del self[key]
        return value

    def setdefault(self, key: K, default: Any = None) -> Any:
        """The stored value; when there is none, store `default` (or what the table's own default gives) first."""
        value = self.get(key, _Items)
        if value is _Items:
            value = self.default() if default is None and self.default is not None else default
            self[key] = value
        return value

    def items(self) -> Any:
        """(key, value) pairs: in an agent those of its own partition, elsewhere all of this worker's."""
        return _Items(self)

    def clear(self) -> None:
        """Delete every entry of the current partition."""
        self.shard_to_write().delete_range()

    def copy(self) -> dict[K, V]:
        """A plain dict of the entries."""
        return dict(self.items())

    def as_ansitable(self, *, title: str = "", key: str = "Key", value: str = "Value", sort: bool = False) -> str:
        """The entries as a text table."""
        rows = [(str(k), str(v)) for k, v in self.items()]
        rows = [(key, value), *(sorted(rows) if sort else rows)]
        width = max(len(first) for first, _ in rows)
        lines = [f"{first:<{width}}  {second}" for first, second in rows]
        return "\n".join([title, *lines] if title else lines)

    # Where the entries are

    def _shards(self) -> Sequence[WholeShard]:
        shard = self.shard_var.get(None)
        if shard is not None:
            return [shard]
        if self.local is None:
            raise AppError(f"table {self.name!r}: nothing runs the app here, so there is nothing to read.")
        self._refuse_in_event()
        return self.local.all()

    def _shard_outside(self, key: object) -> ReadableShard:
        self._refuse_in_event()
        if self.local is None:
            raise AppError(f"table {self.name!r}: nothing runs the app here, so there is nothing to read.")
        shard = self.local.find(key)
        if shard is None:
            raise AppError(
                f"table {self.name!r}: the partition of {key!r} is not on this worker. Outside of an agent a worker "
                f"sees only its own partitions; `streamcluster table {self.name} KEY` asks all of them."
            )
        return shard

    def stored_at(self, key: object, time: int) -> Any:
        """What was there at a time, in ms, outside of agents; KeyError: nothing."""
        self._refuse_in_event()
        if self.local is not None:
            with suppress(NoVersion):
                return self.local.stored_at(key, time)
        return self._shard_outside(key).stored(key)

    def shard_to_write(self) -> LiveShard:
        """The shard of the running task; AppError: no event is being handled here."""
        try:
            return self.shard_var.get()
        except LookupError:
            self._refuse_in_event()
            raise AppError(
                f"table {self.name!r} can be written only while an agent or stream is at an event: the entry belongs "
                "to that event's partition and is committed with it. Send an event to an agent instead."
            ) from None

    def _refuse_in_event(self) -> None:
        cursor = cursor_var.get()
        if cursor is not None and cursor.task is not None:
            raise TableElsewhere(self.name, cursor.owner, cursor.task.group)


def bytes_table(
    name: str, *, partitions: int | None = None, help: str, definition: Mapping[str, int | str] | None = None
) -> Table[bytes, bytes]:
    """An internal table of rows whose bytes its operator makes itself. definition: see `Table`."""
    table: Table[bytes, bytes] = Table(
        name,
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
        partitions=partitions,
        help=help,
    )
    table.define(definition or {})
    return table


class TableElsewhere(AppError):
    """A table was used by an agent whose topics have another partition count."""

    def __init__(self, table: str, agent: str, partition_count: int) -> None:
        super().__init__(
            f"table {table!r} has no shard for {agent!r}, whose topics have {partition_count} partitions: a table "
            "lives with the topics of one partition count. Use group_by(..., partitions=N) to bring the events to it."
        )
        self.table = table
        self.agent = agent


class _Items:
    """The view that `items()` returns: one pass over the rows, without a lookup per key."""

    __slots__ = ("_table",)

    def __init__(self, table: Table[Any, Any]) -> None:
        self._table = table

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        # In an event, values that can be changed are the table's own, so that changes in place are kept.
        own = self._table.shard_var.get(None)
        for shard in self._table._shards():
            for key, value in shard.rows():
                if own is None or type(value) in IMMUTABLE:
                    yield key, value
                    continue
                try:
                    yield key, own.stored(own.identity(key))
                except KeyError:
                    continue  # Deleted since the iteration began.

    def __len__(self) -> int:
        return len(self._table)

    def __contains__(self, item: tuple[Any, Any]) -> bool:
        key, value = item
        return bool(self._table.get(key, _Items) == value)


def _lasting_ms(name: str, what: str, value: Seconds | None) -> int | None:
    return None if value is None else round(seconds_of(f"table {name!r}: {what}", value) * 1000)


def _check_lifetimes(name: str, ttl: Seconds | None, history: Seconds | None, *, wall_clock: bool) -> None:
    if wall_clock and ttl is None:
        raise AppError(f"table {name!r}: wall_clock=True says what ttl= counts by: give ttl=.")
    if ttl is not None and history is not None:
        raise AppError(f"table {name!r}: history= and ttl= do not go together: delete entries in an agent.")


def _type_of_default(default: Callable[[], Any] | None) -> Any:
    """`default=int` says the value type too; set needs it to survive JSON."""
    return default if default is set else None
