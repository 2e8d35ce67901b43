"""The entry of a worker process, and of the probe that describes an app. Composition root: it names uvloop.

The coordinator starts both through its fork server. A worker must not outlive its coordinator: the kernel kills it
when the fork server ends, and the end of the socketpair ends it too.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import faulthandler
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping

import msgspec
import uvloop

from streamcluster.app import App
from streamcluster.boundary import run_to_the_end, unlisted
from streamcluster.config.loading import AppNotImportable
from streamcluster.config.logs import configure_logging, finish_logging
from streamcluster.engine.clock import LoopClock
from streamcluster.engine.engine import Engine
from streamcluster.errors import ExitCode, StreamclusterError
from streamcluster.loops import use_python
from streamcluster.printable import repr_of
from streamcluster.protocol.messages import Description, Failed, Tell, ToWorker, WorkerConfig, native_words
from streamcluster.settings import Settings, make_settings
from streamcluster.topology import Declared
from streamcluster.topology.declare import apply_limits, freeze
from streamcluster.topology.timed import costly_windows
from streamcluster.topology.units import Plan

from .in_hand_file import open_in_hand
from .kafka.native import why_not_native
from .link import Link, send_blocking
from .own_tasks import Stop, failed
from .resident import Resident, split_memory, tune_allocator
from .user.app_import import APP_IMPORT, load_or_why
from .user.children import ask_children_to_end, end_with_children, expect_children
from .user.randomness import GENERATORS
from .watch import Watch
from .worker import Worker

logger = logging.getLogger("streamcluster")
PR_SET_PDEATHSIG = 1
# For a coordinator that is busy; one that is stopped learns less.
LAST_WORDS_SECONDS = 5.0
# A report that cannot be made is said so often; heartbeats come twice a second.
REPORT_FAULT_SECONDS = 60.0


def probe(app: str, sock: socket.socket, overrides: bytes) -> None:
    """Import an app, freeze it, and send one Description or Failed.

    Args:
        app: "module:attribute".
        overrides: msgpack of setting name -> value: what the operator says.
    """
    try:
        found, notes = APP_IMPORT.load_and_tell(app)
        settings = settings_of(found, msgspec.msgpack.decode(overrides, type=dict[str, object]))
        _, declared = asyncio.run(_freeze(found, settings))
        words = native_words(why_not_native(settings))
        notes = (*notes, *costly_windows(found.tables.values()))
        send_blocking(sock, Description(settings=settings, declared=declared, native=words, notes=notes))
    except AppNotImportable as error:
        send_blocking(sock, Failed(exit_code=ExitCode.CONFIGURATION, text=str(error), traceback=error.traceback))
    except StreamclusterError as error:
        send_blocking(sock, Failed(exit_code=int(error.exit_code), text=str(error)))
    except BaseException as error:  # noqa: BLE001 (the boundary to user code)
        text = f"app {app}: the code before an agent's first event failed: {repr_of(error)}"
        send_blocking(sock, failed(ExitCode.CONFIGURATION, text, error))


def settings_of(app: App, overrides: Mapping[str, object]) -> Settings:
    """The app's settings under the operator's."""
    return make_settings({**app.keywords, **overrides}, source=f"App({app.conf.id!r})")


async def _freeze(app: App, settings: Settings) -> tuple[Plan, Declared]:
    app.conf = settings
    return await freeze(app)


def run(config_bytes: bytes, sock: socket.socket) -> None:
    """Be a worker until drained, stopped or failed; ends the process.

    Args:
        config_bytes: msgpack of messages.WorkerConfig.
        sock: this worker's end of its socketpair.
    """
    config = msgspec.msgpack.decode(config_bytes, type=WorkerConfig)
    expect_children()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    configure_logging(config.settings.log_format, config.settings.log_level, slot=config.slot)
    tune_allocator()
    if not config.settings.native:
        use_python()
    GENERATORS.reseed()
    # Before there is an event loop, as in the fork server.
    app = load_or_why(config.app)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        loop = runner.get_loop()
        # Nobody at a terminal interrupts a worker: these are raised by the app's own code.
        task = unlisted(loop.create_task(_run(config, sock, app)))
        code = run_to_the_end(loop, task, (SystemExit, KeyboardInterrupt))
    finish_logging()
    # Where they cannot be written, or user code has closed them, there is nobody to tell.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
        sys.stderr.flush()
    ask_children_to_end()
    # Not sys.exit: threads of clients that were left in doubt must not hold up the end.
    os._exit(code)


async def _run(config: WorkerConfig, sock: socket.socket, app: App | Exception) -> int:
    """Work to the end, and say the last word: whatever goes wrong, the coordinator learns why."""
    workers: list[Worker] = []
    # A report is wanted before it is due.
    wanted = asyncio.Event()

    def received(message: ToWorker) -> None:
        if isinstance(message, Tell):
            wanted.set()
        else:
            workers[0].receive(message)

    def gone() -> None:
        # The coordinator is dead: whatever is not committed by now is nobody's to commit.
        end_with_children()

    link = Link(sock, received, gone)
    try:
        worker = await _make_worker(config, link, app)
        workers.append(worker)
        link.start()
        await _work(worker, config.settings.heartbeat_interval, wanted)
    except Stop as stop:
        if stop.failed is None:
            return ExitCode.DRAINED
        link.send(stop.failed)
        return stop.failed.exit_code
    except StreamclusterError as error:
        link.send(Failed(exit_code=int(error.exit_code), text=str(error)))
        return int(error.exit_code)
    except BaseException as error:  # noqa: BLE001 (the process boundary: said with its traceback)
        link.send(failed(1, f"worker {config.slot} failed: {repr_of(error)}", error))
        return 1
    finally:
        await link.flush(LAST_WORDS_SECONDS)
    return ExitCode.DRAINED


async def _make_worker(config: WorkerConfig, link: Link, app: App | Exception) -> Worker:
    _dump_stacks_on_signal(asyncio.get_running_loop())
    if isinstance(app, Exception):
        raise app
    plan, _ = await _freeze(app, config.settings)
    apply_limits(app, plan, config.topology)
    gc.collect()
    process = Resident()
    config, shares = split_memory(config, process, has_stores=bool(config.topology.tables))
    in_hand = open_in_hand(config)
    engine = Engine(app, plan, config.topology, LoopClock(), in_hand=in_hand, shares=shares, process=process)
    worker = Worker(config, engine, os.getpid(), link.send)
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    return worker


async def _work(worker: Worker, heartbeat_seconds: float, wanted: asyncio.Event) -> None:
    heartbeat = unlisted(Watch(worker.part_ended).task(_heartbeat(worker, heartbeat_seconds, wanted), "the heartbeat"))
    try:
        await worker.run()
    finally:
        heartbeat.cancel()
        await worker.end()


async def _heartbeat(worker: Worker, seconds: float, wanted: asyncio.Event) -> None:
    """Report from the loop that does the work: a loop that hangs does not report. wanted: do so at once."""
    said_at = float("-inf")
    while True:
        wanted.clear()
        try:
            worker.report()
        except Exception as error:
            # A worker that works must not be taken for one that hangs, whatever is in its report.
            if time.monotonic() - said_at >= REPORT_FAULT_SECONDS:
                said_at = time.monotonic()
                logger.exception("worker %d cannot say what it does", worker.slot)
            worker.report_bare(error)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await wanted.wait()


def _dump_stacks_on_signal(loop: asyncio.AbstractEventLoop) -> None:
    """SIGUSR1: the stacks of all threads at once, also of a loop that hangs; then those of all tasks, if it turns."""

    own = asyncio.current_task()

    def dump_tasks() -> None:
        for task in (own, *asyncio.all_tasks(loop)):
            if task is not None:
                task.print_stack(file=sys.stderr)

    signal.signal(signal.SIGUSR1, lambda *_: loop.call_soon_threadsafe(dump_tasks))
    faulthandler.register(signal.SIGUSR1, file=sys.stderr, all_threads=True, chain=True)
