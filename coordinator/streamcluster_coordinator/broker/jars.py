"""Which jars make up the development broker: every artifact of Apache Kafka's server, with the SHA-256 it must have.

The lists in pins/ are of releases that were looked at, not resolved on the user's machine, so that everybody runs the
same bytes; scripts/pin_jars.py writes them.
"""

from __future__ import annotations

from pathlib import Path

from streamcluster.errors import ConfigurationError

# What runs where nobody asks for another one.
KAFKA_VERSION = "4.4.0"

_PINS = Path(__file__).with_name("pins")
_PREFIX = "kafka-"


def pinned_versions() -> list[str]:
    """The releases of Kafka that are pinned, the oldest first."""
    return sorted((path.stem.removeprefix(_PREFIX) for path in _PINS.glob(f"{_PREFIX}*.txt")), key=as_numbers)


def pinned_jars(version: str) -> dict[str, str]:
    """ "group:artifact:version" -> SHA-256, of a release.

    Raises:
        ConfigurationError: it is not pinned.
    """
    known = pinned_versions()
    if version not in known:
        raise ConfigurationError(
            f"Kafka {version} is not among those whose jars are pinned and checked: {', '.join(known)}. "
            "Give one of them, or run another Kafka by its own scripts or as a container."
        )
    lines = (_PINS / f"{_PREFIX}{version}.txt").read_text().splitlines()
    return {coordinate: digest for digest, coordinate in (line.split() for line in lines)}


def file_name(coordinate: str) -> str:
    """The jar's file name, as Maven names it."""
    _group, artifact, version = coordinate.split(":")
    return f"{artifact}-{version}.jar"


def as_numbers(version: str) -> tuple[int, ...]:
    """What versions are compared by."""
    return tuple(int(part) for part in version.split("."))
