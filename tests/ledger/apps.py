"""The app that the ledger runs: every kind of work whose result can be told from its input alone.

One agent does most of it in one body, so that all effects of one event are in one transaction, or in none. Names come
from the environment, as in tests/process/apps.py.
"""

from __future__ import annotations

import os

import msgspec

import streamcluster
from streamcluster import App
from tests.ledger.values import GROUPED_PARTITIONS, Movement, window_key
from tests.process.apps import PREFIX, topic

ledger = App(f"{PREFIX}ledger", broker="kafka://", store="rocksdb://")
raw_movements = ledger.topic(topic("in"), key_type=str, value_type=bytes)
movements = ledger.topic(topic("in"), key_type=str)
profile_updates = ledger.topic(topic("names"), key_type=str, value_type=bytes)
out1 = ledger.topic(topic("out1"), key_type=str, value_type=bytes)
out2 = ledger.topic(topic("out2"), key_type=str)
out3 = ledger.topic(topic("out3"), key_type=str)
out4 = ledger.topic(topic("out4"), key_type=str)
out5 = ledger.topic(topic("out5"), key_type=str)
sums = ledger.Table("sums", default=int)
windows = ledger.Table("windows", default=int)
profiles = ledger.Table("profiles")
orders = ledger.Table("orders")
_decode = msgspec.json.Decoder(Movement).decode


@ledger.agent(profile_updates, name=f"{PREFIX}keep")
async def keep(stream: streamcluster.Stream[bytes]) -> None:
    """The table side of the join: the newest profile of each account."""
    async for account, value in stream.items():
        profiles[account] = value.decode()


@ledger.agent(raw_movements, name=f"{PREFIX}post")
async def post(stream: streamcluster.Stream[bytes]) -> None:
    """Echo; running sum; count per window of 10 s; join with the profile. `by` tells the process that did it."""
    async for account, value in stream.items():
        movement = _decode(value)
        sums[account] += movement.amount
        window = window_key(account, movement.at)
        windows[window] += 1
        profile = profiles.get(account)
        by = os.getpid()
        await out1.send(key=account, value=value)
        await out3.send(key=account, value={"id": movement.id, "total": sums[account], "at": movement.at, "by": by})
        await out4.send(key=account, value={"id": movement.id, "window": window, "count": windows[window]})
        await out5.send(key=account, value={"id": movement.id, "version": version_of(profile)})


def version_of(profile: str | None) -> int:
    """The number that a profile begins with; 0: there is none."""
    return 0 if profile is None else int(profile.partition(" ")[0])


def order_of(movement: dict[str, int]) -> int:
    """The key to group by."""
    return movement["order"]


@ledger.agent(movements, name=f"{PREFIX}take_first")
async def take_first(stream: streamcluster.Stream[dict[str, int]]) -> None:
    """Let the first movement of each order pass, as KAFKA-14172 lost and doubled them."""
    async for movement in stream.group_by(order_of, name="order", partitions=GROUPED_PARTITIONS):
        order = movement["order"]
        if orders.get(order) is None:
            orders[order] = movement["id"]
            await out2.send(key=str(order), value={"id": movement["id"]})
