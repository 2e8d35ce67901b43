"""Hand: what one coroutine has sent and written since it last settled, apart from what others did.

    coroutine --- sends, writes ---> hand --- settle: its events are finished ---> task --- cut ---> open transaction

A coroutine that rests settles at the cut. One that was met in the middle of an event gets its events one at a time from
then on and settles before each, so that only the event in hand is not settled: see `intake.RunIntake.one_at_a_time`.
"""

from __future__ import annotations

from collections.abc import Iterable

from .outbox import Outbox, Outputs, merge
from .shards import ShardView


class Hand:
    """What a coroutine did that no commit may take yet. into: the task's outbox: settled output waits there."""

    __slots__ = ("_into", "given_early", "outbox", "views")

    def __init__(self, outbox: Outbox, into: Outbox, views: Iterable[ShardView]) -> None:
        self.outbox = outbox
        self._into = into
        self.views = tuple(views)
        # Output of the event in hand is in the open transaction already: its sender had no room.
        self.given_early = False

    def settle(self) -> None:
        """Every event behind what is here is finished."""
        self.given_early = False
        if self.outbox.topics:
            merge(self._into.topics, self.outbox.topics)
            self.outbox.topics = {}
        for view in self.views:
            view.settle()

    def is_seen(self) -> bool:
        """Something here is in the shards or the transaction. What was only sent, nobody has seen, and can wait."""
        return self.given_early or any(view.has_written() for view in self.views)

    def check(self) -> None:
        """Raise UnencodableEntry when something that was written cannot be committed."""
        for view in self.views:
            view.check()

    def give_early(self, *, binds: bool) -> Outputs:
        """Take out what the event in hand has sent so far. binds: into a transaction, that must wait for it now."""
        self.given_early = binds
        return self.outbox.swap()

    def forget(self) -> None:
        """A rollback: nothing was sent or written."""
        self.given_early = False
        self.outbox.swap()
        for view in self.views:
            view.forget()
