"""An app that joins the tables of two topics by a foreign key, and sends on each change of what comes of it."""

from __future__ import annotations

from streamcluster import App, Record, Stream, Topic
from tests.process.apps import PREFIX, topic


class Account(Record):
    """A row of the left table; number: it is the so many-th of its key."""

    number: int
    owner: str


joined = App(f"{PREFIX}joined", broker="kafka://")
accounts = joined.Table("accounts", source=joined.topic(topic("accounts"), key_type=str, value_type=Account))
owners = joined.Table("owners", source=joined.topic(topic("owners"), key_type=str, value_type=int))
enriched = accounts.left_join(owners, on=Account.owner, name="enriched")
changes: Topic = enriched.changes()
told = joined.topic(topic("told"), key_type=str, value_type=list)


@joined.agent(changes)
async def tell(stream: Stream[tuple[Account, int | None] | None]) -> None:
    """What was written to it."""
    async for key, pair in stream.items():
        await told.send(key=key, value=None if pair is None else [pair[0].number, pair[0].owner, pair[1]])
