"""An app that joins two tables of windows, and sends on each change of what comes of it."""

from __future__ import annotations

from streamcluster import App, Stream, Topic
from streamcluster.windows.kinds import Window
from tests.process.apps import PREFIX, topic

SIZE, GRACE = 60, 600
Pair = tuple[int, int]

rates = App(f"{PREFIX}rates", broker="kafka://")
views = rates.topic(topic("views"), key_type=str, value_type=int)
orders = rates.topic(topic("orders"), key_type=str, value_type=int)
told = rates.topic(topic("told"), key_type=str, value_type=list)
viewed = rates.Table("viewed", key_type=str, default=int).tumbling(SIZE, grace=GRACE)
ordered = rates.Table("ordered", key_type=str, default=int).tumbling(SIZE, grace=GRACE)
joined = viewed.join(ordered, name="joined")
changes: Topic = joined.changes()


@rates.agent(views)
async def view(stream: Stream[int]) -> None:
    """Counts them."""
    async for page, _ in stream.items():
        viewed[page] += 1


@rates.agent(orders)
async def order(stream: Stream[int]) -> None:
    """Counts them, by fives."""
    async for page, _ in stream.items():
        ordered[page] += 5


@rates.agent(changes)
async def tell(stream: Stream[Pair | None]) -> None:
    """What was written to what comes of both."""
    key: tuple[str, Window]
    async for key, pair in stream.items():
        await told.send(key=key[0], value=[key[1].start, pair and list(pair)])
