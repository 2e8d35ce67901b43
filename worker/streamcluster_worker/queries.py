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
from dataclasses import dataclass, field
from typing import Any

import msgspec

from streamcluster.coding import make_table_coder
from streamcluster.freeze import Plan
from streamcluster.ids import TaskId
from streamcluster.messages import READ_SECONDS, ReadTable, Rows, ToCoordinator
from streamcluster.plain import dumps
from streamcluster.settings import Settings
from streamcluster.stores import StoreClosed, StoreFailed, TaskStore
from streamcluster.topology import ResolvedTable, Topology

from .follow import Follower
from .lifecycle import State

ROWS_BYTES_MAX = 8 * 1024 * 1024
# A coordinator asks for one page at a time for each of its askers; what is beyond this may ask again.
QUESTIONS_MAX = 32
# About 2 ms of work, which is how long the loop may have to wait for Python's lock; then a rest of the same length.
PIECE_ROWS = 500
PIECE_BYTES = 1024 * 1024


@dataclass(slots=True)
class _Found:
    """Where to look. stores: of the table's tasks that are here; away: why others of them cannot be read now.

    lag: records that the stores may be behind; None: they are the owner's.
    """

    stores: dict[TaskId, TaskStore] = field(default_factory=dict)
    away: list[str] = field(default_factory=list)
    lag: int | None = None


@dataclass(frozen=True, slots=True)
class _Coder:
    encode_key: Callable[[Any], bytes | None]
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
        elif self._waiting >= QUESTIONS_MAX:
            self._send(_passing(request, f"{self._waiting} questions wait at this worker"))
        elif request.standby and follower is None:
            self._send(_passing(request, "this worker has no connection to Kafka"))
        else:
            look = (lambda: _followed(table, follower)) if request.standby and follower is not None else None
            owned = _owned(table, states, stores)
            self._waiting += 1
            answer = self._loop.run_in_executor(
                self._pool, self._answer, request, time.monotonic(), look or (lambda: owned)
            )
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

    def _answer(self, request: ReadTable, asked: float, look: Callable[[], _Found]) -> Rows | None:
        """None: whoever asked has given up."""
        if self._ended.is_set() or time.monotonic() - asked > READ_SECONDS:
            return None
        try:
            found = look()
            coder = self._coder(request.table)
            if request.key is not None:
                rows = self._one(request, request.key, found, coder)
            elif found.away:
                rows = _passing(request, f"{', '.join(sorted(found.away))} yet")
            else:
                rows = self._page(request, found.stores, coder)
        except StoreClosed:
            return _passing(request, "a task of the table leaves this worker")
        except StoreFailed:
            return _passing(request, "a task of the table has a store that cannot be read, and is restored")
        except Exception as error:  # noqa: BLE001 (the thread's boundary; key, cursor, codecs and disk are others')
            return Rows(request=request.request, error=f"table {request.table!r}: {error}")
        return msgspec.structs.replace(rows, lag=found.lag)

    def _coder(self, name: str) -> _Coder:
        if name not in self._coders:
            table = next(table for table in self._plan.tables if table.name == name)
            allow = self._settings.allow_pickle
            key = make_table_coder(table.key_type, table.key_serializer, allow_pickle=allow, is_key=True)
            value = make_table_coder(table.value_type, table.value_serializer, allow_pickle=allow)
            self._coders[name] = _Coder(key[0], key[1], value[1])
        return self._coders[name]

    def _page(self, request: ReadTable, stores: Mapping[TaskId, TaskStore], coder: _Coder) -> Rows:
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
                    piece = store.shard(request.table).scan(
                        after, rows_max=min(PIECE_ROWS, rows_max - len(rows)), bytes_max=PIECE_BYTES
                    )
                if not piece:
                    break
                after = piece[-1][0]
                for key, value in piece:
                    row = (_json(coder.decode_key(key)), _json(coder.decode_value(value)))
                    rows.append(row)
                    size += len(row[0]) + len(row[1])
                if len(rows) >= rows_max or size > ROWS_BYTES_MAX:
                    return Rows(request=request.request, rows=tuple(rows), after=_cursor(task, after))
                if self._ended.wait(time.monotonic() - began):
                    raise StoreClosed
        return Rows(request=request.request, rows=tuple(rows))

    def _one(self, request: ReadTable, text: str, found: _Found, coder: _Coder) -> Rows:
        key = coder.encode_key(coder.decode_key(text.encode())) or b""
        away = list(found.away)
        for task, store in sorted(found.stores.items()):
            try:
                with self._reading(task, store):
                    value = store.shard(request.table).get(key)
            except StoreClosed:
                away.append(f"task {task} does not run")
                continue
            if value is not None:
                return Rows(request=request.request, rows=((text, _json(coder.decode_value(value))),))
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


def _json(value: object) -> str:
    return dumps(value).decode()
