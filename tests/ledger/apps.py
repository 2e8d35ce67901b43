"""The app that the ledger runs: every kind of work whose result can be told from its input alone.

One agent does most of it in one body, so that all effects of one event are in one transaction, or in none. A movement
may tell it to fail or to take long (event_faults.py). Names come from the environment, as in tests/process/apps.py.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import msgspec

import streamcluster
from streamcluster import App
from tests.ledger.values import BAD_ORDER, GROUPED_PARTITIONS, RECENT, Movement, window_key
from tests.process.apps import PREFIX, topic

# More than a changelog or a topic takes of one record.
TOO_LARGE = 2_000_000

ledger = App(f"{PREFIX}ledger", broker="kafka://", store="rocksdb://")
raw_movements = ledger.topic(topic("in"), key_type=str, value_type=bytes)
movements = ledger.topic(topic("in"), key_type=str)
profile_updates = ledger.topic(topic("names"), key_type=str, value_type=bytes)
out1 = ledger.topic(topic("out1"), key_type=str, value_type=bytes)
out2 = ledger.topic(topic("out2"), key_type=str)
out3 = ledger.topic(topic("out3"), key_type=str)
out4 = ledger.topic(topic("out4"), key_type=str)
out5 = ledger.topic(topic("out5"), key_type=str)
flood = ledger.topic(topic("flood"), key_type=str)
sums = ledger.Table("sums", default=int)
windows = ledger.Table("windows", default=int)
profiles = ledger.Table("profiles")
recent = ledger.Table("recent", default=list)
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
        await out1.send(key=account, value=value)
        if movement.do:
            await hang(account, movement, "sent")
        sums[account] += movement.amount
        window = window_key(account, movement.at)
        windows[window] += 1
        newest = recent[account]
        newest.append(movement.id)
        del newest[:-RECENT]
        if movement.do:
            await hang(account, movement, "written")
        profile = profiles.get(account)
        by = os.getpid()
        await out3.send(key=account, value={"id": movement.id, "total": sums[account], "at": movement.at, "by": by})
        await out4.send(key=account, value={"id": movement.id, "window": window, "count": windows[window]})
        await out5.send(key=account, value={"id": movement.id, "version": version_of(profile)})
        if movement.is_bad:
            await do_bad(account, movement)


async def hang(account: str, movement: Movement, where: str) -> None:
    """Wait for as long as a movement says, if it says so of this place; from when it was sent, so that it ends."""
    if not movement.do.startswith("hang "):
        return
    place, seconds = movement.do.split()[1:3]
    if place == "flooded" and where == "sent":
        for number in range(movement.flood):
            await flood.send(key=account, value={"id": movement.id, "count": number})
        place = "sent"
    if place == where:
        await asyncio.sleep(movement.at + float(seconds) - time.monotonic())


async def do_bad(account: str, movement: Movement) -> None:
    """Fail, or do what cannot be committed: some of it shows at once, some only when it is to be encoded."""
    anything: Any = object()
    match movement.do.removeprefix("bad "):
        case "value":
            sums[account] = anything
        case "value in place":
            # Under a key of its own: what a later event takes out again before a commit is no failure.
            recent[f"{account} {movement.id}"].append(anything)
        case "row":
            profiles[f"{account} too"] = "x" * TOO_LARGE
        case "key":
            windows["k" * TOO_LARGE] = 1
        case "sent value":
            await out5.send(key=account, value=anything)
        case "sent row":
            await out1.send(key=account, value=b"x" * TOO_LARGE)
        case _:
            raise ValueError(movement.do)


def version_of(profile: str | None) -> int:
    """The number that a profile begins with; 0: there is none."""
    return 0 if profile is None else int(profile.partition(" ")[0])


def order_of(movement: dict[str, Any]) -> int:
    """The key to group by."""
    return int(movement["order"])


@ledger.agent(movements, name=f"{PREFIX}take_first")
async def take_first(stream: streamcluster.Stream[dict[str, Any]]) -> None:
    """Let the first movement of each order pass, as KAFKA-14172 lost and doubled them."""
    async for movement in stream.group_by(order_of, name="order", partitions=GROUPED_PARTITIONS):
        order = movement["order"]
        if orders.get(order) is None:
            orders[order] = movement["id"]
            if told := movement.get("do"):
                await hang("", msgspec.convert(movement, Movement), "grouped")
                if told == BAD_ORDER:
                    orders[order] = object()
            await out2.send(key=str(order), value={"id": movement["id"]})
