"""An app whose events do not end: it awaits for ever, or blocks its loop for longer than the test takes."""

from __future__ import annotations

import asyncio
import os
import threading

import streamcluster

PREFIX = os.environ["PROCESS_TEST_PREFIX"]
BLOCK_SECONDS = 120.0

app = streamcluster.App(f"{PREFIX}held")
words = app.topic(f"{PREFIX}in", key_type=str, value_type=str, value_serializer="raw")


@app.agent(words)
async def read(stream: streamcluster.Stream[str]) -> None:
    """Take what comes, until one says to wait."""
    async for word in stream:
        if word == "await":
            await asyncio.Event().wait()
        if word == "block":
            threading.Event().wait(BLOCK_SECONDS)
