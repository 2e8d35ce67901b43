"""Late events: counted, said once, and sent on with what made them late."""

from __future__ import annotations

import logging

from ..current import Cursor, Run, current_outbox, cursor_var
from ..headers import pairs_of
from ..output import NOT_AT_COMMIT, output_of
from ..topics import Topic
from .kinds import Span

# Where an event is in its run.
Place = tuple[Run, int]
_log = logging.getLogger(__name__)


class LateEvents:
    """Those of one table in this process. total: how many there were, each try of one counts."""

    __slots__ = ("_said", "_table", "_topic", "total")

    def __init__(self, table: str, topic: Topic | None) -> None:
        self._table = table
        self._topic = topic
        self._said = False
        self.total = 0

    def add(self, place: Place | None, at: int, span: Span, over: int, now: int) -> None:
        """An event of time `at` came when its window was over since `over`, at the operator's time `now`.

        place: where it is, if it is not the one in hand.
        """
        place = place or place_in_hand(cursor_var.get())
        if place is not None:
            text = "for its window, which is closed; such events are counted%s. grace= keeps windows open for longer"
            window = "late-window", f"[{span[0] / 1000},{span[1] / 1000}]".encode()
            self.came(place, text, at, over, now, window)

    def came(self, place: Place, text: str, at: int, over: int, now: int, *headers: tuple[str, bytes]) -> None:
        """The same of any operator. text: what that means, with a place for what else is done; headers: more of it."""
        run, index = place
        self.total += 1
        if not self._said:
            self._said = True
            _log.warning(
                "table %r: the event at %s[%d] is %.3f s too late " + text,
                self._table,
                run.tp,
                run.offset(index),
                (now - over) / 1000,
                "" if self._topic is None else f" and sent to {self._topic.name!r}",
            )
        if self._topic is not None:
            record = run.record(index)
            told = [
                *(pairs_of(record.headers) or ()),
                ("late-table", self._table.encode()),
                *headers,
                ("late-time", str(now / 1000).encode()),
                ("late-by", str((now - over) / 1000).encode()),
                ("late-timestamp", str(at / 1000).encode()),
            ]
            sent = output_of(record.key, record.value, timestamp=record.timestamp or NOT_AT_COMMIT, headers=told)
            current_outbox().append(self._topic.name, sent)


def place_in_hand(cursor: Cursor | None) -> Place | None:
    """Where the event in hand is: of a batch the last one."""
    if cursor is None:
        return None
    if cursor.kept.handed_out:
        return cursor.kept.events[-1]
    index = cursor.index()
    return None if cursor.run is None or index is None else (cursor.run, index)
