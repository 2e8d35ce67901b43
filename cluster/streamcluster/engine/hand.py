"""Hand: what one coroutine has sent and written since it last settled, apart from what others did.

    coroutine --- sends, writes ---> hand --- settle: its events are finished ---> task --- cut ---> open transaction

While it rests nothing of an event is in hand. What it has started beside its events may send all the same: that is the
worker's own output, as that of an @app.task. Tables it cannot write then (resting_view.py).

A coroutine that rests settles at the cut. One that was met in the middle of an event gets its events one at a time from
then on and settles before each, so that only the event in hand is not settled: see `intake.RunIntake.one_at_a_time`.
"""

from __future__ import annotations

from collections.abc import Iterable

from .outbox import Outbox, Outputs, merge
from .resting_view import rest, wake
from .shard_view import ShardView


class Hand:
    """What a coroutine did that no commit may take yet. It rests at first.

    into: the task's outbox: settled output waits there. own: the worker's.
    """

    __slots__ = ("_into", "_own", "given_early", "outbox", "rests", "views")

    def __init__(self, outbox: Outbox, into: Outbox, own: Outbox, views: Iterable[ShardView]) -> None:
        self.outbox = outbox
        self._into = into
        self._own = own
        self.views = tuple(views)
        # Nothing that is sent now belongs to an event.
        self.rests = False
        self.rest()
        # Output of the event in hand is in the open transaction already: its sender had no room.
        self.given_early = False

    def rest(self) -> None:
        """The coroutine is at no event from now on; what it did is finished."""
        self._finish()
        self._settle_output()
        self.rests = True
        self.shut()

    def wake(self) -> None:
        """The coroutine is at an event."""
        self._settle_output()
        self.rests = False
        for view in self.views:
            wake(view)

    def shut(self) -> None:
        """Nothing can be written to a table: there is no event, or the one in hand will not be finished."""
        for view in self.views:
            rest(view)

    def end(self) -> None:
        """Its task is closed: nothing can be sent either."""
        self.shut()
        self.outbox.end()

    def _finish(self) -> None:
        """What is told of finished events is sent with them."""
        for view in self.views:
            if view.watched:
                view.watched.finish()

    def _settle_output(self) -> None:
        if self.outbox.topics:
            merge((self._own if self.rests else self._into).topics, self.outbox.topics)
            self.outbox.topics = {}

    def settle(self) -> None:
        """Every event behind what is here is finished."""
        self.given_early = False
        self._finish()
        self._settle_output()
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
        if self.rests:
            self._settle_output()
        self.outbox.swap()
        for view in self.views:
            view.forget()
        self.rests = True
        self.shut()
