"""What goes in: movements on accounts, and profiles of them. The same seed gives the same rows but for their times.

An iterator goes on where it was left, so a feed that was stopped is resumed by a new one on the same iterator; how rows
reach Kafka, paced and over outages, is `Feed`'s matter (tests/process/records.py).
"""

from __future__ import annotations

import itertools
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from tests.ledger.values import Movement
from tests.process.checker import Row

# A tenth of the movements repeat an order, most of them of another account.
REPEATED = 0.1
RECENT_ORDERS = 200
PROFILE_BYTES = 100


def account_name(number: int) -> str:
    """The key of an account."""
    return f"account{number}"


class Wish(NamedTuple):
    """A movement that is to do something else, too. account: a number."""

    do: str
    account: int


def movements(
    seed: int, accounts: int, now: Callable[[], float] = time.monotonic, wishes: deque[Wish] | None = None
) -> Iterator[Row]:
    """Movements without an end; `at` is the time at which each is taken. Wishes that are there come first."""
    source = random.Random(seed)
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
        movement = Movement(id=number, seq=sequence[account], order=order, amount=amount, at=round(now(), 4), do=do)
        yield Row(account_name(account), msgspec.json.encode(movement))


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
