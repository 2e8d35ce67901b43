"""An app in a container that gives as little as Kubernetes does: it runs, or says what it needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from streamcluster.errors import ExitCode
from tests.conftest import MakeTopic
from tests.process.container import Container, children_of, is_zombie, memory_cgroup, skip_unless_permitted
from tests.process.running import REPOSITORY
from tests.process.waiting import eventually

MEMORY_BYTES = 512 * 1024 * 1024
KEYS = [f"key {n}" for n in range(10)]
SECONDS = 60.0
Run = Callable[..., list[str]]


@pytest.fixture
def container(tmp_path: Path, topic_prefix: str) -> Iterator[Container]:
    """One with a volume for state, and 512 MiB if the machine lets us bound memory."""
    # Bind mounts want no space in a path, and sockets a short one: that of `tmp_path` has the test's name in it.
    directory = tmp_path / "c"
    directory.mkdir()
    skip_unless_permitted(directory)
    with (
        tempfile.TemporaryDirectory(prefix="volume-") as state,
        memory_cgroup(f"streamcluster-{os.getpid()}-{topic_prefix[-9:-1]}", MEMORY_BYTES) as memory,
    ):
        made = Container(directory, [Path(state)], memory)
        yield made
        made.close()


@pytest.fixture
def command(topic_prefix: str, broker_url: str, make_topic: MakeTopic) -> Run:
    """A command line about the app, which reads a topic that is there."""
    make_topic(f"{topic_prefix}in", 2)

    def line(name: str, *arguments: str) -> list[str]:
        app = ("-A", "tests.process.contained:app", "--broker", broker_url)
        return [sys.executable, "-m", "streamcluster", name, *app, *arguments]

    return line


def environment(topic_prefix: str) -> dict[str, str]:
    """All that is in it."""
    roots = [REPOSITORY, *(REPOSITORY / root for root in ("cluster", "worker", "coordinator"))]
    return {"PYTHONPATH": os.pathsep.join(map(str, roots)), "PROCESS_TEST_PREFIX": topic_prefix}


def test_app_runs_as_process_1_with_a_volume_and_nothing_else(
    container: Container, command: Run, topic_prefix: str, broker_url: str
) -> None:
    """No HOME, no /tmp, no /dev/shm, an odd user: it counts, leaves no zombies, and ends on TERM with 0."""
    [state] = container.volumes
    environ = environment(topic_prefix)
    container.start(command("start", "--workers", "2", "--state-dir", str(state)), **environ)
    producer = Producer({"bootstrap.servers": broker_url.removeprefix("kafka://")})
    for key in KEYS:
        producer.produce(f"{topic_prefix}in", key=key, value=b"1")
    assert producer.flush(SECONDS) == 0

    def ask(name: str, *arguments: str) -> dict[str, list[dict[str, object]]] | None:
        """What a command outside says, over the control socket in the volume."""
        line = command(name, *arguments, "--json", "--state-dir", str(state))
        done = subprocess.run(line, env={**os.environ, **environ}, cwd=REPOSITORY, capture_output=True, check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def is_counted() -> bool:
        rows = ask("table", "counts")
        return rows is not None and sorted(str(row["key"]) for row in rows["rows"]) == sorted(KEYS)

    eventually(is_counted, SECONDS, "every key is counted", container.log, every=0.5)
    status = ask("status")
    assert status is not None
    assert [worker["restarts"] for worker in status["workers"]] == [0, 0]
    eventually(
        lambda: not any(is_zombie(pid) for pid in children_of(container.pid)), SECONDS, "no zombie is left", every=0.1
    )
    assert container.terminate() == 0, container.log()
    assert "Traceback" not in container.log()
    assert "drained" in container.log()


@pytest.mark.parametrize(
    ("arguments", "environ", "said"),
    [
        ((), {}, "there is no directory for the socket over which worker processes are started. Name one with $TMPDIR"),
        (("--state-dir", "/state"), {}, "/state: Read-only file system"),
        ((), {"TMPDIR": "VOLUME"}, "there is no place for the app's state: $HOME is not set, and user id 54321 has no"),
        (
            (),
            {"TMPDIR": "VOLUME", "HOME": "/"},
            "the state directory /.local/state/streamcluster/ID cannot be used: the file system is mounted read-only",
        ),
        (
            ("--state-dir", "/var/lib/app"),
            {"TMPDIR": "VOLUME"},
            "the state directory /var/lib/app/ID cannot be used: the file system is mounted read-only",
        ),
    ],
)
def test_app_without_a_place_says_which_one_it_needs(
    container: Container,
    command: Run,
    topic_prefix: str,
    arguments: tuple[str, ...],
    environ: dict[str, str],
    said: str,
) -> None:
    """Exit code 78, one message, and no traceback."""
    [state] = container.volumes
    given = {name: value.replace("VOLUME", str(state)) for name, value in environ.items()}
    container.start(command("start", *arguments), **environment(topic_prefix), **given)
    assert container.wait() == ExitCode.CONFIGURATION, container.log()
    assert said.replace("ID", f"{topic_prefix}contained") in container.log()
    assert "Traceback" not in container.log()
    assert "fault of streamcluster" not in container.log()
