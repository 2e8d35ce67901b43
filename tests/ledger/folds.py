"""What would be right, computed from the input alone in the dumbest way. Pure; it names no violation."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from tests.ledger.values import RECENT, Log, Logs, Movement, Posted, window_key

decode_movement = msgspec.json.Decoder(Movement).decode
decode_posted = msgspec.json.Decoder(Posted).decode


def movements_of(log: Log) -> list[Movement]:
    """The decoded values of an input or of the repartitioned topic."""
    return [decode_movement(value) for value in log.values if value is not None]


def rows_of(log: Log, count: int | None = None) -> list[tuple[str, Movement]]:
    """Keys with decoded values of an input, or of its first `count` records, without what agent `post` must refuse."""
    rows = zip(log.keys[:count], movements_of(log), strict=False)
    return [(key, movement) for key, movement in rows if not movement.is_bad]


def posted_of(log: Log) -> list[Posted]:
    """The decoded values of an output."""
    return [decode_posted(value) for value in log.values if value is not None]


@dataclass(slots=True)
class Fold:
    """One partition of the input, folded: what each movement must have led to, and the tables at the end."""

    totals: dict[int, int] = field(default_factory=dict)
    windows: dict[int, tuple[str, int]] = field(default_factory=dict)
    sums: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    recent: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def add(self, account: str, movement: Movement) -> None:
        """One movement more."""
        self.sums[account] += movement.amount
        window = window_key(account, movement.at)
        self.counts[window] += 1
        self.recent[account] = [*self.recent[account], movement.id][-RECENT:]
        self.totals[movement.id] = self.sums[account]
        self.windows[movement.id] = (window, self.counts[window])


def fold(log: Log, count: int | None = None) -> Fold:
    """Fold a partition, or its first `count` records, without what must be refused."""
    folded = Fold()
    for account, movement in rows_of(log, count):
        folded.add(account, movement)
    return folded


def firsts(log: Log) -> dict[str, int]:
    """Order -> id of its first movement, in the order of the repartitioned topic."""
    found: dict[str, int] = {}
    for order, movement in zip(log.keys, movements_of(log), strict=True):
        if not movement.is_bad_order:
            found.setdefault(order, movement.id)
    return found


def newest(log: Log, before: int | None = None) -> dict[str, bytes]:
    """Key -> last value, of the records with offsets below `before`; the table that a changelog describes."""
    table: dict[str, bytes] = {}
    end = len(log) if before is None else log.count_before(before)
    for key, value in zip(log.keys[:end], log.values[:end], strict=True):
        if value is None:
            table.pop(key, None)
        else:
            table[key] = value
    return table


def merged(logs: Logs) -> dict[str, bytes]:
    """`newest` over all partitions."""
    return {key: value for log in logs.values() for key, value in newest(log).items()}


@dataclass(slots=True)
class ProfileHistory:
    """Which prefix of the profiles' topic a look-up can have seen: positions are numbers of records."""

    # Account -> the versions in order, and the position from which each is seen.
    seen_from: defaultdict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, log: Log) -> ProfileHistory:
        """The history of one partition of the topic."""
        history = cls()
        for position, (account, value) in enumerate(log.rows(), 1):
            assert value is not None, f"the profile of {account} was deleted, which no generator does"
            history.seen_from[account].append((int(value.split(b" ", 1)[0]), position))
        return history

    def least_prefix(self, account: str, version: int, seen: int) -> int | None:
        """The shortest prefix, of those not shorter than `seen`, with which a look-up gives this version; None: none.

        A producer that resends when its brokers were all away may store a version twice, so one may be current twice.
        """
        versions: Sequence[tuple[int, int]] = self.seen_from.get(account, ())
        begins = [(0, 0), *versions]
        ends = [*(begin for _, begin in versions), math.inf]
        return next(
            (
                max(seen, begin)
                for (number, begin), end in zip(begins, ends, strict=True)
                if number == version and seen < end
            ),
            None,
        )
