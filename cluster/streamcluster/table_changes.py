"""Changes of tables: `@app.agent(table.changes())` reads a table's own changelog: nothing is written for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .changelogs import ChangelogRead, Pair
from .checks import Seconds, seconds_of
from .topics import Topic


class Changing:
    """The method of a table that gives its changes."""

    name: str
    key_type: Any
    value_type: Any
    key_serializer: str | None
    value_serializer: str | None
    migrate: Callable[[Any], Any] | None
    key_coding: Callable[[Pair], Pair] | None
    # Made by `changes`: they are told the changelog's name.
    changes_read: list[Topic]

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
