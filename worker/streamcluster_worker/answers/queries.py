"""Queries: answers to ReadTable from the stores of this worker's tasks: those that it owns, or those that it follows.

All reads are in one thread, one at a time, in short pieces; the loop only says which stores there are. So they see what
is committed, and no event waits for them. A store may be closed meanwhile: that is an answer too. It knows no engine.
"""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import msgspec

from streamcluster.as_of import NoVersion
from streamcluster.codecs.coding import shown_bytes
from streamcluster.codecs.named_json import MARK
from streamcluster.codecs.table_coding import Pair, make_table_coder
from streamcluster.dates import undated
from streamcluster.engine.event_time.time_row import ROW_KEY, decode_row
from streamcluster.ids import TaskId
from streamcluster.outside import Unreadable, parse
from streamcluster.printable import encodable, text_of
from streamcluster.protocol.messages import READ_SECONDS, UNREADABLE, ReadTable, Rows, ToCoordinator
from streamcluster.settings import Settings
from streamcluster.shown import json_of, key_reader
from streamcluster.stores import StoreClosed, StoreFailed, TaskStore
from streamcluster.tables import Table
from streamcluster.times import NO_TIME
from streamcluster.topology import ResolvedTable, Topology
from streamcluster.topology.timed import time_table_name
from streamcluster.topology.units import Plan
from streamcluster.versions import version_at, versions_name
from streamcluster.windows.keys import shown
from streamcluster.windows.pane_pages import window_in, windows_behind

from ..lifecycle import State
from ..state.follow import Follower

# A page of more ends early. It is made a message on the loop, which takes about 1 ms.
ROWS_BYTES_MAX = 1024 * 1024
# A coordinator asks for one page at a time for each of its askers; what is beyond this may ask again.
QUESTIONS_MAX = 32
# About 2 ms of work, which is how long the loop may have to wait for Python's lock; then a rest of the same length.
PIECE_ROWS = 500
PIECE_BYTES = 256 * 1024
# Of what a question is refused for.
ERROR_CHARS_MAX = 1_000
# What a row may take of a frame, which a JSON text may need more of than its bytes in the changelog.
SHOWN_CHARS_MAX = 8 * 1024 * 1024
# A row of a store, by its key.
Read = Callable[[TaskStore, bytes], bytes | None]
# Some rows of a store, behind a place, at most so many; and the place behind them.
Scan = Callable[[TaskStore, bytes | None, int], tuple[list[tuple[bytes, bytes]], bytes | None]]
# What a place begins with in a table whose rows are merged of others: it is one of its own, or one of those.
OWN, MERGED = b"o", b"m"
# What is shown of a key that is none of the table's.
ODD_KEY_BYTES_MAX = 200


class _Found(msgspec.Struct):
    """Where to look. stores: of the table's tasks that are here; away: why others of them cannot be read now.

    lag: records that the stores may be behind; None: they are the owner's.
    """

    stores: dict[TaskId, TaskStore] = msgspec.field(default_factory=dict)
    away: list[str] = msgspec.field(default_factory=list)
    lag: int | None = None


class _Coder(msgspec.Struct, frozen=True):
    """keys: of JSON text, the bytes that it may stand for in the changelog, the likelier first."""

    keys: Callable[[bytes], list[bytes]]
    decode_key: Callable[[bytes], Any]
    decode_value: Callable[[bytes], Any]


class Queries:
    """Answers one question after the other, in a thread of its own that begins with the first of them."""

    def __init__(
        self,
        plan: Plan,
        topology: Topology,
        settings: Settings,
        send: Callable[[ToCoordinator], None],
        failed: Callable[[TaskId, StoreFailed], None],
    ) -> None:
        """On the loop. send: called there, with each answer; failed: too, for a store that cannot be read."""
        self._plan = plan
        self._settings = settings
        # No record of ours is larger: decoding one takes a few milliseconds, in which the loop has to wait.
        self._row_bytes_max = settings.producer_max_request_size
        self._tables = {table.name: table for table in topology.tables}
        self._send = send
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="queries")
        # How many are asked and not answered.
        self._waiting = 0
        # Of the thread alone: a table's coders are made once, and are not those that the loop uses at the same time.
        self._coders: dict[str, _Coder] = {}
        self._ended = threading.Event()

    def ask(
        self,
        request: ReadTable,
        states: Mapping[TaskId, State],
        stores: Mapping[TaskId, TaskStore],
        follower: Follower | None,
    ) -> None:
        """Answer soon. On the loop.

        Args:
            request: one key, or a page.
            states: this worker's tasks; what one has that does not run cannot be told.
            stores: those that are open.
            follower: of the session; None while there is none.
        """
        if (table := self._tables.get(request.table)) is None:
            known = ", ".join(self._tables) or "none"
            text = f"there is no table {request.table!r}; there are: {known}"
            self._send(Rows(request=request.request, error=text))
        elif request.until is not None and time.monotonic() > request.until:
            # It lay in the socket for so long that nobody waits for the answer.
            return
        elif self._waiting >= QUESTIONS_MAX:
            self._send(_passing(request, f"{self._waiting} questions wait at this worker"))
        elif request.standby and follower is None:
            self._send(_passing(request, "this worker has no connection to Kafka"))
        else:
            look = (lambda: _followed(table, follower)) if request.standby and follower is not None else None
            owned = _owned(table, states, stores)
            self._waiting += 1
            until = time.monotonic() + READ_SECONDS if request.until is None else request.until
            answer = self._loop.run_in_executor(self._pool, self._answer, request, until, look or (lambda: owned))
            answer.add_done_callback(self._answered)

    def _answered(self, answer: asyncio.Future[Rows | None]) -> None:
        self._waiting -= 1
        if not answer.cancelled() and (rows := answer.result()) is not None:
            self._send(rows)

    def end(self) -> None:
        """Answer no more. Does not wait: what is being read ends when its store is closed, or soon."""
        self._ended.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    # In the thread

    def _answer(self, request: ReadTable, until: float, look: Callable[[], _Found]) -> Rows | None:
        """None: whoever asked has given up."""
        if self._ended.is_set() or time.monotonic() > until:
            return None
        try:
            found = look()
            coder = self._coder(request.table)
            if request.key is not None:
                read = self._get(request.table) if request.as_of is None else self._as_of(request.table, request.as_of)
                rows = self._one(request, request.key, found, coder, read)
            elif found.away:
                rows = _passing(request, f"{', '.join(sorted(found.away))} yet")
            else:
                rows = self._page(request, found.stores, coder, until)
        except TimeoutError:
            return None
        except StoreClosed:
            return _passing(request, "a task of the table leaves this worker")
        except StoreFailed:
            return _passing(request, "a task of the table has a store that cannot be read, and is restored")
        except Exception as error:  # noqa: BLE001 (the thread's boundary; key, cursor, codecs and disk are others')
            return Rows(request=request.request, error=f"table {request.table!r}: {text_of(error):.{ERROR_CHARS_MAX}}")
        return msgspec.structs.replace(rows, lag=found.lag)

    def _coder(self, name: str) -> _Coder:
        if name not in self._coders:
            table = self._table(name)
            key = make_table_coder(table.key_type, table.key_serializer, is_key=True, **self._settings.codec_bounds)
            value = self._value_coder(table)
            encode, read = key[0], key_reader(table.key_type, table.key_serializer)
            if table.key_coding is not None:
                key = shown(key)
                encode, read = key[0], key_reader(None, None)
            read_value = value[1] if table.dated is None else partial(_undated, value[1])
            self._coders[name] = _Coder(lambda text: [encode(one) for one in read(text)], key[1], read_value)
        return self._coders[name]

    def _page(self, request: ReadTable, stores: Mapping[TaskId, TaskStore], coder: _Coder, until: float) -> Rows:
        """Raises TimeoutError: nobody wants the rest."""
        scan = self._scan(request.table)
        start, start_key = _read_cursor(request.after)
        rows_max = max(1, request.rows_max)
        rows: list[tuple[str, str]] = []
        size = 0
        for task, store in sorted(stores.items()):
            after = start_key if task == start else None
            # Ends: each turn either moves `after` on, or is the last.
            while start is None or task >= start:
                began = time.monotonic()
                with self._reading(task, store):
                    piece, after = scan(store, after, min(PIECE_ROWS, rows_max - len(rows)))
                if not piece or after is None:
                    break
                for key, value in piece:
                    row = shown_row(key, value, coder, self._row_bytes_max)
                    rows.append(row)
                    size += len(row[0]) + len(row[1])
                if len(rows) >= rows_max or size > ROWS_BYTES_MAX:
                    return Rows(request=request.request, rows=tuple(rows), after=_cursor(task, after))
                if time.monotonic() > until:
                    raise TimeoutError
                if self._ended.wait(time.monotonic() - began):
                    raise StoreClosed
        return Rows(request=request.request, rows=tuple(rows))

    def _scan(self, name: str) -> Scan:
        """Rows of a page. What is merged of others comes behind the table's own."""

        def own(store: TaskStore, after: bytes | None, rows_max: int) -> tuple[list[tuple[bytes, bytes]], bytes | None]:
            shard = store.shard(name)
            found = shard.scan(None if after is None else shard.behind(after), rows_max=rows_max, bytes_max=PIECE_BYTES)
            return found, found[-1][0] if found else None

        table = self._table(name)
        if (panes := table.merged) is None:
            return own
        value = self._value_coder(table)

        def both(
            store: TaskStore, after: bytes | None, rows_max: int
        ) -> tuple[list[tuple[bytes, bytes]], bytes | None]:
            if after is None or after.startswith(OWN):
                found, last = own(store, None if after is None else after[1:], rows_max)
                if last is not None:
                    return found, OWN + last
                after = MERGED
            for rows in windows_behind(panes, store, after[1:] or None, value, _time_in(store, table)):
                if rows:
                    return rows[:rows_max], MERGED + rows[:rows_max][-1][0]
            return [], None

        return both

    def _table(self, name: str) -> Table[Any, Any]:
        return next(table for table in self._plan.tables if table.name == name)

    def _value_coder(self, table: Table[Any, Any]) -> Pair:
        return make_table_coder(
            table.value_type, table.value_serializer, migrate=table.migrate, **self._settings.codec_bounds
        )

    def _get(self, name: str) -> Read:
        table = self._table(name)
        if (panes := table.merged) is None:
            return lambda store, key: store.shard(name).get(key)
        value = self._value_coder(table)

        def read(store: TaskStore, key: bytes) -> bytes | None:
            found = store.shard(name).get(key)
            return window_in(panes, store, key, value, _time_in(store, table)) if found is None else found

        return read

    def _as_of(self, name: str, time_ms: int) -> Read:
        """What was there at that time."""
        table = self._table(name)
        history = table.history_ms
        if history is None:
            raise ValueError("it keeps no versions: declare it with history=")

        def read(store: TaskStore, key: bytes) -> bytes | None:
            oldest = _time_in(store, table) - history
            try:
                return version_at(store.shard(versions_name(name)).scan, key, time_ms, oldest)
            except NoVersion:
                return store.shard(name).get(key)

        return read

    def _one(self, request: ReadTable, text: str, found: _Found, coder: _Coder, read: Read) -> Rows:
        keys = parse(coder.keys, text.encode(), self._row_bytes_max)
        away = list(found.away)
        for task, store in sorted(found.stores.items()):
            try:
                with self._reading(task, store):
                    values = [read(store, key) for key in keys]
            except StoreClosed:
                away.append(f"task {task} does not run")
                continue
            for value in values:
                if value is not None:
                    return Rows(
                        request=request.request, rows=((text, _shown(coder.decode_value, value, self._row_bytes_max)),)
                    )
        if away:
            return _passing(request, f"{', '.join(sorted(away))} yet")
        return Rows(request=request.request, owner=False)

    @contextmanager
    def _reading(self, task: TaskId, store: TaskStore) -> Iterator[None]:
        """Read; have a store that cannot be read opened anew, or else nobody may notice for long."""
        try:
            with store.reading():
                yield
        except StoreFailed as error:
            self._loop.call_soon_threadsafe(self._failed, task, error)
            raise


def _time_in(store: TaskStore, table: Table[Any, Any]) -> int:
    """T of the table, as committed."""
    row = decode_row(store.shard(time_table_name(table.timed)).get(ROW_KEY))
    return NO_TIME if row is None else row.time


def _undated(decode: Callable[[bytes], Any], row: bytes) -> Any:
    return decode(undated(row))


def _owned(table: ResolvedTable, states: Mapping[TaskId, State], stores: Mapping[TaskId, TaskStore]) -> _Found:
    found = _Found()
    for task, state in states.items():
        if task.group != table.group or state == "standby":
            continue
        if state == "running" and task in stores:
            found.stores[task] = stores[task]
        else:
            found.away.append(f"task {task} does not run")
    return found


def _followed(table: ResolvedTable, follower: Follower) -> _Found:
    """The lag is taken first, so that it is true of what is read after."""
    found = _Found(lag=0)
    for task, standing in follower.read(dict).items():
        if task.group != table.group:
            continue
        found.lag = (found.lag or 0) + standing.lag[table.changelog]
        if standing.store is not None:
            found.stores[task] = standing.store
        else:
            found.away.append(f"the store of task {task} is not open")
    return found


def _passing(request: ReadTable, reason: str) -> Rows:
    return Rows(request=request.request, owner=False, error=reason, passing=True)


def _cursor(task: TaskId, key: bytes) -> str:
    """Behind this key of this task: letters, digits, and none that coordinators put before it."""
    return f"{task},{base64.urlsafe_b64encode(key).decode()}"


def _read_cursor(text: str | None) -> tuple[TaskId | None, bytes | None]:
    if text is None:
        return None, None
    task, comma, key = text.partition(",")
    try:
        if not comma:
            raise ValueError
        return TaskId.parse(task), base64.b64decode(key, altchars=b"-_", validate=True)
    except ValueError:
        raise ValueError(f"{text!r} is not a cursor: begin again without it") from None


def shown_row(key: bytes, value: bytes, coder: _Coder, bytes_max: int) -> tuple[str, str]:
    """A row as it is shown; one that somebody else has written may be anything, and costs the page nothing."""
    shown = _shown(coder.decode_key, key, bytes_max)
    if key.find(MARK) >= 0 and not shown.startswith(UNREADABLE):
        shown = _as_written(key, shown)
    if not shown.startswith(UNREADABLE):
        return shown, _shown(coder.decode_value, value, bytes_max)
    return json_of(key[:ODD_KEY_BYTES_MAX]), f"{UNREADABLE}the key: {shown.removeprefix(UNREADABLE)}"


def _as_written(key: bytes, shown: str) -> str:
    """With the name of its type: a text or number of the same look is another key."""
    try:
        msgspec.json.decode(key)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Another codec's, in which these bytes are by chance.
        return shown
    return key.decode()


def _shown(decode: Callable[[bytes], Any], data: bytes, bytes_max: int) -> str:
    """JSON, or UNREADABLE and why."""
    try:
        shown = parse(lambda data: json_of(decode(data)), data, bytes_max)
    except Unreadable as error:
        return f"{UNREADABLE}{encodable(str(error))}; {shown_bytes(data)}"
    except BaseException as error:  # noqa: BLE001 (a codec's SystemExit, for one: nobody may end this process by reading)
        return f"{UNREADABLE}{encodable(f'{type(error).__name__}: {text_of(error):.{ERROR_CHARS_MAX}}')}"
    if len(shown) > SHOWN_CHARS_MAX:
        return f"{UNREADABLE}{len(shown)} characters of JSON, and at most {SHOWN_CHARS_MAX} are shown"
    return shown
