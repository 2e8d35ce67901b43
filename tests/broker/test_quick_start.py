"""What Java learned about Kafka: learned once, used by every later start, and done without where that fails."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from streamcluster_coordinator.broker import Broker
from streamcluster_coordinator.broker.installation import Installation, install, sha256_of
from streamcluster_coordinator.broker.quick_start import cache_file, quicker


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

    # As Java's own check lets it pass, and then does not start.
    (cache,) = fresh.jars[0].parent.parent.glob("*.aot")
    with cache.open("r+b") as file:
        file.seek(1_000_000)
        file.write(bytes(256 * 1024))
    without = quicker(fresh, said.append)
    assert without == fresh
    assert not mapped(without)
    assert "is damaged and is removed" in said[1]

    # As after a lesson that brought nothing, which is not given again.
    cache.write_bytes(b"")
    assert quicker(fresh, said.append) == fresh
    assert len(said) == 2


@pytest.mark.skipif(cache_file(install()) is None, reason="this Java learns nothing")
def test_what_java_learned_is_used_only_as_it_was_learned(fresh: Installation) -> None:
    """With its digest beside it; changed, or without the digest, it is removed, and Kafka starts without."""
    cache = cache_file(fresh)
    assert cache is not None
    digest = cache.with_suffix(".aot.sha256")
    said: list[str] = []
    for damage in ("none", "changed", "no digest"):
        cache.write_bytes(b"learned" * 1000)
        if damage != "no digest":
            digest.write_text(sha256_of(cache))
        if damage == "changed":
            cache.write_bytes(b"learneD" * 1000)

        found = quicker(fresh, said.append)

        if damage == "none":
            assert (f"-XX:AOTCache={cache}" in found.java_flags, said) == (True, [])
        else:
            assert found == fresh
            assert not cache.exists()
            assert not digest.exists()
    assert [line.partition(" is ")[0] for line in said] == [str(cache)] * 2


@pytest.mark.skipif(cache_file(install()) is None, reason="this Java learns nothing")
def test_what_others_may_write_is_not_run(fresh: Installation) -> None:
    """It is code: in a directory that others can write it is left alone, with its digest or without."""
    cache = cache_file(fresh)
    assert cache is not None
    cache.write_bytes(b"theirs")
    cache.with_suffix(".aot.sha256").write_text(sha256_of(cache))
    cache.parent.chmod(0o777)
    said: list[str] = []

    assert quicker(fresh, said.append) == fresh

    (line,) = said
    assert "cannot be trusted: others may write" in line


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
