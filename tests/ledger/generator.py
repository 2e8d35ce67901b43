"""What goes in: movements on accounts, and profiles of them. The same seed gives the same rows but for their times.

An iterator goes on where it was left, so a feed that was stopped is resumed by a new one on the same iterator; how rows
reach Kafka, paced and over outages, is `Feed`'s matter (tests/process/records.py).
"""

from __future__ import annotations

import itertools
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from tests.ledger.values import Movement
from tests.ledger.values_timed import LAG_MAX, LAG_SHARE, LATE_MAX, LATE_MIN, LATE_SHARE, Payment
from tests.process.checker import Row

# A tenth of the movements repeat an order, most of them of another account.
REPEATED = 0.1
RECENT_ORDERS = 200
PROFILE_BYTES = 100
# A part of the payments is sent again, of so many: some within the interval in which that counts.
PAID_AGAIN, RECENT_PAYMENTS = 0.2, 500


def account_name(number: int) -> str:
    """The key of an account."""
    return f"account{number}"


class Wish(NamedTuple):
    """A movement that is to do something else, too. account: a number."""

    do: str
    account: int


class Dates:
    """Timestamps of records, in ms: most are of now, some older than those before, a few so old that they are late.

    ahead: all are later by so much.
    """

    def __init__(self, seed: str, wall: Callable[[], float] = time.time) -> None:
        self._source = random.Random(seed)
        self._wall = wall
        self.ahead = 0

    def next(self) -> int:
        """The next one."""
        source, now = self._source, round(self._wall() * 1000) + self.ahead
        if self.ahead or source.random() >= LAG_SHARE:
            return now
        if source.random() < LATE_SHARE / LAG_SHARE:
            return now - source.randrange(LATE_MIN, LATE_MAX)
        return now - source.randrange(LAG_MAX)


def movements(
    seed: int,
    accounts: int,
    now: Callable[[], float] = time.monotonic,
    wishes: deque[Wish] | None = None,
    dates: Dates | None = None,
) -> Iterator[Row]:
    """Movements without an end; `at` is the time at which each is taken. Wishes that are there come first."""
    source = random.Random(seed)
    dates = Dates(f"movements {seed}") if dates is None else dates
    sequence = [0] * accounts
    recent: deque[int] = deque(maxlen=RECENT_ORDERS)
    for number in itertools.count():
        account = source.randrange(accounts)
        do = ""
        if wishes:
            do, account = wishes.popleft()
        sequence[account] += 1
        order = source.choice(recent) if recent and source.random() < REPEATED else number
        recent.append(order)
        amount = source.randrange(1, 100)
        movement = Movement(
            id=number, seq=sequence[account], order=order, amount=amount, at=round(now(), 4), do=do, ts=dates.next()
        )
        yield Row(account_name(account), msgspec.json.encode(movement))


def payments(seed: int, accounts: int, dates: Dates | None = None) -> Iterator[Row]:
    """Payments without an end, of which some are sent again, sooner or later."""
    source = random.Random(f"payments {seed}")
    dates = Dates(f"payments {seed}") if dates is None else dates
    recent: deque[tuple[int, int]] = deque(maxlen=RECENT_PAYMENTS)
    for number in itertools.count():
        if recent and source.random() < PAID_AGAIN:
            account, id = source.choice(recent)
        else:
            account, id = source.randrange(accounts), number
            recent.append((account, id))
        yield paid(account_name(account), Payment(id, number, dates.next()))


def paid(account: str, payment: Payment) -> Row:
    """A record of `paid`."""
    return Row(account, msgspec.json.encode(payment))


def stamp_of(row: Row) -> int:
    """The timestamp that a movement or payment says it has."""
    return _decode_dated(row.value or b"").ts


def until_each(rows: Iterator[Row], partition_of: Mapping[str, int]) -> Iterator[Row]:
    """Rows until every partition has one."""
    missing = {*partition_of.values()}
    while missing:
        row = next(rows)
        missing.discard(partition_of.get(row.key, -1))
        yield row


class _Dated(msgspec.Struct):
    ts: int


_decode_dated = msgspec.json.Decoder(_Dated).decode


def profile(account: str, version: int) -> Row:
    """One version of a profile, of about 100 bytes."""
    return Row(account, f"{version} {account} ".ljust(PROFILE_BYTES, "x").encode())


def first_profiles(profiles: int) -> Iterator[Row]:
    """Version 1 of so many profiles; those beyond the accounts only make the state large."""
    return (profile(account_name(number), 1) for number in range(profiles))


def later_profiles(seed: int, accounts: int) -> Iterator[Row]:
    """New versions of random accounts' profiles, without an end."""
    source = random.Random(seed)
    versions = [1] * accounts
    while True:
        account = source.randrange(accounts)
        versions[account] += 1
        yield profile(account_name(account), versions[account])
