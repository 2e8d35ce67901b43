"""How many events of a partition are done: finished by every reader and, with their results, committed.

It is told of batches and commits, and of no record. Inside of the first batch that is not all committed it interpolates
by offset, which is exact but for gaps, and exact again when the batch is done.
"""

from __future__ import annotations

from collections import deque

from .backlog import SPAN_RECORDS, Span


class DoneCount:
    """Of one partition."""

    __slots__ = ("_counted", "_spans", "end")

    def __init__(self) -> None:
        self._spans: deque[Span] = deque()
        # What is before it is known: done, or in a span.
        self.end = 0
        # Of the first span.
        self._counted = 0

    def fed(self, start: int, end: int, records: int) -> None:
        """So many records from offset `start` to before `end`, behind all others."""
        self.end = end
        last = self._spans[-1] if self._spans else None
        if last is not None and last.records + records <= SPAN_RECORDS:
            last.end = end
            last.records += records
        else:
            self._spans.append(Span(start, end, records, 0))

    def committed(self, next_offset: int) -> int:
        """How many are done since the last call."""
        before = -self._counted
        done = 0
        while self._spans and self._spans[0].end <= next_offset:
            done += self._spans.popleft().records
            self._counted = 0
        if self._spans:
            first = self._spans[0]
            passed = max(0, next_offset - first.start)
            self._counted = max(self._counted, first.records * passed // (first.end - first.start))
        return before + done + self._counted

    def rewind(self, committed: int) -> None:
        """What is not committed comes again, from this offset on."""
        self._spans.clear()
        self._counted = 0
        self.end = committed
