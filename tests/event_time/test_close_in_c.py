"""Windows that are over, handled in C and in Python: the same calls, rows, outputs, failures and dead letters."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable, Generator
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamcluster import App, Record, loops
from streamcluster.codecs.table_coding import hashable
from streamcluster.engine import intake
from streamcluster.ids import TP
from streamcluster.testing import Driver

if loops.is_in_c():
    from streamcluster._close import Closed, all_end_in

pytestmark = pytest.mark.skipif(not loops.is_in_c(), reason="the loops were not built")

# With what JSON escapes, what is no ASCII, what looks as the end of a row's key, and what is no text.
TEXTS = ["a", "b", "", 'quote "', "back\\slash", "line\nbreak", "\x7f", "\x00", "é", "🦊", "a,[0.0,10.0]]", '{"py/']
KEYS = [*TEXTS, 1, 0, -5, True, None, 1.5, (1, "a"), (1, (2, 3)), 1 << 63]
# What a handler does with a value of so much.
DOES = ["nothing", "sends", "waits", "fails", "looks", "deletes", "gives an awaitable", "gives a value"]


class Order(Record):
    """Which key, and what is to be done when its window is over."""

    key: Any
    does: str


class Later:
    """It can be awaited, and is no coroutine."""

    def __init__(self, does: Callable[[], None]) -> None:
        self._does = does

    def __await__(self) -> Generator[Any, Any, None]:
        self._does()
        yield from ()


def played(events: list[tuple[Any, str, int]], key_type: Any, *, is_async: bool, is_in_c: bool) -> Any:
    """What the handler was called with and saw, and what is left."""
    before, loops._in_c = (loops._in_c, intake.SINGLE_EVENTS), is_in_c
    intake.SINGLE_EVENTS = 0
    app = App("both")
    source = app.topic("events", key_type=str, value_type=Order, partitions=1)
    output = app.topic("output", key_type=str, value_type=str, partitions=1)
    views = app.Table("views", key_type=key_type, default=list).tumbling(10, grace=0)
    seen: list[Any] = []
    refused: list[Any] = []

    @app.agent(source)
    async def count(stream: Any) -> None:
        async for order in stream:
            # JSON has lists for tuples.
            key = hashable(order.key)
            try:
                views[key] += [order.does]
            except Exception as error:  # noqa: BLE001 (it is compared)
                refused.append((type(error), str(error)))

    def does_at_once(key: Any, window: Any, done: list[str]) -> Any:
        seen.append((key, type(key), window, type(window), done))
        for what in done:
            if what == "looks":
                # Those before it are gone, and it is there.
                seen.append(sorted((repr(one), value) for one, value in views.items()))
            elif what == "fails":
                raise ValueError(f"{key!r} fails")
            elif what == "deletes":
                del app.tables["views"][key, round(window.start * 1000), round(window.end * 1000)]
        if "gives an awaitable" in done:
            return Later(lambda: seen.append("awaited"))
        return 5 if "gives a value" in done else None

    async def does_later(key: Any, window: Any, done: list[str]) -> None:
        for what in done:
            if what == "waits":
                await Later(lambda: seen.append("waited"))
            elif what == "sends":
                await output.send(key=repr(key), value=str(window.start))
        does_at_once(key, window, done)

    views.on_close(does_later if is_async else does_at_once)
    try:
        with Driver(app) as driver:
            at = 100_000
            for key, does, moves in events:
                at += moves
                order = source_value(key, does)
                driver.logs.append("events", {"key": b"k", "value": order, "timestamp": at}, 0.0)
            driver.send("events", key="k", value=Order(key="", does="nothing"), timestamp=at / 1000 + 60)
            driver.send("events", key="k", value=Order(key="", does="nothing"), timestamp=at / 1000 + 120)
            driver.advance(100)
            changelog = driver.logs.logs.get(TP("both-views-changelog", 0), [])
            rows = [(one.key, one.value, one.timestamp) for one in changelog]
            sent = [(one.key, one.value, one.timestamp) for one in driver.output("output")]
            letters = [(one.key, one.value) for one in driver.dead_letters()]
            return seen, refused, rows, sent, letters, driver.positions()
    finally:
        loops._in_c, intake.SINGLE_EVENTS = before


def source_value(key: Any, does: str) -> bytes:
    """An order as its topic has it."""
    return orjson.dumps({"key": key, "does": does})


EVENTS = st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(DOES), st.integers(0, 3_000)), max_size=30)
ALL: Any = [(key, does, 100) for key, does in zip(KEYS * 2, DOES * 4, strict=False)]


@given(EVENTS, st.sampled_from([None, str, int]), st.booleans())
@example(ALL, None, True)
@example(ALL, None, False)
@example([(key, "looks", 0) for key in TEXTS], str, False)
@settings(max_examples=25, deadline=None)
def test_c_and_python_do_the_same(events: list[tuple[Any, str, int]], key_type: Any, is_async: bool) -> None:
    """Also with handlers that wait, fail, send, look at the table, or give something else than a coroutine."""
    one = played(events, key_type, is_async=is_async, is_in_c=True)
    assert one == played(events, key_type, is_async=is_async, is_in_c=False)


def rows_of(*keys: bytes) -> list[Any]:
    """The keys of rows of one window."""
    return [b"[%b,[0.0,10.0]]" % key for key in keys]


class Shown:
    """A view, and what `Closed` asks for beside it."""

    def __init__(self) -> None:
        self.dirty: dict[Any, Any] = {}
        self.columns: Any = ({}, {}, {}, {}, {}, {}, set())
        self.slowly: list[Any] = []
        self.calls: list[Any] = []

    def discard(self, row: Any) -> None:
        self.slowly.append(row)

    def closed(self, rows: Any, values: Any, handle: Any = None, **changed: Any) -> Any:
        """An object in C over these rows."""
        named: dict[str, Any] = {
            "handle": handle or (lambda *call: self.calls.append(call)),
            "rows": rows,
            "iterator": iter(values),
            "reads_text": True,
            "decode": lambda row: (row, 0, 10_000),
            "window_of": lambda start, end: (start, end),
            "wait_for": lambda _: None,
            "view": self,
            "awake": Shown,
            "columns": self.columns,
            "gone": "gone",
        }
        return Closed(*{**named, **changed}.values())


def run(closed: Any) -> None:
    """To its end, without a loop: nothing waits."""
    with pytest.raises(StopIteration) as stop:
        closed.send(None)
    assert stop.value.value is None


def test_rows_are_handled_as_far_as_there_are_values() -> None:
    """A run that was cut has fewer; those behind them are neither handled nor deleted."""
    shown, rows = Shown(), rows_of(b'"a"', b'"b"', b'"c"')
    shown.columns[0].update(dict.fromkeys(rows, 1))
    run(shown.closed(rows, [1, 2]))
    assert shown.calls == [(rows[0], (0, 10_000), 1), ("b", (0, 10_000), 2)]
    assert shown.dirty == dict.fromkeys(rows[:2], "gone")
    assert shown.columns[0] == {rows[2]: 1}
    assert shown.columns[6] == {*rows[:2]}
    run(shown.closed(rows[2:], [3, 4, 5]))
    assert len(shown.calls) == 3


@pytest.mark.parametrize("entries", [3, 4, 5])
def test_what_is_not_usual_is_deleted_by_the_view(entries: int) -> None:
    """Objects that may be changed, their encodings, and defaults that were lent."""
    shown, rows = Shown(), rows_of(b'"a"')
    shown.columns[entries][rows[0]] = 1
    run(shown.closed(rows, [1]))
    assert (shown.slowly, shown.dirty) == (rows, {})


def test_a_view_at_rest_is_asked_itself() -> None:
    """Whose class is another one then, and refuses it."""
    shown, rows = Shown(), rows_of(b'"a"')
    run(shown.closed(rows, [1], awake=int))
    assert (shown.slowly, shown.dirty) == (rows, {})
    # Rows that are kept.
    run(shown.closed(rows, [1], awake=None))
    assert (shown.slowly, shown.dirty) == (rows, {})


def test_a_row_that_fails_is_not_deleted() -> None:
    """Nor any behind it; and it is the one in hand."""

    def fails(key: Any, _window: Any, _value: Any) -> None:
        if key == "b":
            raise ValueError(key)

    shown, rows = Shown(), rows_of(b'"a"', b'"b"', b'"c"')
    values = iter([1, 2, 3])
    with pytest.raises(ValueError, match="b"):
        shown.closed(rows, values, fails).send(None)
    assert shown.dirty == {rows[0]: "gone"}
    assert [*values] == [3]


def test_it_waits_for_its_handler_and_is_cancelled_with_it() -> None:
    """As `await` does."""
    shown, rows, ends = Shown(), rows_of(b'"a"', b'"b"'), list[str]()

    async def handle(key: Any, _window: Any, _value: Any) -> None:
        try:
            await asyncio.sleep(0)
            if key == "b":
                is_second.set()
                await asyncio.sleep(1000)
        except asyncio.CancelledError:
            ends.append(key)
            raise

    is_second = asyncio.Event()

    async def close() -> None:
        task = asyncio.get_running_loop().create_task(waited(shown.closed(rows, [1, 2], handle)))
        await is_second.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(close())
    assert (ends, shown.dirty) == (["b"], {rows[0]: "gone"})


def test_it_is_not_entered_while_it_runs() -> None:
    """By its own handler."""
    shown, refused, made = Shown(), [], list[Any]()

    def enter(*_: Any) -> None:
        with pytest.raises(RuntimeError, match="running already") as error:
            made[0].send(None)
        refused.append(error.type)

    made.append(shown.closed(rows_of(b'"a"', b'"b"'), [1, 2], enter))
    run(made[0])
    assert len(refused) == 2


async def waited(awaitable: Any) -> None:
    """As a coroutine."""
    await awaitable


@pytest.mark.parametrize("name", ["rows", "iterator", "awake", "columns"])
def test_wrong_arguments_are_refused(name: str) -> None:
    """With a TypeError."""
    with pytest.raises(TypeError):
        Shown().closed([], [], **{name: 5})


@pytest.mark.parametrize("row", [None, 5, "text"])
def test_a_key_that_is_no_bytes_is_refused(row: Any) -> None:
    """So is one that is not decoded to a key and a window."""
    with pytest.raises(TypeError):
        Shown().closed([row], [1]).send(None)
    with pytest.raises(TypeError, match="a key, a start and an end"):
        Shown().closed(rows_of(b"1"), [1], decode=lambda _: row).send(None)


def test_keys_of_one_window_end_in_the_same() -> None:
    """What is shorter does not, and what is no bytes is refused."""
    assert all_end_in([], b"x")
    assert all_end_in([b"ax", b"x"], b"x")
    assert not all_end_in([b"ax", b""], b"x")
    for wrong in ([None], ["x"], (b"x",), None):
        with pytest.raises(TypeError):
            all_end_in(wrong, b"x")  # type: ignore[arg-type]


def test_nothing_is_kept_of_what_is_closed() -> None:
    """Of a million rows and values."""
    marker = SimpleNamespace()
    gc.collect()
    counts = sys.getrefcount(marker), sys.getrefcount(None)
    for _ in range(1000):
        run(Shown().closed(rows_of(*[b'"%d"' % number for number in range(1000)]), [marker] * 1000, lambda *_: None))
    gc.collect()
    assert sys.getrefcount(marker) == counts[0]
    assert abs(sys.getrefcount(None) - counts[1]) < 1000
