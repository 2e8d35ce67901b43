"""What Java learned about Kafka: learned once, used by every later start, and done without where that fails."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from streamcluster_coordinator.broker import Broker
from streamcluster_coordinator.broker.installation import Installation, install
from streamcluster_coordinator.broker.quick_start import quicker


@pytest.fixture
def fresh(tmp_path: Path) -> Installation:
    """The real Kafka in a cache directory of its own, where nothing has been learned yet."""
    real = install()
    directory = tmp_path / "cache" / "kafka"
    directory.mkdir(parents=True)
    for jar in real.jars:
        (directory / jar.name).symlink_to(jar)
    return replace(real, jars=tuple(directory / jar.name for jar in real.jars))


def mapped(installation: Installation) -> bool:
    """Whether a Kafka that starts with it, and serves, has what was learned in its memory."""
    with Broker(installation=installation) as broker:
        (pid,) = broker.pids.values()
        return ".aot" in Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.skipif(not os.environ.get("STREAMCLUSTER_LONG"), reason="long: STREAMCLUSTER_LONG=1 runs it")
@pytest.mark.timeout(400)
def test_it_is_learned_once_used_and_done_without_when_it_is_damaged(fresh: Installation) -> None:
    """The second time nothing is said. Kafka starts with a file that was cut short, and where Java wrote nothing."""
    said: list[str] = []
    taught = quicker(fresh, said.append)
    (line,) = said
    assert "Starting Kafka once" in line
    assert not mapped(fresh)
    assert mapped(taught)

    assert quicker(fresh, said.append) == taught
    assert said == [line]

    (cache,) = fresh.jars[0].parent.parent.glob("*.aot")
    cache.write_bytes(cache.read_bytes()[:100_000])
    assert not mapped(taught)

    # As after a lesson that brought nothing, which is not given again.
    cache.write_bytes(b"")
    assert quicker(fresh, said.append) == fresh
    assert said == [line]


def test_an_older_java_is_left_alone(fresh: Installation, tmp_path: Path) -> None:
    """Java 17 can run Kafka, and has no such thing."""
    home = tmp_path / "java-17"
    (home / "bin").mkdir(parents=True)
    (home / "release").write_text('IMPLEMENTOR="Debian"\nJAVA_VERSION="17.0.15"\n')
    older = replace(fresh, java=home / "bin" / "java")
    said: list[str] = []
    assert quicker(older, said.append) == older
    assert quicker(replace(older, java=tmp_path / "nowhere" / "java"), said.append).java_flags == ()
    assert not said


def test_a_cache_that_cannot_be_written_is_said(fresh: Installation, tmp_path: Path) -> None:
    """Kafka starts as it did before."""
    lost = replace(fresh, jars=(tmp_path / "gone" / "kafka" / "kafka.jar",))
    said: list[str] = []
    assert quicker(lost, said.append) == lost
    (line,) = said
    assert line.startswith("Kafka starts slowly")
    assert "No such file" in line
