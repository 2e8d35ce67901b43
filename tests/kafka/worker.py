"""One worker process on a real broker, driven by hand over its socketpair, as the coordinator does it.

It knows the messages and the process entry, and decides nothing: tests say what is granted, and what must come back.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from streamcluster.ids import TaskId
from streamcluster.protocol.messages import Description, Failed, Ready, Report, ToCoordinator, ToWorker, WorkerConfig
from streamcluster.protocol.wire import FrameReader, encode_frame
from streamcluster.settings import Settings
from streamcluster.topology import BrokerTopic, Topology
from streamcluster.topology.resolve import resolve
from tests.conftest import MakeTopic
from tests.process.records import Reader
from tests.process.running import REPOSITORY, environment
from tests.process.waiting import eventually

M = TypeVar("M", bound=ToCoordinator)
ANSWER_SECONDS = 30.0
_PROBE = "probe({app!r}, socket.socket(fileno={fd}), bytes.fromhex({data!r}))"
_RUN = "run(bytes.fromhex({data!r}), socket.socket(fileno={fd}))"


class Link:
    """A process started with one end of a socketpair, and everything that it has said since."""

    def __init__(self, call: str, environ: Mapping[str, str], log: Path, *, app: str, data: bytes) -> None:
        ours, theirs = socket.socketpair()
        program = "import socket; from streamcluster_worker.main import probe, run; " + call.format(
            app=app, fd=theirs.fileno(), data=data.hex()
        )
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program],
                cwd=REPOSITORY,
                env=dict(environ),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        theirs.close()
        self._log = log
        self._sock = ours
        self.said: list[ToCoordinator | Description] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        frames = FrameReader(msgspec.msgpack.Decoder(ToCoordinator | Description))
        while data := self._sock.recv(1 << 16):
            self.said += frames.feed(data)

    def send(self, *messages: ToWorker) -> None:
        """Say something to the worker; several things at once, as it hears what came while it was busy."""
        self._sock.sendall(b"".join(map(encode_frame, messages)))

    def wait_for(self, kind: type[M], fits: Callable[[M], bool] = lambda _: True, what: str = "") -> M:
        """Wait for a message that fits, also among those that came before."""

        def found() -> M | None:
            return next((said for said in list(self.said) if isinstance(said, kind) and fits(said)), None)

        answer = eventually(found, ANSWER_SECONDS, f"the worker says {kind.__name__} {what}", self.log_end)
        assert answer is not None
        return answer

    def log_end(self) -> str:
        """What it said last, for messages."""
        return f"{self.said[-3:]}\n{self._log.read_text(errors='replace')[-4000:]}"

    def wait(self) -> int:
        """Its exit code."""
        return self.process.wait(ANSWER_SECONDS)

    def close(self) -> None:
        """End it, if it runs, and let go of the socket."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(ANSWER_SECONDS)
        # Its end of the pair is closed by now, so the thread has read to the end.
        self._thread.join(ANSWER_SECONDS)
        self._sock.close()


class OneWorker:
    """The worker of slot 0 of an app; it may be started again and again, on several hosts.

    app: its name in tests/process/apps.py, or module:name in tests/process. topics: that there are beside its input.
    """

    def __init__(
        self,
        app: str,
        prefix: str,
        broker_url: str,
        directory: Path,
        make_topic: MakeTopic,
        *,
        topics: Sequence[BrokerTopic] = (),
        **settings: object,
    ) -> None:
        module, _, name = app.rpartition(":")
        self._app = f"tests.process.{module or 'apps'}:{name}"
        self._log = directory / "log"
        self._environ = environment(prefix, directory, {})
        self.directory = directory
        self._prefix = prefix
        self._topics = topics
        described = self._describe({"broker": broker_url, **settings})
        self.settings: Settings = described.settings
        self.topology = self._prepare(described, make_topic)
        self._links: list[Link] = []

    def _describe(self, overrides: Mapping[str, object]) -> Description:
        probe = Link(_PROBE, self._environ, self._log, app=self._app, data=msgspec.msgpack.encode(dict(overrides)))
        try:
            eventually(lambda: probe.said, ANSWER_SECONDS, "the probe answers", probe.log_end)
            described = probe.said[0]
            assert isinstance(described, Description), described
            return described
        finally:
            probe.close()

    def _prepare(self, described: Description, make_topic: MakeTopic) -> Topology:
        """Resolve with the input topic (2 partitions) there, and make the rest."""
        source = make_topic(f"{self._prefix}in", 2)
        there = {one.name: one for one in (BrokerTopic(name=source, partitions=2), *self._topics)}
        for one in self._topics:
            make_topic(one.name, one.partitions, one.config)
        topology = resolve(described.declared, there, described.settings)
        assert isinstance(topology, Topology), topology
        for topic in topology.topics:
            if topic.create:
                make_topic(topic.name, topic.partitions, topic.config)
        return topology

    @property
    def tasks(self) -> tuple[TaskId, ...]:
        """All tasks of the app."""
        return tuple(self.topology.tasks())

    def start(self, host: str = "a", *, inventory: bool = False) -> Link:
        """Start the process and wait until it is ready for grants. host: it has a slot and a disk of its own."""
        config = WorkerConfig(
            app=self._app,
            slot=0,
            leader=True,
            settings=self.settings,
            topology=self.topology,
            state_dir=str(self.directory / host),
            transactional_id=self.transactional_id(host),
            inventory=inventory,
        )
        os.makedirs(config.state_dir, exist_ok=True)
        link = Link(_RUN, self._environ, self._log, app=self._app, data=msgspec.msgpack.encode(config))
        self._links.append(link)
        link.wait_for(Ready)
        return link

    def transactional_id(self, host: str = "a") -> str:
        """Of the slot of this host."""
        return f"{self.settings.app_id}-slot-{host}-0"

    def close(self) -> None:
        """Leave nothing running."""
        for link in self._links:
            link.close()


def report_where(link: Link, fits: Callable[[Report], bool], what: str) -> Report:
    """Wait for a heartbeat, from now on, that fits."""
    known = len(link.said)

    def newest() -> Report | None:
        failed = [said for said in list(link.said) if isinstance(said, Failed)]
        assert not failed, failed
        reports = [said for said in link.said[known:] if isinstance(said, Report)]
        return reports[-1] if reports and fits(reports[-1]) else None

    answer = eventually(newest, ANSWER_SECONDS, f"a report says that {what}", link.log_end)
    assert answer is not None
    return answer


def wait_caught_up(link: Link, bootstrap: str, count: int) -> Report:
    """Wait until `count` tasks run and have committed everything that there is."""
    reader = Reader(bootstrap)

    def fits(report: Report) -> bool:
        positions = {
            (topic, task.task.partition): at for task in report.tasks for topic, at in task.figures.positions.items()
        }
        running = len(report.tasks) == count and all(t.state == "running" and t.figures.positions for t in report.tasks)
        # The ends are asked for after the positions: a report that is older than the last records does not fit.
        return running and reader.is_reached(positions)

    try:
        return report_where(link, fits, f"{count} tasks have caught up")
    finally:
        reader.close()
