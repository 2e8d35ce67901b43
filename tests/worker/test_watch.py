"""A worker's own threads, tasks and callbacks: none ends unseen, and what users start ends nobody but itself."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path

import pytest

import streamcluster.kafka
import streamcluster_worker
from streamcluster_worker import main
from streamcluster_worker.own_tasks import failed
from streamcluster_worker.watch import OWN_THREAD, Watch

SECONDS = 10.0
# File -> what of it makes threads and tasks by itself, and who sees how those end.
KNOWN = {
    "effects.py": "Effects._ended takes the error, and the worker's loop raises it",
    "opening.py": "Detached takes whatever is raised, and raises it in whoever waits",
    "main.py": "the task that is the process: what it raises is its last word",
    "watch.py": "Watch itself",
}


@pytest.fixture(autouse=True)
def hook() -> Iterator[None]:
    """The hook for threads is the whole process's."""
    before = threading.excepthook
    yield
    threading.excepthook = before


def watched(use: Callable[[Watch], object]) -> list[tuple[str, str]]:
    """What the worker is told, once it is told something, of what `use` starts."""

    async def run() -> list[tuple[str, str]]:
        told: list[tuple[str, str]] = []
        some = asyncio.Event()

        def ended(name: str, error: BaseException) -> None:
            told.append((name, repr(error)))
            some.set()

        # What it started is kept, as by the worker.
        kept = use(Watch(ended))
        async with asyncio.timeout(SECONDS):
            await some.wait()
        del kept
        return told

    return asyncio.run(run())


def fail() -> None:
    """As a part of the worker with a mistake in it."""
    raise KeyError("lost")


async def fail_later() -> None:
    """The same as a coroutine."""
    await asyncio.sleep(0)
    fail()


def test_a_task_that_fails_is_told() -> None:
    """Also while somebody holds it, when asyncio says nothing."""
    assert watched(lambda watch: watch.task(fail_later(), "the heartbeat")) == [("the heartbeat", "KeyError('lost')")]


def test_a_task_that_returns_is_told() -> None:
    """What is to last and does not is a mistake, with or without an error."""
    [(name, error)] = watched(lambda watch: watch.task(asyncio.sleep(0), "the heartbeat"))
    assert (name, "it has returned" in error) == ("the heartbeat", True)


def test_a_thread_of_ours_that_fails_is_told() -> None:
    """On the loop, with its name."""

    def start(_watch: Watch) -> None:
        threading.Thread(target=fail, name=f"{OWN_THREAD}restore").start()

    assert watched(start) == [("thread streamcluster-restore", "KeyError('lost')")]


def test_a_callback_of_ours_that_fails_is_told() -> None:
    """What the loop calls and nobody awaits."""
    namespace: dict[str, Callable[[], None]] = {"__name__": "streamcluster_worker.link"}  # type: ignore[dict-item]
    exec("def read(): raise KeyError('lost')", namespace)
    [(_, error)] = watched(lambda _: asyncio.get_running_loop().call_soon(namespace["read"]))
    assert error == "KeyError('lost')"


def test_what_users_start_is_said_and_ends_no_worker(caplog: pytest.LogCaptureFixture) -> None:
    """Threads and callbacks of an app are its own: the log has their error, and the worker goes on."""
    caplog.set_level(logging.ERROR)

    def start(watch: Watch) -> object:
        threading.Thread(target=fail, name="of the app").start()
        asyncio.get_running_loop().call_soon(fail)
        return asyncio.get_running_loop().call_later(0.2, lambda: watch.task(fail_later(), "the heartbeat"))

    assert watched(start) == [("the heartbeat", "KeyError('lost')")]
    assert sum("lost" in str(record.exc_info) for record in caplog.records) == 2
    assert "thread of the app has ended" in caplog.text


def test_what_users_start_of_ours_ends_no_worker(caplog: pytest.LogCaptureFixture) -> None:
    """`create_task(topic.send(...))` that nobody awaits fails for itself, though its code is ours."""
    namespace: dict[str, Callable[[], Coroutine[None, None, None]]] = {}
    exec("async def send(): raise KeyError('too large')", {"__name__": "streamcluster.topics"}, namespace)

    def start(watch: Watch) -> object:
        loop = asyncio.get_running_loop()
        loop.create_task(namespace["send"]())  # noqa: RUF006 (as users do)
        return loop.call_later(0.2, lambda: watch.task(fail_later(), "the heartbeat"))

    assert watched(start) == [("the heartbeat", "KeyError('lost')")]
    assert "never retrieved" in caplog.text


def test_last_words_are_bounded() -> None:
    """An error may be as long as the record that it is about."""
    last = failed(1, "x" * 10**6, ValueError("y" * 10**6))
    assert len(last.text) + len(last.traceback or "") < 110_000
    assert "ValueError: y" in (last.traceback or "")


def test_cancelled_is_no_fault() -> None:
    """As the heartbeat is at the worker's end."""

    async def run() -> list[str]:
        told: list[str] = []
        task = Watch(lambda name, _error: told.append(name)).task(asyncio.sleep(60), "the heartbeat")
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        return told

    assert asyncio.run(run()) == []


def test_nothing_of_a_worker_is_started_that_nobody_watches() -> None:
    """Each thread and task of the worker, and of the Kafka layer, has the watched name, or is in the table above."""
    folders = (Path(streamcluster_worker.__file__).parent, Path(streamcluster.kafka.__file__).parent)
    unwatched = [
        f"{path.name}:{call.lineno}: {ast.unparse(call)}"
        for path in sorted(path for folder in folders for path in folder.rglob("*.py"))
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and ast.unparse(call.func).rpartition(".")[2] in ("Thread", "create_task")
        if path.name not in KNOWN and "OWN_THREAD" not in ast.unparse(call)
    ]
    assert unwatched == []


class Broken:
    """A worker that cannot say what it does, the first two times."""

    slot = 3

    def __init__(self) -> None:
        self.said: list[str] = []
        self.enough = asyncio.Event()

    def report(self) -> None:
        """As Worker.report."""
        if len(self.said) < 2:
            raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")
        self.said.append("all")
        self.enough.set()

    def report_bare(self, error: Exception) -> None:
        """As Worker.report_bare."""
        self.said.append(type(error).__name__)


def test_a_heartbeat_goes_on_whatever_a_report_raises(caplog: pytest.LogCaptureFixture) -> None:
    """It says that the loop turns, the log says once what is wrong, and the next report is a whole one."""

    async def run() -> list[str]:
        worker = Broken()
        heartbeat = asyncio.create_task(main._heartbeat(worker, 0.01, asyncio.Event()))  # type: ignore[arg-type]
        async with asyncio.timeout(SECONDS):
            await worker.enough.wait()
        heartbeat.cancel()
        return worker.said

    assert asyncio.run(run())[:3] == ["UnicodeEncodeError", "UnicodeEncodeError", "all"]
    assert caplog.text.count("worker 3 cannot say what it does") == 1


def test_a_report_that_is_wanted_does_not_wait_for_its_time() -> None:
    """Who asks for the status counts on what it says."""

    async def run() -> list[str]:
        worker, wanted = Broken(), asyncio.Event()
        heartbeat = asyncio.create_task(main._heartbeat(worker, 1000 * SECONDS, wanted))  # type: ignore[arg-type]
        async with asyncio.timeout(SECONDS):
            while not worker.enough.is_set():
                wanted.set()
                await asyncio.sleep(0)
        heartbeat.cancel()
        return worker.said

    assert asyncio.run(run())[-1] == "all"
