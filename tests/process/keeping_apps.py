"""An app in which records take every way on, and one that talks to a server from its import on."""

from __future__ import annotations

import os
import random
import socket
import uuid
from collections.abc import AsyncIterator

import streamcluster
from streamcluster import App, Event
from tests.process.apps import PREFIX, topic


class Click(streamcluster.Record):
    """One look at a page."""

    page: str | None


keeping = App(f"{PREFIX}keeping", broker="kafka://")
clicks = keeping.topic(topic("in"), key_type=str, value_type=Click)
ways = {
    name: keeping.topic(topic(name), key_type=str, value_type=Click)
    for name in ("through", "echo", "sink", "forward", "sent")
}
by_page = keeping.Table("by_page", default=int)


@keeping.agent(clicks)
async def count(stream: streamcluster.Stream[Click]) -> None:
    """Count pages by hour behind a group_by."""
    async for event in stream.group_by(Click.page, name="page").events():
        by_page[f"{event.value and event.value.page} {event.message.timestamp // 3600:.0f}"] += 1


@keeping.agent(clicks)
async def pass_through(stream: streamcluster.Stream[Click]) -> None:
    """Take the way over a topic."""
    async for _ in stream.through(ways["through"]):
        pass


@keeping.agent(clicks, sink=[ways["sink"]])
async def to_sink(stream: streamcluster.Stream[Click]) -> AsyncIterator[Event]:
    """Copy and yield."""
    async for event in stream.echo(ways["echo"]).events():
        await event.forward(ways["forward"])
        await ways["sent"].send(key=event.key, value=event.value)
        yield event


# Set by the test that starts a server there.
PORT = int(os.environ.get("KEEPING_TEST_PORT", "0"))
asking = App(f"{PREFIX}asking", broker="kafka://")
questions = asking.topic(topic("questions"), key_type=str, value_type=str, value_serializer="raw")
drawn = asking.topic(topic("drawn"), key_type=str)
answers = asking.Table("answers", default=int)
if PORT:
    link = socket.create_connection(("127.0.0.1", PORT), 20.0)
    answers_of_server = link.makefile("rb")
uuid.uuid1()
own_numbers = random.Random()
fixed_numbers = random.Random(7)


@asking.agent(questions)
async def ask(stream: streamcluster.Stream[str]) -> None:
    """Ask the server, who says the same; whoever shares a connection gets another's answer."""
    async for event in stream.events():
        link.sendall(event.value.encode() + b"\n")
        answer = answers_of_server.readline().decode().strip()
        answers[f"{'right' if answer == event.value else 'wrong'} {event.message.partition}"] += 1


@asking.task
async def draw() -> None:
    """Say what random numbers this process draws."""
    numbers = [random.random(), own_numbers.random(), str(uuid.uuid4()), uuid.uuid1().clock_seq]
    await drawn.send(key=str(os.getpid()), value=[numbers, fixed_numbers.random()])
