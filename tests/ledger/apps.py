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
from streamcluster.windows.kinds import Window
from tests.ledger.values import BAD_ORDER, GROUPED_PARTITIONS, RECENT, Movement, window_key
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
from tests.process.apps import PREFIX, topic

NEVER_SECONDS = 1e6
# More than a changelog or a topic takes of one record.
TOO_LARGE = 2_000_000

# Results by event time are to follow from the logs alone: no input is left out because nothing comes for a while.
ledger = App(
    f"{PREFIX}ledger", broker="kafka://", store="rocksdb://", idle_timeout=NEVER_SECONDS, close_idle_after=None
)
raw_movements = ledger.topic(topic("in"), key_type=str, value_type=bytes)
movements = ledger.topic(topic("in"), key_type=str)
profile_updates = ledger.topic(topic("names"), key_type=str, value_type=bytes)
out1 = ledger.topic(topic("out1"), key_type=str, value_type=bytes)
out2 = ledger.topic(topic("out2"), key_type=str)
out3 = ledger.topic(topic("out3"), key_type=str)
out4 = ledger.topic(topic("out4"), key_type=str)
out5 = ledger.topic(topic("out5"), key_type=str)
flood = ledger.topic(topic("flood"), key_type=str)
payments = ledger.topic(topic("paid"), key_type=str)
closed = ledger.topic(topic("closed"), key_type=str)
gone = ledger.topic(topic("gone"), key_type=str)
late = ledger.topic(topic("late"), key_type=str, value_type=bytes)
late_visits = ledger.topic(topic("late-visits"), key_type=str, value_type=bytes)
pairs = ledger.topic(topic("pairs"), key_type=str)
known = ledger.topic(topic("known"), key_type=str)
once = ledger.topic(topic("once"), key_type=str)
marked = ledger.topic(topic("marked"), key_type=str)
sums = ledger.Table("sums", default=int)
windows = ledger.Table("windows", default=int)
profiles = ledger.Table("profiles")
recent = ledger.Table("recent", default=list)
orders = ledger.Table("orders")
spans = ledger.Table("spans", key_type=str, default=list).tumbling(SPAN / 1000, grace=SPAN_GRACE / 1000, late=late)
visits = ledger.Table("visits", key_type=str, default=list).session(
    GAP / 1000, grace=GAP_GRACE / 1000, late=late_visits
)
marks = ledger.Table("marks", key_type=str, default=int, ttl=TTL / 1000)
users = ledger.Table("users", source=profile_updates, history=HISTORY / 1000)
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
        spans[account] += [movement.id]
        visits[account] += [movement.id]
        marks[account] += 1
        if movement.do:
            await hang(account, movement, "written")
        profile = profiles.get(account)
        by = os.getpid()
        await out3.send(key=account, value={"id": movement.id, "total": sums[account], "at": movement.at, "by": by})
        await out4.send(key=account, value={"id": movement.id, "window": window, "count": windows[window]})
        await out5.send(key=account, value={"id": movement.id, "version": version_of(profile)})
        await marked.send(key=account, value={"id": movement.id, "count": marks[account]})
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


@spans.on_close
async def span_over(account: str, window: Window, ids: list[int]) -> None:
    """A window of 5 s is over."""
    await closed.send(key=account, value=closed_of(window, ids))


@visits.on_close
async def visit_over(account: str, window: Window, ids: list[int]) -> None:
    """A session is over."""
    await gone.send(key=account, value=closed_of(window, ids))


def closed_of(window: Window, ids: list[int]) -> dict[str, Any]:
    """What is sent of it, in ms."""
    return {"start": round(window.start * 1000), "end": round(window.end * 1000), "ids": ids}


@ledger.agent(raw_movements, name=f"{PREFIX}settle")
async def settle(stream: streamcluster.Stream[bytes]) -> None:
    """Each movement with the payments around it, or alone."""
    joined = stream.left_join(payments, before=BEFORE / 1000, after=AFTER / 1000, grace=JOIN_GRACE / 1000)
    async for event in joined.events():
        movement, payment = event.value
        other = -1 if payment is None else payment["number"]
        await pairs.send(key=event.key, value={"id": _decode(movement).id, "other": other})


@ledger.agent(raw_movements, name=f"{PREFIX}recall")
async def recall(stream: streamcluster.Stream[bytes]) -> None:
    """Each movement with the profile of its time."""
    async for event in stream.left_join(users, as_of=True).events():
        movement, profile = event.value
        version = version_of(None if profile is None else profile.decode())
        await known.send(key=event.key, value={"id": _decode(movement).id, "version": version})


@ledger.agent(payments, name=f"{PREFIX}accept")
async def accept(stream: streamcluster.Stream[dict[str, Any]]) -> None:
    """Each payment once, however often it is sent."""
    async for event in stream.deduplicate(by=payment_id, within=WITHIN / 1000).events():
        await once.send(key=event.key, value={"id": event.value["number"]})


def payment_id(payment: dict[str, Any]) -> int:
    """The same when it is sent again."""
    return int(payment["id"])


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
