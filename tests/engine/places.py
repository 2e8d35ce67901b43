"""Where user code runs: each puts what fails at BAD there, in an app that counts its other events in `done`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from streamcluster import App, Stream
from streamcluster.codecs import Codec

BAD = -1
Act = Callable[[], Any]
Place = Callable[[App, Any, Act], None]


def count(app: App, topic: Any, _: Act) -> None:
    """The agent behind whatever fails."""
    done = app.Table("done", default=int)

    @app.agent(topic, name="counting")
    async def counting(stream: Stream[int]) -> None:
        async for value in stream:
            done[str(value)] += 1


def in_agent(app: App, topic: Any, act: Act) -> None:
    """The body of the loop."""
    done = app.Table("done", default=int)

    @app.agent(topic, name="failing")
    async def failing(stream: Stream[int]) -> None:
        async for value in stream:
            done[str(value)] += 1
            if value == BAD:
                act()


def in_batch(app: App, topic: Any, act: Act) -> None:
    """A batch of take()."""
    done = app.Table("done", default=int)

    @app.agent(topic, name="failing")
    async def failing(stream: Stream[int]) -> None:
        async for values in stream.take(3, within=1.0):
            for value in values:
                done[str(value)] += 1
                if value == BAD:
                    act()


def _given(act: Act) -> Callable[[int], int]:
    def given(value: int) -> int:
        if value == BAD:
            act()
        return value

    return given


def in_processor(app: App, topic: Any, act: Act) -> None:
    """A processor of the stream."""
    stream = app.stream(topic)
    stream.add_processor(_given(act))
    count(app, stream, act)


def in_filter(app: App, topic: Any, act: Act) -> None:
    """A filter of the stream."""
    given = _given(act)
    count(app, app.stream(topic).filter(lambda value: given(value) is not None), act)


def in_key(app: App, topic: Any, act: Act) -> None:
    """The key function of group_by."""
    given = _given(act)
    count(app, app.stream(topic).group_by(lambda value: str(given(value)), name="key"), act)


def in_awaited_key(app: App, topic: Any, act: Act) -> None:
    """A key function that awaits."""
    given = _given(act)

    async def key(value: int) -> str:
        await asyncio.sleep(0)
        return str(given(value))

    count(app, app.stream(topic).group_by(key, name="key"), act)


def in_sink(app: App, topic: Any, act: Act) -> None:
    """A function that is a sink."""
    done = app.Table("done", default=int)

    @app.agent(topic, name="failing", sink=[_given(act)])
    async def failing(stream: Stream[int]) -> Any:
        async for value in stream:
            done[str(value)] += 1
            yield value


def in_default(app: App, topic: Any, act: Act) -> None:
    """The default of a table."""
    done = app.Table("done", default=int)
    others = app.Table("others", default=lambda: act() or 1)

    @app.agent(topic, name="failing")
    async def failing(stream: Stream[int]) -> None:
        async for value in stream:
            done[str(value)] += 1
            if value == BAD:
                others["x"] += 1


def in_table_codec(app: App, topic: Any, act: Act) -> None:
    """The codec of a table's values, which is asked when the event is long over."""

    def dumps(value: int) -> bytes:
        if value == BAD:
            act()
        return str(value).encode()

    done = app.Table("done", default=int)
    others = app.Table("others", value_serializer=Codec(dumps=dumps, loads=int))

    @app.agent(topic, name="failing")
    async def failing(stream: Stream[int]) -> None:
        async for value in stream:
            done[str(value)] += 1
            others[str(value)] = value


def in_encoder(app: App, topic: Any, act: Act) -> None:
    """The codec of what is sent."""

    def dumps(value: int) -> bytes:
        if value == BAD:
            act()
        return str(value).encode()

    done = app.Table("done", default=int)
    out = app.topic("out", value_serializer=Codec(dumps=dumps, loads=int))

    @app.agent(topic, name="failing")
    async def failing(stream: Stream[int]) -> None:
        async for value in stream:
            done[str(value)] += 1
            await out.send(value=value)


def in_produce_signal(app: App, topic: Any, act: Act) -> None:
    """A receiver of on_produce_message."""
    done = app.Table("done", default=int)
    out = app.topic("out", value_type=int)

    @app.on_produce_message.connect
    def produced(sender: object, *, value: Any, **_: object) -> None:
        if value == BAD:
            act()

    @app.agent(topic, name="failing")
    async def failing(stream: Stream[int]) -> None:
        async for value in stream:
            done[str(value)] += 1
            await out.send(value=value)


def in_task(app: App, topic: Any, act: Act) -> None:
    """An @app.task over a stream."""
    done = app.Table("done", default=int, partitions=1)
    stream = app.stream(topic)

    @app.task
    async def failing() -> None:
        async for value in stream:
            done[str(value)] += 1
            if value == BAD:
                act()


PLACES: list[Place] = [
    in_agent,
    in_batch,
    in_processor,
    in_filter,
    in_key,
    in_awaited_key,
    in_sink,
    in_default,
    in_table_codec,
    in_encoder,
    in_produce_signal,
    in_task,
]
