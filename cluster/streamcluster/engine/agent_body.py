"""The body of an agent's unit: the user's coroutine over its stream, and what it yields to its sinks."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from typing import Any

from ..agents import Agent
from ..current import Cursor, Run
from ..errors import UnsendableRecord
from ..events import Event
from ..loops import gathered
from ..output import NOT_AT_COMMIT, OutputColumns
from ..sources import Source
from ..streams import Stream
from ..topics import Topic
from ..topology.units import AgentUnit
from .intake import RunIntake
from .outbox import Outbox, Outputs


async def run_agent(unit: AgentUnit, intake: RunIntake, outbox: Outbox) -> None:
    """Run the agent until it returns."""
    agent = unit.agent
    source = Source(", ".join(topic.describe() for topic in unit.inputs), unit.inputs)
    given = None if unit.stage is None else unit.stage.roads
    source.bind(intake, unit.roads, unit.tables, is_plain=unit.is_plain, given=given)
    result = agent.fun(Stream(source, agent.stream.operators if agent.stream is not None else ()))
    if not hasattr(result, "__anext__"):
        await result
        return
    if len(agent.sinks) == 1 and type(sink := agent.sinks[0]) is Topic and sink.on_produce is None:
        await send_yielded(result, sink, intake.cursor, outbox)
        return
    async for value in result:
        for sink in agent.sinks:
            await _give(sink, value, intake.cursor)


async def send_yielded(values: AsyncIterator[Any], topic: Topic, cursor: Cursor, outbox: Outbox) -> None:
    """The commonest sink: what is the same for all values of a run is asked once for the run.

    A value is encoded when it is yielded, and not with the others of its run: the agent may change it afterwards.
    It does in place what `Cursor.timestamp` and `Outbox.add` do, which is a tenth of all that an event costs.
    """
    coders, kept = topic.coders, cursor.kept
    name, encode, carried, bytes_max = topic.name, coders.encode_value, coders.carried, coders.limits.record_bytes_max
    # The run in hand, if none of its events has headers: its values, those that are left, timestamps, the first.
    run: Run | None = None
    handed: list[Any] = []
    times: list[int] = []
    left: Any = iter(())
    first = 0
    # Where the outbox keeps what it gets, until that is taken out.
    topics: Outputs = {}
    columns = OutputColumns()
    # In C most values do not come here: after one of a run the usual ones behind it are kept there, in the same way.
    kept_in_c = gathered(values, cursor, encode, bytes_max)
    async for value in kept_in_c or values:
        if run is None or cursor.run is not run or type(value) is Event:
            # Of an agent that awaits each event is a run.
            run = cursor.run
            if run is None or run.batch.headers is not None or type(value) is Event:
                run = None
                await _give(topic, value, cursor)
                continue
            handed, left = run.values, cursor.iterator
            times, first = cursor.timestamps(run.batch), run.start - 1
        try:
            data = encode(value)
        except Exception as error:
            raise UnsendableRecord(name, "value", None, value, error) from error
        count = len(handed) - left.__length_hint__()
        usual = count and not kept.handed_out
        timestamp = (times[first + count] or NOT_AT_COMMIT) if usual else cursor.timestamp()
        if timestamp > carried.sure:
            timestamp = carried.of(timestamp)
        if data is not None and len(data) > bytes_max:
            coders.limits.check_size(name, len(data))
        if outbox.topics is topics:
            columns.keys.append(None)
            columns.values.append(data)
            columns.timestamps.append(timestamp)
            is_over = len(columns.values) > outbox.look_at and outbox.is_over(columns)
        else:
            is_over = outbox.add(name, None, data, timestamp)
            topics = outbox.topics
            columns = topics[name]
        if is_over:
            await outbox.room()
        elif kept_in_c is not None and usual and count < len(handed):
            lists = columns.keys, columns.values, columns.timestamps
            kept_in_c.keep(run, handed, left.__length_hint__, times, first, *lists, outbox.look_at, carried.sure)


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
