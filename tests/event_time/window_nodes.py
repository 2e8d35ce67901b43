"""Windowed nodes of a case: their tables, and what tells of them."""

from __future__ import annotations

from functools import partial
from typing import Any

from streamcluster import App, Stream, Table, Topic
from streamcluster.windows.kinds import Window
from streamcluster.windows.windowed import WindowedTable

from .folds import Fold, merged, row_of
from .offered import Node


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
