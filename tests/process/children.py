"""An app that starts processes of every kind in an agent, and leaves them: what it is asked for is the value."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from streamcluster import App, Stream

PREFIX = os.environ["PROCESS_TEST_PREFIX"]
app = App(f"{PREFIX}app", topic_replication_factor=1)
asked = app.topic(f"{PREFIX}in", key_type=str, value_serializer="raw")
answers = app.topic(f"{PREFIX}out", key_type=str, value_type=str, value_serializer="raw")
kept: list[Any] = []


def rest() -> None:
    """In a child."""
    threading.Event().wait()


def add_one(number: int) -> int:
    """In a pool."""
    return number + 1


def terminated(process: subprocess.Popen[str]) -> str:
    """How it took SIGTERM."""
    assert process.stdout is not None
    process.stdout.readline()
    process.terminate()
    return str(process.wait(10))


def execute() -> subprocess.Popen[str]:
    """A program that says that it runs."""
    code = "import time; print('runs', flush=True); time.sleep(3600)"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


async def multiprocess(method: str) -> str:
    """A process of that kind takes SIGTERM."""
    process: Any = multiprocessing.get_context(method).Process(target=rest)  # type: ignore[attr-defined]
    process.start()
    await asyncio.sleep(0)
    process.terminate()
    process.join(10)
    return str(process.exitcode)


def fork(act: Any) -> str:
    """How a forked process ends that does this."""
    pid = os.fork()
    if pid == 0:
        act()
    else:
        return str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return "a second worker"


def leave() -> str:
    """Start what lasts, and forget it."""
    kept.append(subprocess.Popen(["sh", "-c", "sleep 3600 & wait"]))
    kept.append(multiprocessing.get_context("fork").Process(target=rest))
    kept[-1].start()
    kept.append(ProcessPoolExecutor(1))
    assert kept[-1].submit(add_one, 1).result() == 2
    return "left"


async def answer(what: str) -> str:
    """Do it."""
    match what:
        case "execute":
            return terminated(execute())
        case "execute in a thread":
            return await asyncio.to_thread(lambda: terminated(execute()))
        case "fork" | "spawn" | "forkserver":
            return await multiprocess(what)
        case "exit":
            return fork(lambda: sys.exit(7))
        case "raise":
            return fork(lambda: int("none"))
        case "kill":
            return fork(lambda: os.kill(os.getpid(), signal.SIGTERM))
        case "go on":
            return fork(lambda: None)
        case _:
            return leave()


@app.agent(asked)
async def starting(stream: Stream[bytes]) -> None:
    """One answer for each."""
    async for key, value in stream.items():
        await answers.send(key=key, value=await answer(value.decode()))
