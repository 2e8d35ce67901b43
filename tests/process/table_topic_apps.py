"""Apps with a table of a topic: `asked` as it is, and `keeps`, the same app later, whose table needs a changelog."""

from __future__ import annotations

from typing import Any

from streamcluster import App, Stream
from tests.process.apps import PREFIX, topic


def declare(**arguments: Any) -> App:
    """The same id, with these arguments of its table."""
    app = App(f"{PREFIX}asked", broker="kafka://", store="rocksdb://")
    users = app.Table("users", source=app.topic(topic("users"), key_type=str, value_type=int), **arguments)
    answers = app.topic(topic("out"), key_type=str, value_type=int)

    @app.agent(app.topic(topic("in"), key_type=str, value_type=str))
    async def answer(stream: Stream[Any]) -> None:
        """What the table has of the key; -1: nothing."""
        async for key, _ in stream.items():
            await answers.send(key=key, value=users.get(key, -1))

    return app


asked = declare()
keeps = declare(ttl=3600)
