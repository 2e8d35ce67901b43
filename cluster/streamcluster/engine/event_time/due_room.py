"""DueRoom: how many rows that come due all tasks of a worker may be handed together.

Each is little work, and a million of them at once would be a long pause for the worker's other tasks: for one look what
all of them are handed is bounded, and so is what a commit has to carry.
"""

from __future__ import annotations

from collections.abc import Callable

# Rows that are read at once; they wait in memory until they are handled.
PAGE_ROWS = 1000
# So many rows of all tasks are fed at a time, or a page more: their handlers run without a break.
LOOK_ROWS = 2 * PAGE_ROWS
# So many rows may be fed and not committed. What comes due while a commit is under way is cut and handed over at once
# when that has ended.
UNCOMMITTED_ROWS = 20 * PAGE_ROWS
# A commit is asked for here, so that closing goes on while that is under way. The last rows, fewer than this, are given
# one as well: whoever waits for what many windows have come to has all of it then, and not a commit_interval later.
COMMITTED_ROWS = UNCOMMITTED_ROWS // 2


class DueRoom:
    """Of one worker.

    uncommitted: counts the rows of all its tasks that were fed and are not committed; finished: those of them that are
    finished; are_due: whether there are others that were not fed.
    """

    __slots__ = ("_are_due", "_are_many", "_finished", "_left", "_look_left", "_uncommitted", "is_refused")

    def __init__(
        self, uncommitted: Callable[[], int], finished: Callable[[], int], are_due: Callable[[], bool]
    ) -> None:
        self._uncommitted = uncommitted
        self._finished = finished
        self._are_due = are_due
        # A commit was asked for, and since then none for the last of them.
        self._are_many = False
        # Rows: for this look, and until a commit; None: nobody has asked since the look began.
        self._look_left = LOOK_ROWS
        self._left: int | None = None
        # Somebody was told that there is none.
        self.is_refused = False

    def begin(self) -> None:
        """A look begins."""
        self._look_left = LOOK_ROWS
        self._left = None

    def has_any(self, own: int) -> bool:
        """Whether a page may be fed.

        own: how many rows of the task's own are not committed. Where there are none, it does not wait for others, of
        whom some may never end.
        """
        if self._left is None:
            self._left = UNCOMMITTED_ROWS - self._uncommitted()
        has_any = self._look_left > 0 and (self._left > 0 or not own)
        self.is_refused = self.is_refused or not has_any
        return has_any

    def take(self, rows: int) -> None:
        """So many were fed, of those that it had room for."""
        assert self._left is not None
        self._look_left -= rows
        self._left -= rows

    def must_commit(self) -> bool:
        """Rows that are due wait for a commit of those before them, or soon will; or these are the last of many."""
        uncommitted = self._uncommitted()
        if uncommitted >= COMMITTED_ROWS and self._finished() >= COMMITTED_ROWS:
            self._are_many = True
            return True
        if not self._are_many or (uncommitted and (self._finished() < uncommitted or self._are_due())):
            return False
        self._are_many = False
        return uncommitted > 0
