"""The apps of awaits.py: an agent that calls an API for each event, 500 at once in each partition.

Environment: as in apps.py, and BENCH_API, the API's HOST:PORT. One app for each client: the raw one of http_client.py,
and aiohttp, where it is installed. Not httpx (0.28): with 1,000 calls at once the worker did not answer for a minute,
probably since a call looks at all connections of its pool.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
from collections.abc import Awaitable, Callable
from typing import Any

import streamcluster

from .apps import SOURCE, Order, app_id, output_topic
from .http_client import Client

CONCURRENCY = 500
HOST, _, PORT = os.environ.get("BENCH_API", "127.0.0.1:0").partition(":")
Get = Callable[[str], Awaitable[bytes]]


def calling_app(work: str, get: Get) -> streamcluster.App:
    """An app that sends each order on once the API has answered."""
    app = streamcluster.App(app_id(work), broker="kafka://", store="rocksdb://")
    output = app.topic(output_topic(work), key_type=str, value_type=Order)

    @app.agent(app.topic(SOURCE, key_type=str, value_type=Order), concurrency=CONCURRENCY)
    async def ask(orders: streamcluster.Stream[Order]) -> None:
        async for order in orders:
            await get(f"/risk/{order.account_id}")
            await output.send(key=order.account_id, value=order)

    return app


async def sleeping(_path: str) -> bytes:
    """No call at all, only the time that it takes: what is left is the engine's."""
    await asyncio.sleep(0.02)
    return b""


def get_of_aiohttp() -> Get:
    """With a session of aiohttp that lives as long as the worker."""
    aiohttp = importlib.import_module("aiohttp")
    sessions: list[Any] = []

    async def get(path: str) -> bytes:
        if not sessions:
            sessions.append(aiohttp.ClientSession(f"http://{HOST}:{PORT}", connector=aiohttp.TCPConnector(limit=0)))
        async with sessions[0].get(path, raise_for_status=True) as answer:
            content: bytes = await answer.read()
            return content

    return get


awaits_sleep = calling_app("awaits_sleep", sleeping)
awaits_raw = calling_app("awaits_raw", Client(HOST, int(PORT)).get)
INSTALLED = ["aiohttp"] if importlib.util.find_spec("aiohttp") is not None else []
if INSTALLED:
    awaits_aiohttp = calling_app("awaits_aiohttp", get_of_aiohttp())
