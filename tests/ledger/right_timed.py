"""The part of the right history that goes by event time: what is open, who waits and what is due, played in time.

It shares no fold with the checker: it has a time, reads one record after the other, and closes at commits what is over
by the commit before.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.ledger.values_timed import (
    AFTER,
    BEFORE,
    GAP,
    GAP_GRACE,
    HISTORY,
    JOIN_GRACE,
    SPAN,
    SPAN_GRACE,
    TTL,
    WITHIN,
)

# Topic or `changelog:TABLE`, key, value and timestamp.
Write = Callable[[str, str, str | None, int], None]
NOTHING = -1


@dataclass(slots=True)
class Waiting:
    """A movement in the join."""

    id: int
    at: int
    has_met: bool = False


@dataclass(slots=True)
class TimedPlay:
    """One partition. write: appends to the open commit."""

    write: Write
    # Of movements, payments and profiles; committed: as the last commit had them.
    times: dict[str, int] = field(default_factory=lambda: {"in": 0, "paid": 0, "names": 0})
    # Of movements.
    dates: dict[int, int] = field(default_factory=dict)
    committed: dict[str, int] = field(default_factory=lambda: {"in": 0, "paid": 0, "names": 0})
    spans: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    visits: list[tuple[str, int, int, list[int]]] = field(default_factory=list)
    lefts: defaultdict[str, list[Waiting]] = field(default_factory=lambda: defaultdict(list))
    rights: defaultdict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    asking: list[tuple[int, str, int]] = field(default_factory=list)
    versions: defaultdict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    passed: defaultdict[tuple[str, int], list[int]] = field(default_factory=lambda: defaultdict(list))
    marks: dict[str, int] = field(default_factory=dict)
    marked_at: dict[str, int] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)

    def move(self, account: str, value: str, *, is_bad: bool) -> None:
        """A movement came."""
        movement = json.loads(value)
        id, at = movement["id"], movement["ts"]
        self.dates[id] = at
        self.times["in"] = now = max(self.times["in"], at)
        if not is_bad:
            self._count(account, value, id, at, now)
        self._join(account, id, at)
        if at <= self._least("names"):
            self._recall(account, id, at, is_old=at + HISTORY < self._least("names"))
        else:
            self.asking.append((at, account, id))

    def _count(self, account: str, value: str, id: int, at: int, now: int) -> None:
        start = at - at % SPAN
        if now >= start + SPAN + SPAN_GRACE:
            self.write("late", account, value, at)
        else:
            ids = self.spans.setdefault((account, start), [])
            ids.append(id)
            self._put("spans", _row(account, start, start + SPAN), ids)
        self._visit(account, value, id, at, now)
        self.marks[account] = count = self.marks.get(account, 0) + 1
        self.written.add(account)
        self._put("marks", json.dumps(account), count)
        self.write("marked", account, json.dumps({"id": id, "count": count}), at)

    def _visit(self, account: str, value: str, id: int, at: int, now: int) -> None:
        first = last = at
        ids: list[int] = []
        joined = []
        for one in self.visits:
            if one[0] == account and one[2] + GAP + GAP_GRACE >= now and one[1] - GAP <= at <= one[2] + GAP:
                first, last = min(first, one[1]), max(last, one[2])
                ids += one[3]
                joined.append(one)
        if not joined and now > at + GAP + GAP_GRACE:
            self.write("late visits", account, value, at)
            return
        for one in joined:
            self.visits.remove(one)
            if one[1:3] != (first, last):
                self._put("visits", _row(account, one[1], one[2]), None)
        self.visits.append((account, first, last, [*ids, id]))
        self._put("visits", _row(account, first, last), [*ids, id])

    def _join(self, account: str, id: int, at: int) -> None:
        now = self._least("paid")
        met = [
            number
            for paid_at, number in self.rights[account]
            if at - BEFORE <= paid_at <= at + AFTER and now <= paid_at + BEFORE + JOIN_GRACE
        ]
        for number in met:
            self._pair(account, id, number)
        if now <= at + AFTER + JOIN_GRACE:
            self.lefts[account].append(Waiting(id, at, bool(met)))
        elif not met:
            self._pair(account, id, NOTHING)

    def pay(self, account: str, value: str) -> None:
        """A payment came."""
        payment = json.loads(value)
        number, at = payment["number"], payment["ts"]
        self.times["paid"] = time = max(self.times["paid"], at)
        now = self._least("paid")
        for left in self.lefts[account]:
            if at - AFTER <= left.at <= at + BEFORE and now <= left.at + AFTER + JOIN_GRACE:
                left.has_met = True
                self._pair(account, left.id, number)
        if now <= at + BEFORE + JOIN_GRACE:
            self.rights[account].append((at, number))
        seen = self.passed[account, payment["id"]]
        seen[:] = [then for then in seen if time <= then + WITHIN]
        if all(abs(then - at) > WITHIN for then in seen):
            seen.append(at)
            self.write("once", account, json.dumps({"id": number}), at)

    def name(self, account: str, version: int, at: int) -> None:
        """A profile came."""
        self.times["names"] = max(self.times["names"], at)
        self.versions[account].append((at, version))

    def before_commit(self) -> None:
        """What is over by the last commit goes into this one, and what was written is dated."""
        now = self.committed["in"]
        for (account, start), ids in sorted(self.spans.items(), key=lambda one: one[0][1]):
            if now >= start + SPAN + SPAN_GRACE:
                self._over("closed", "spans", account, start, start + SPAN, ids)
                del self.spans[account, start]
        for one in sorted(self.visits, key=lambda one: one[2]):
            if now > one[2] + GAP + GAP_GRACE:
                self._over("gone", "visits", *one)
                self.visits.remove(one)
        joined = min(now, self.committed["paid"])
        for account, lefts in self.lefts.items():
            for left in [left for left in lefts if joined > left.at + AFTER + JOIN_GRACE]:
                if not left.has_met:
                    self._pair(account, left.id, NOTHING)
                lefts.remove(left)
        for at, account, id in [one for one in self.asking if one[0] <= min(now, self.committed["names"])]:
            self._recall(account, id, at, is_old=False)
            self.asking.remove((at, account, id))
        for account, marked_at in [*self.marked_at.items()]:
            if now >= marked_at + TTL and account not in self.written:
                del self.marks[account], self.marked_at[account]
                self._put("marks", json.dumps(account), None)
        for account in self.written:
            self.marked_at[account] = self.times["in"]
        self.written.clear()
        self.committed = dict(self.times)

    def _over(self, topic: str, table: str, account: str, start: int, end: int, ids: list[int]) -> None:
        self.write(
            topic, account, json.dumps({"start": start, "end": end, "ids": ids}), max(self.dates[id] for id in ids)
        )
        self._put(table, _row(account, start, end), None)

    def _recall(self, account: str, id: int, at: int, *, is_old: bool) -> None:
        found = [one for one in self.versions[account] if one[0] <= at]
        if is_old and len(found) < len(self.versions[account]):
            # Of so long ago the newest is asked alone.
            found = []
        self.write("known", account, json.dumps({"id": id, "version": found[-1][1] if found else 0}), at)

    def _pair(self, account: str, id: int, number: int) -> None:
        self.write("pairs", account, json.dumps({"id": id, "other": number}), 0)

    def _least(self, other: str) -> int:
        return min(self.times["in"], self.times[other])

    def _put(self, table: str, row: str, value: Any) -> None:
        self.write(f"changelog:{table}", row, None if value is None else json.dumps(value), 0)


def _row(account: str, start: int, end: int) -> str:
    return json.dumps([account, [start / 1000, end / 1000]])
