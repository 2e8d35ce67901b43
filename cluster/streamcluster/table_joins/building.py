"""Makes a join of tables: the table that comes of it, the agents that write it, and the topics between these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..agents import Agent
from ..codecs.table_coding import make_table_coder
from ..errors import AppError
from ..models import field_getter, field_type, without_none
from ..operators import Merge
from ..settings import Settings
from ..sources import Source
from ..streams import Stream
from ..tables import Table, bytes_table
from ..topics import Topic
from ..windows.keys import decoding_windows, in_windows
from ..windows.windowed import WindowedTable
from .equal import EqualJoin, joining
from .foreign import ForeignKey, LeftOfForeign, RightOfForeign, left_of, right_of
from .sides import LEFT, RIGHT, Result, Side
from .windows import Windows, check_windows, has_windows_beside, keep_windows, rows_of, windows_of

# Of these, a key of one is never the same as a key of another.
SIMPLE = (str, bytes, int)


@dataclass(frozen=True, slots=True, eq=False)
class JoinedTables:
    """A join as it is declared.

    foreign, asks, answers: of a foreign key: what it is, and what the sides send each other; else None.
    """

    table: Table[Any, Any]
    left: Table[Any, Any]
    right: Table[Any, Any]
    agents: tuple[Agent, ...]
    foreign: ForeignKey | None = None
    asks: Topic | None = None
    answers: Topic | None = None


def join_tables(
    left: Any, right: Any, how: str, on: Any, name: str | None, conf: Callable[[], Settings]
) -> JoinedTables:
    """Declare it. how: as the default name says it. conf: the settings, when the app runs.

    Raises:
        AppError: the two cannot be joined like that.
    """
    what = f"table {left.name!r}: {how.replace('-', '_')}"
    _check_right(what, left, right)
    _check_kinds(what, left, right, on)
    mine, theirs = windows_of(left), windows_of(right)
    left, right = rows_of(left), rows_of(right)
    if on is None and left is right:
        raise AppError(f"{what}: by equal keys each row of a table meets itself: say on=, what of a row is the key.")
    _check_keys(what, left, right, on)
    result = _result(name or f"{left.name}-{how}-{right.name}", left, right, what)
    rows = Result(result, keeps_left=how != "join", keeps_right=how == "outer-join")
    kept = bytes_table(
        f"{result.name}-sides",
        help=f"the rows of {left.name} and {right.name}, as {result.name} has read them",
        definition={"join": how.replace("-", "_"), "left": left.name, "right": right.name, "on": _name_of(on)},
    )
    if mine is not None and theirs is not None:
        result.code_keys(in_windows, decoding_windows)
        return _by_equal_keys(left, right, kept, rows, (mine, theirs))
    if on is None:
        return _by_equal_keys(left, right, kept, rows)
    foreign = ForeignKey(_key_of(what, on), lambda: _key_coder(right, conf()), without_none(field_type(on)))
    return _by_foreign_key(left, right, kept, rows, foreign)


def _check_right(what: str, left: Table[Any, Any] | WindowedTable, right: object) -> None:
    """Refuse what is no table of the app, with what to write."""
    if isinstance(right, (Table, WindowedTable)):
        if right.owner is left.owner:
            return
        raise AppError(f"{what}: table {right.name!r} is of another app: both must be of one.")
    if isinstance(right, Topic):
        raise AppError(
            f"{what}: {right.describe()} is a topic: make a table of it, app.Table(..., source=topic), and join that. "
            f"To meet each event of it with what table {left.name!r} has, write app.stream(topic).join(table)."
        )
    if isinstance(right, Stream):
        raise AppError(
            f"{what}: the stream over {right.source.label} is no table: write stream.join(table), where each event "
            f"meets what table {left.name!r} has."
        )
    raise AppError(f"{what}({right!r}): give a table of the same app.")


def _check_kinds(what: str, left: Any, right: Any, on: Any) -> None:
    """Refuse windows with what cannot be the same."""
    for one in (left, right):
        if has_windows_beside(one):
            raise AppError(f"{what}: table {one.name!r} has windows: join what .tumbling(...) and the like returned.")
    windowed = [one for one in (left, right) if windows_of(one) is not None]
    if len(windowed) == 1:
        plain = right if windowed[0] is left else left
        raise AppError(
            f"{what}: table {windowed[0].name!r} has windows, and {plain.name!r} has none: write results of windows to "
            "a plain table in on_close (finals[key] = value), and join that."
        )
    if windowed and on is not None:
        raise AppError(
            f"{what}(on=...): tables {left.name!r} and {right.name!r} have windows: they are joined by key and window. "
            "Leave on= out, or write results of windows to a plain table in on_close, and join that."
        )
    if windowed:
        check_windows(what, left, right)


def _name_of(on: Any) -> str:
    """By which another one is told from it. A function may be written anew."""
    if on is None:
        return "the key"
    return getattr(on, "__name__", None) or type(on).__name__


def _by_equal_keys(
    left: Table[Any, Any],
    right: Table[Any, Any],
    kept: Table[bytes, bytes],
    rows: Result,
    windows: tuple[Windows, Windows] | None = None,
) -> JoinedTables:
    """windows: of what the keys are, if they are of windows."""
    result = rows.table
    coding = None if windows is None else in_windows
    sides = Side(left, left.changes(coding=coding), LEFT), Side(right, right.changes(coding=coding), RIGHT)
    join = EqualJoin(*sides, kept, rows)
    body = joining(join if windows is None else keep_windows(join, *windows), result)
    agent = _agent(f"{result.name}-join", body, (sides[0].changes, sides[1].changes), kept)
    return JoinedTables(result, left, right, (agent,))


def _by_foreign_key(
    left: Table[Any, Any], right: Table[Any, Any], mine: Table[bytes, bytes], rows: Result, foreign: ForeignKey
) -> JoinedTables:
    result = rows.table
    asks, answers = Topic((), value_serializer="raw"), Topic((), key_serializer="raw", value_serializer="raw")
    theirs = bytes_table(f"{result.name}-right-rows", help=f"the rows of {right.name}, as read, and who names them")
    sides = Side(left, left.changes(), LEFT), Side(right, right.changes(), RIGHT)
    of_left = left_of(LeftOfForeign(*sides, foreign, mine, asks, rows), answers, result)
    of_right = right_of(RightOfForeign(sides[1], theirs, answers), asks)
    agents = (
        _agent(f"{result.name}-left", of_left, (sides[0].changes, answers), mine),
        _agent(f"{result.name}-right", of_right, (sides[1].changes, asks), theirs),
    )
    return JoinedTables(result, left, right, agents, foreign, asks, answers)


def _agent(name: str, body: Any, topics: tuple[Topic, Topic], kept: Table[Any, Any]) -> Agent:
    first, second = (Source(topic.describe(), (topic,)) for topic in topics)
    stream = Stream[Any](first, (Merge((Stream[Any](second),)),))
    return Agent(name, body, topics[0], stream, help="joins tables", keeps=(kept,))


def _result(name: str, left: Table[Any, Any], right: Table[Any, Any], what: str) -> Table[Any, Any]:
    """The table that comes of it: of pairs, under the keys of the left one."""
    types = [Any if table.value_type is None else table.value_type | None for table in (left, right)]
    result = Table[Any, Any](
        name,
        key_type=left.key_type,
        key_serializer=left.key_serializer,
        value_type=tuple[types[0], types[1]],  # type: ignore[valid-type]
        help=f"{left.name} and {right.name}, joined",
    )
    for table in (left, right, result):
        table.be_stamped()
    return result


def _check_keys(what: str, left: Table[Any, Any], right: Table[Any, Any], on: Any) -> None:
    """Refuse what is never the same, and what has not the same bytes."""
    mine, theirs = (left.key_type if on is None else without_none(field_type(on))), right.key_type
    if mine in SIMPLE and theirs in SIMPLE and mine is not theirs:
        source = f"keys of {left.name!r}" if on is None else f"{on.__name__!r} of {left.name!r}"
        raise AppError(
            f"{what}: {source} are {mine.__name__}, and keys of {right.name!r} are {theirs.__name__}: no key is ever "
            "the same. Give both the same type."
        )
    if on is None and _written(left) != _written(right):
        raise AppError(
            f"{what}: keys of table {left.name!r} are written as {_written(left)}, those of {right.name!r} as "
            f"{_written(right)}: give both the same key_type= and key_serializer=."
        )


def _written(table: Table[Any, Any]) -> str:
    """How keys of the table are written in its changelog."""
    kind = "JSON" if table.key_type in (None, str, int) else getattr(table.key_type, "__name__", str(table.key_type))
    return kind if table.key_serializer is None else f"{kind}, {table.key_serializer}"


def _key_of(what: str, on: Any) -> Callable[[Any], Any]:
    getter = field_getter(on)
    if getter is not None:
        return getter
    if not callable(on):
        raise AppError(f"{what}(on={on!r}): give a field of the record (Account.owner_id) or a function of the value.")
    found: Callable[[Any], Any] = on
    return found


def _key_coder(table: Table[Any, Any], conf: Settings) -> Any:
    return make_table_coder(table.key_type, table.key_serializer, is_key=True, **conf.codec_bounds)
