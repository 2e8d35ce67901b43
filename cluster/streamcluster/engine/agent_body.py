"""The body of an agent's unit: the user's coroutine over its stream, and what it yields to its sinks."""

from __future__ import annotations

import inspect
from typing import Any

from ..agents import Agent
from ..current import Cursor
from ..events import Event
from ..streams import Source, Stream
from ..topics import Topic
from ..topology.units import AgentUnit
from .intake import RunIntake
from .outbox import Outbox


async def run_agent(unit: AgentUnit, intake: RunIntake, outbox: Outbox) -> None:
    """Run the agent until it returns."""
    agent = unit.agent
    source = Source(", ".join(topic.describe() for topic in unit.inputs), unit.inputs)
    source.intake = intake
    result = agent.fun(Stream(source, agent.stream.operators if agent.stream is not None else ()))
    if not hasattr(result, "__anext__"):
        await result
        return
    cursor = intake.cursor
    async for value in result:
        for sink in agent.sinks:
            # The commonest sink costs no coroutine.
            if type(sink) is Topic and type(value) is not Event and _has_no_headers(cursor):
                if sink.append_to(outbox, None, value):
                    await outbox.room()
            else:
                await _give(sink, value, cursor)


def _has_no_headers(cursor: Cursor) -> bool:
    """It is known that no event of the run in hand has any."""
    return cursor.run is not None and cursor.run.batch.headers is None


async def _give(sink: Any, value: Any, cursor: Cursor) -> None:
    """Hand a yielded value to one sink.

    What a topic or an agent gets has the headers of the event that it came from; of a batch of take() it has none.
    """
    if isinstance(sink, (Topic, Agent)):
        topic = sink if isinstance(sink, Topic) else sink.topic
        if isinstance(value, Event):
            await value.forward(topic)
        else:
            run, index = cursor.run, cursor.index()
            headers = None
            if run is not None and index is not None and not cursor.kept.handed_out:
                headers = run.headers(index)
            await topic.give(topic.prepare(None, value, headers=headers))
    else:
        result = sink(value)
        if inspect.isawaitable(result):
            await result
