"""The apps that the process tests run, written as users write them; names come from the environment.

PROCESS_TEST_PREFIX begins every app id and topic. PROCESS_TEST_NOTES is a directory for notes that outlive a process.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import streamcluster
from streamcluster import App
from streamcluster.engine.pump import Pump
from tests.process.checker import shop_of

PREFIX = os.environ.get("PROCESS_TEST_PREFIX", "process-tests-")
NOTES = Path(os.environ.get("PROCESS_TEST_NOTES", "/nonexistent"))


def topic(name: str) -> str:
    """A topic name of this run."""
    return f"{PREFIX}{name}"


def first_time(name: str) -> bool:
    """Whether this is the first time, over all processes of the run, that `name` is asked for."""
    try:
        (NOTES / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


class Entry(streamcluster.Record):
    """One movement on an account; `number` is unique in a run."""

    number: int
    account: str
    amount: int


# The seed program: an echo, a running sum per account, and a count per shop behind a group_by.

ledger = App(f"{PREFIX}ledger", broker="kafka://", store="rocksdb://")
entries = ledger.topic(topic("in"), key_type=str, value_type=Entry)
raw_entries = ledger.topic(topic("in"), key_type=str, value_type=bytes)
echoes = ledger.topic(topic("echo"), key_type=str, value_type=bytes)
sums_out = ledger.topic(topic("sums"), key_type=str)
counts_out = ledger.topic(topic("counts"), key_type=str)
sums = ledger.Table("sums", default=int)
counts = ledger.Table("counts", default=int)


@ledger.agent(raw_entries)
async def echo(stream: streamcluster.Stream[bytes]) -> None:
    """Send everything on as it is."""
    async for key, value in stream.items():
        await echoes.send(key=key, value=value)


@ledger.agent(entries)
async def add_up(stream: streamcluster.Stream[Entry]) -> None:
    """The running sum per account, and every one of its values."""
    async for movement in stream:
        sums[movement.account] += movement.amount
        value = {"number": movement.number, "total": sums[movement.account]}
        await sums_out.send(key=movement.account, value=value)


def shop_of_entry(movement: Entry) -> str:
    """The key to group by."""
    return shop_of(movement.number)


@ledger.agent(entries)
async def count_shops(stream: streamcluster.Stream[Entry]) -> None:
    """Count per shop, and send every count."""
    async for movement in stream.group_by(shop_of_entry, name="shop"):
        shop = shop_of(movement.number)
        counts[shop] += 1
        await counts_out.send(key=shop, value={"number": movement.number, "count": counts[shop]})


# One agent with a table, which does what the record says.

obedient = App(f"{PREFIX}obedient", broker="kafka://", store="rocksdb://")
orders = obedient.topic(topic("in"), key_type=str, value_type=str, value_serializer="raw")
done = obedient.topic(topic("out"), key_type=str, value_type=str, value_serializer="raw")
seen = obedient.Table("seen", default=int)


@obedient.agent(orders)
async def obey(stream: streamcluster.Stream[str]) -> None:
    """Count and send on; then `fail` raises, `hang once` blocks the loop, `stand once` the pump, `big N` sends more."""
    async for key, value in stream.items():
        seen[key] += 1
        await done.send(key=key, value=value)
        if value.startswith("fail"):
            raise ValueError(f"told to {value}")
        if value == "hang once" and first_time("hung"):
            while True:
                block_the_loop()
        if value == "stand once" and first_time("stood"):
            Pump.turn = stand  # type: ignore[method-assign]
        if value.startswith("big "):
            await done.send(key=key, value="b" * int(value.split()[1]))


async def stand(self: Pump) -> None:
    """A turn that waits for something that never comes, while the loop goes on: a mistake of ours, if there is one."""
    await asyncio.Event().wait()


def block_the_loop() -> None:
    """A busy loop's body, with a name that shows in a stack."""
    for _ in range(100_000):
        continue


# An agent that records kill, beside one that they do not.

killed = App(f"{PREFIX}killed", broker="kafka://", store="rocksdb://")
killed_in = killed.topic(topic("in"), key_type=str, value_type=str, value_serializer="raw")
killed_out = killed.topic(topic("out"), key_type=str, value_type=str, value_serializer="raw")
killed_copies = killed.topic(topic("copies"), key_type=str, value_type=str, value_serializer="raw")
killed_seen = killed.Table("seen", default=int)


@killed.agent(killed_in, name="fragile")
async def fragile(stream: streamcluster.Stream[str]) -> None:
    """Count and send on; `die N` then kills its process with that signal, `exit N` ends it, and `await` takes long."""
    async for key, value in stream.items():
        killed_seen[key] += 1
        await killed_out.send(key=key, value=value)
        if value.startswith("await"):
            await asyncio.sleep(0.05)
        if "die " in value:
            os.kill(os.getpid(), int(value.split()[-1]))
        if value.startswith("exit "):
            os._exit(int(value.split()[-1]))


@killed.agent(killed_in, name="copy")
async def copy(stream: streamcluster.Stream[str]) -> None:
    """Send on."""
    async for key, value in stream.items():
        await killed_copies.send(key=key, value=value)


# The same as `obedient` with the policy `stop`.

stopping = App(f"{PREFIX}stopping", broker="kafka://", store="rocksdb://", error_action="stop", error_retries=0)
stopping_orders = stopping.topic(topic("in"), key_type=str, value_type=str, value_serializer="raw")
stopping_done = stopping.topic(topic("out"), key_type=str, value_type=str, value_serializer="raw")


@stopping.agent(stopping_orders)
async def stop_at_failure(stream: streamcluster.Stream[str]) -> None:
    """Send on; `fail` raises."""
    async for key, value in stream.items():
        await stopping_done.send(key=key, value=value)
        if value.startswith("fail"):
            raise ValueError(f"told to {value}")


# Two agents on one topic: one takes its time, the other does not.

paced = App(f"{PREFIX}paced", broker="kafka://", store="rocksdb://")
paced_in = paced.topic(topic("in"), key_type=str, value_type=str, value_serializer="raw")
fast_out = paced.topic(topic("fast"), key_type=str, value_type=str, value_serializer="raw")
slow_out = paced.topic(topic("slow"), key_type=str, value_type=str, value_serializer="raw")


@paced.agent(paced_in, name="fast")
async def send_fast(stream: streamcluster.Stream[str]) -> None:
    """Send on at once."""
    async for key, value in stream.items():
        await fast_out.send(key=key, value=value)


@paced.agent(paced_in, name="slow")
async def send_slowly(stream: streamcluster.Stream[str]) -> None:
    """Send on after a while, as if something else had to be asked; `hold once` the first process never sends on."""
    async for key, value in stream.items():
        if value == "hold once" and first_time("held"):
            await asyncio.Event().wait()
        await asyncio.sleep(60 if value == "long" else 0.1)
        await slow_out.send(key=key, value=value)


# A function that ends its worker.

dying = App(f"{PREFIX}dying", broker="kafka://", store="rocksdb://")
dying_in = dying.topic(topic("in"), key_type=str, value_type=str, value_serializer="raw")


@dying.agent(dying_in)
async def idle(stream: streamcluster.Stream[str]) -> None:
    """Take everything."""
    async for _ in stream:
        continue


@dying.task
async def die() -> None:
    """Fail outside of an event, which ends the worker."""
    raise RuntimeError("told to die")


# What brokers refuse, told by the record: each would fail the whole commit that it is in.

refused = App(f"{PREFIX}refused", broker="kafka://", store="rocksdb://", error_retries=0)
refused_in = refused.topic(topic("in"), key_type=str, value_type=str, value_serializer="raw")
refused_out = refused.topic(topic("out"), key_type=str, value_type=str, value_serializer="raw")
refused_table = refused.Table("large", default=str)


@refused.agent(refused_in)
async def send_what_is_refused(stream: streamcluster.Stream[str]) -> None:
    """`at SECONDS` and `part N` send so, `row BYTES` stores so much; everything is sent on."""
    async for event in stream.events():
        word, _, number = event.value.partition(" ")
        if word == "row":
            refused_table[number] = "x" * int(number)
        await refused_out.send(
            value=event.value,
            timestamp=float(number) if word == "at" else None,
            partition=int(number) if word == "part" else None,
        )


# One that looks at all of a table before its first event.

looking = App(f"{PREFIX}looking", broker="kafka://", store="rocksdb://")
looking_in = looking.topic(topic("in"), key_type=str, value_type=str, value_serializer="raw")
looked_at = looking.Table("seen", default=int)


@looked_at.on_recover
def look() -> None:
    """Read every row that is here."""
    assert all(count > 0 for _, count in looked_at.items())


@looking.agent(looking_in)
async def count_seen(stream: streamcluster.Stream[str]) -> None:
    """Count."""
    async for key, _ in stream.items():
        looked_at[key] += 1


# One that leaves nothing behind but its position.

taking = App(f"{PREFIX}taking", broker="kafka://", store="rocksdb://")
taking_in = taking.topic(topic("in"), key_type=str, value_type=str, value_serializer="raw")


@taking.agent(taking_in)
async def take_all(stream: streamcluster.Stream[str]) -> None:
    """Take everything."""
    async for _ in stream:
        continue
