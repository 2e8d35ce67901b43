"""An app whose tables are read by an agent, and the same one later, with joins of these tables."""

from __future__ import annotations

from typing import Any

from streamcluster import App, Stream
from tests.process.apps import PREFIX, topic


def declare(*, is_later: bool) -> App:
    """One id and the same tables; is_later: with the joins."""
    app = App(f"{PREFIX}late", broker="kafka://")
    accounts = app.Table("accounts", source=app.topic(topic("accounts"), key_type=str, value_type=str))
    owners = app.Table("owners", source=app.topic(topic("owners"), key_type=str, value_type=int), history=3600)
    asked, found = (app.topic(topic(name), key_type=str, value_type=str) for name in ("asked", "found"))
    told = app.topic(topic("told"), key_type=str, value_type=str)
    if is_later:
        accounts.left_join(owners, name="equal")
        accounts.left_join(owners, on=str.lower, name="named")

        @app.agent(asked)
        async def find(stream: Stream[Any]) -> None:
            """The owner as it was when it was asked for."""
            async for key, (_, owner) in stream.left_join(owners, as_of=True).items():
                await found.send(key=key, value=str(owner))

    @app.agent(accounts.changes(), concurrency=2)
    async def tell(stream: Stream[Any]) -> None:
        """Each change of the one table."""
        async for key, value in stream.items():
            await told.send(key=key, value=value)

    @app.agent(owners.changes())
    async def ignore(stream: Stream[Any]) -> None:
        """Reads those of the other one."""
        async for _ in stream:
            pass

    return app


late = declare(is_later=True)
