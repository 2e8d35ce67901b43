"""A worker that follows the protocol and does nothing else; misbehaves when a file in its state directory says so.

`fault-<slot>`: text "crash", "exit 78", "hang", "silent" or "garbage", taken (and removed) once when it is granted
tasks; `fault-always-<slot>` stays.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path

import msgspec

from streamcluster.ids import TaskId
from streamcluster.protocol.messages import (
    Description,
    Drain,
    Failed,
    Follow,
    Following,
    Grant,
    Lead,
    ReadTable,
    Ready,
    Released,
    Report,
    Revoke,
    Rows,
    TaskFigures,
    TaskReport,
    ToWorker,
    WorkerConfig,
    WorkerFigures,
)
from streamcluster.protocol.wire import FrameReader, encode_frame
from streamcluster.settings import make_settings
from streamcluster.topology import AgentSpec, Declared, TableSpec, TopicSpec

HEARTBEAT_SECONDS = 0.1


def probe(app: str, sock: socket.socket, overrides: bytes) -> None:
    """Describe an app of one agent and one table; `app` is the name of its topic."""
    if app.startswith("broken"):
        sock.sendall(encode_frame(Failed(exit_code=78, text=f"-A {app} does not import", traceback="Traceback")))
        return
    settings = make_settings({"id": f"{app}-app", **msgspec.msgpack.decode(overrides, type=dict[str, object])})
    compact = {"cleanup.policy": "compact"}
    declared = Declared(
        app_id=settings.app_id,
        topics=(
            TopicSpec(name=app, role="source", partitions=4, create=True, used_by=("sums",)),
            TopicSpec(name=f"{app}-changelog", role="changelog", create=True, like=(app,), config=compact),
        ),
        agents=(AgentSpec(name="sums", topics=(app,), tables=("sums",)),),
        tables=(TableSpec(name="sums", changelog=f"{app}-changelog", sources=(app,)),),
    )
    sock.sendall(encode_frame(Description(settings=settings, declared=declared, native="none")))


def run(config_bytes: bytes, sock: socket.socket) -> None:
    """The worker."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, lambda *_: print("stacks", file=sys.stderr))
    worker = FakeWorker(msgspec.msgpack.decode(config_bytes, type=WorkerConfig), sock)
    worker.run()


class FakeWorker:
    """One process."""

    def __init__(self, config: WorkerConfig, sock: socket.socket) -> None:
        self.config = config
        self.sock = sock
        self.tasks: set[TaskId] = set()
        self.followed: set[TaskId] = set()
        self.directory = Path(config.state_dir)

    def run(self) -> None:
        """Answer until drained or alone."""
        reader: FrameReader[ToWorker] = FrameReader(msgspec.msgpack.Decoder(ToWorker))
        self.send(Ready(slot=self.config.slot, pid=os.getpid(), session=1))
        self.sock.settimeout(HEARTBEAT_SECONDS)
        while True:
            try:
                data = self.sock.recv(65536)
            except TimeoutError:
                self.report()
                continue
            if not data:
                os._exit(1)
            for message in reader.feed(data):
                self.take(message)
            self.report()

    def send(self, message: object) -> None:
        """One frame."""
        self.sock.sendall(encode_frame(message))

    def report(self) -> None:
        """A heartbeat."""
        running = [
            TaskReport(task=task, state="running", figures=TaskFigures(lag={"x": 0}, stored=9))
            for task in sorted(self.tasks)
        ]
        following = [
            TaskReport(task=task, state="standby", figures=TaskFigures(lag={"x": 0}, stored=9))
            for task in sorted(self.followed)
        ]
        self.send(
            Report(
                slot=self.config.slot, tasks=(*running, *following), figures=WorkerFigures(events_total=len(running))
            )
        )

    def take(self, message: ToWorker) -> None:
        """One message."""
        match message:
            case Grant(tasks=tasks):
                self.note("granted", tasks)
                self.tasks |= set(tasks)
                self.followed -= set(tasks)
                self.misbehave()
            case Revoke(epoch=epoch, tasks=tasks):
                self.note("released", tasks)
                self.tasks -= set(tasks)
                self.send(Released(epoch=epoch, tasks=tasks))
            case Follow(epoch=epoch, tasks=tasks):
                self.followed = set(tasks)
                self.send(Following(epoch=epoch, tasks=tasks))
            case Lead():
                self.note("leads", ())
            case Drain():
                self.note("released", tuple(self.tasks))
                os._exit(0)
            case ReadTable():
                self.send(self.rows(message))

    def rows(self, question: ReadTable) -> Rows:
        """Each task holds one key: its own name; a page is one row."""
        names = [str(task) for task in sorted(self.tasks)]
        if question.key is not None:
            key = json.loads(question.key)
            found = ((json.dumps(key), "1"),) if key in names else ()
            return Rows(request=question.request, rows=found, owner=key in names)
        later = [name for name in names if question.after is None or name > question.after]
        return Rows(
            request=question.request,
            rows=tuple((json.dumps(name), "1") for name in later[: question.rows_max]),
            after=later[question.rows_max - 1] if len(later) > question.rows_max else None,
        )

    def note(self, what: str, tasks: tuple[TaskId, ...]) -> None:
        """Append to the journal that the test reads; one write, so lines of several processes do not mix."""
        with (self.directory / "journal").open("a") as journal:
            for task in tasks or ("-",):
                journal.write(f"{self.config.slot} {os.getpid()} {what} {task}\n")

    def misbehave(self) -> None:
        """Do what the test asked for."""
        once, always = (self.directory / f"{name}-{self.config.slot}" for name in ("fault", "fault-always"))
        fault = always.read_text() if always.exists() else once.read_text() if once.exists() else ""
        once.unlink(missing_ok=True)
        match fault.split():
            case ["crash"]:
                os.kill(os.getpid(), signal.SIGSEGV)
            case ["exit", code]:
                self.send(Failed(exit_code=int(code), text=f"asked to exit with {code}", traceback="Traceback: here"))
                os._exit(int(code))
            case ["hang"]:
                while True:
                    signal.pause()
            case ["garbage"]:
                self.sock.sendall(b"\xff" * 64)
                signal.pause()  # until it is killed for that
