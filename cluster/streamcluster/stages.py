"""Stages: what stands between a join, or `deduplicate`, and another topic: it sends what comes of it there.

    orders --+
             +--> join --> topic --+
    payments +                     +--> join --> the loop
    shipments ---------------------+

Behind a join stands another one, `&`, `deduplicate`, `group_by`, a batch of take() or an @app.task. Rows and positions
of a join are those of one partition, so it is done there, by an agent that nobody has written, and what comes of it is
in the topic exactly once. What `group_by` does not move keeps its key's bytes and its partition, whoever has written
the streams and by whatever rule keys were put there.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from .events import origin_of
from .operators import GroupBy
from .stream_joins.joining import key_of_row
from .streams import Stream
from .topics import Topic

# Where the records go whose new key is None, so that one task sees them all.
NO_KEY_PARTITION = 0


def sending_on(group_by: GroupBy, destination: Topic, *, keeps_keys: bool) -> Callable[[Stream[Any]], Awaitable[None]]:
    """The body of the agent. keeps_keys: the bytes and the partition of each key are what they were."""

    async def send_on(stream: Stream[Any]) -> None:
        async for event in stream.events():
            key = event.key
            if group_by.key is not None:
                # A tombstone has no field.
                is_nothing = event.value is None and group_by.is_field
                key = None if is_nothing else group_by.key(event.value)
                if inspect.isawaitable(key):
                    key = await key
            tp, data, headers = origin_of(event)
            record = destination.prepare(None if keeps_keys else key, event.value, headers=headers)
            key_data, value, partition, timestamp, pairs = record
            if keeps_keys:
                # A row that came due has more in its key. No topic's name has an "@": see `Due.label`.
                is_row = "@" in tp.topic
                partition, key_data = tp.partition, key_of_row(data) if is_row and data is not None else data
            elif key is None and group_by.key is not None:
                partition = NO_KEY_PARTITION
            await destination.give((key_data, value, partition, timestamp, pairs))

    return send_on
