"""Windowed nodes of a case: their tables, and what tells of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from streamcluster import App, Stream, Table, Topic
from streamcluster.windows.kinds import Window
from streamcluster.windows.windowed import WindowedTable

from .folds import Fold, merged, no_value, row_of
from .offered import Node

# The key of the event in hand, and the time in ms that is of what comes of it.
Now = Callable[[], tuple[Any, int]]


def windowed(table: Table[Any, Any], node: Node, fold: Fold, *, merges: bool) -> WindowedTable:
    """The table with the windows of a node."""
    common = {"grace": node["grace"] / 1000}
    if "retention" in node:
        common["expires"] = node["retention"] / 1000
    match node["window"]:
        case "tumbling":
            return table.tumbling(node["size"] / 1000, **common)
        case "hopping":
            merge = partial(merged, fold) if merges else None
            return table.hopping(
                node["size"] / 1000, (node.get("advance") or node["size"]) / 1000, **common, merge=merge
            )
        case "sliding":
            return table.sliding(node["difference"] / 1000, **common)
    return table.session(node["gap"] / 1000, **common, merge=partial(merged, fold))


def tell_windows(app: App, windows: WindowedTable, output: Topic) -> None:
    """Each change, at once."""

    async def tell(stream: Stream[Any]) -> None:
        async for (key, window), value in stream.items():
            await output.send(key=key, value=row_of(value, window))

    app.agent(windows.changes(), name=f"{windows.name}-changes")(tell)


async def closed(output: Topic, key: Any, window: Window, value: Any) -> None:
    """A window is over."""
    await output.send(key=key, value=row_of(value, window))


async def kept(output: Topic, finals: Table[Any, Any], key: Any, window: Window, value: Any) -> None:
    """The same, and its result is in a table."""
    finals[key, window.start, window.end] = value
    await output.send(key=key, value=row_of(value, window))


def window_in(key: Any) -> tuple[Any, Window | None]:
    """What a row of a join is of, by its key: a key, and if it is one of windows, the window."""
    match key:
        case (of, Window() as window):
            return of, window
        case (of, float() as start, float() as end):
            return of, Window(start, end)
    return key, None


def follow_windows(app: App, topic: Topic, name: str, size: int, now: Now) -> WindowedTable:
    """Changes of windows that come ready made are written to windows of the same size, in ms; 0: of sessions."""
    plain = app.Table(name, default=no_value)
    windows = plain.tumbling(size / 1000, grace=0) if size else plain.session(0.001, grace=0, merge=max)

    async def write(stream: Stream[Any]) -> None:
        async for (key, _, _), value in stream.items():
            if value is None:
                del windows[key]
            else:
                windows[key] = value, now()[1]

    app.agent(topic, name=name)(write)
    return windows


def follow_rows(app: App, topic: Topic, name: str, now: Now) -> Table[Any, Any]:
    """The same without windows. A deletion is a value here: what is let through is one of what was never there."""
    table: Table[Any, Any] = app.Table(name)

    async def write(stream: Stream[Any]) -> None:
        async for key, value in stream.items():
            table[key] = [value, now()[1]]

    app.agent(topic, name=name)(write)
    return table
