"""An app that regroups its events through topics of its own and of the user's, and waits when told to. Not a test."""

from __future__ import annotations

import asyncio

import streamcluster
from streamcluster import App
from tests.process.apps import NOTES, PREFIX, topic

HOLD = "hold"

purging = App(f"{PREFIX}purging", broker="kafka://", store="rocksdb://")
lines = purging.topic(topic("in"), key_type=str, value_type=str, value_serializer="raw")
given = purging.topic(topic("given"), key_type=str, value_type=str, value_serializer="raw")
passed = purging.topic(topic("passed"), key_type=str, value_type=str, value_serializer="raw")
counts = purging.Table("counts", default=int)


def first_letter(line: str) -> str:
    """The key to group by."""
    return line[0]


@purging.agent(lines, name=topic("own"))
async def own(stream: streamcluster.Stream[str]) -> None:
    """Count by first letter, through a topic that the app makes; `hold` waits for a note."""
    async for line in stream.group_by(first_letter, name="letter"):
        # A file is all that a test can give to another process; it sets no event.
        while line == HOLD and not (NOTES / "go on").exists():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        counts[line[0]] += 1


@purging.agent(lines, name=topic("to-given"))
async def to_given(stream: streamcluster.Stream[str]) -> None:
    """The same through a topic of the user's."""
    async for _ in stream.group_by(first_letter, name="given", topic=given):
        continue


@purging.agent(lines, name=topic("to-passed"))
async def to_passed(stream: streamcluster.Stream[str]) -> None:
    """And one that the user names in `through`."""
    async for _ in stream.through(passed):
        continue
