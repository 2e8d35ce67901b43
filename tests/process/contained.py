"""An app for a container: it counts, and leaves orphans behind, as shell scripts in a hurry do."""

from __future__ import annotations

import asyncio
import os

import streamcluster

PREFIX = os.environ["PROCESS_TEST_PREFIX"]
# The child ends at once; what it has started has no parent then.
ORPHAN = ("sh", "-c", "sleep 0.2 & exit 0")

app = streamcluster.App(f"{PREFIX}contained")
words = app.topic(f"{PREFIX}in", key_type=str, value_type=int)
counts = app.Table("counts", default=int)


@app.agent(words)
async def count(stream: streamcluster.Stream[int]) -> None:
    """Count by key."""
    async for key, value in stream.items():
        if not counts[key]:
            await (await asyncio.create_subprocess_exec(*ORPHAN)).wait()
        counts[key] += value
