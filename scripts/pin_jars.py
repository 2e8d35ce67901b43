"""Pins a release of Apache Kafka for the development broker: writes broker/pins/kafka-VERSION.txt.

`.venv/bin/python scripts/pin_jars.py 4.4.0` downloads each jar, which jgo compares to the digest that is published
beside it, and writes version and SHA-256 of each. Look the versions up for advisories, then run tests/broker. Which
one runs by default is a constant in broker/jars.py.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

from jgo import maven

PINS = Path(__file__).parents[1] / "coordinator/streamcluster_coordinator/broker/pins"
LOG4J = "org.apache.logging.log4j"
# Kafka 3 logs with the first log4j, of which its core needs classes; its POM names neither them nor the binding.
RELOAD4J = (("ch.qos.reload4j", "reload4j", "1.2.25"), ("org.slf4j", "slf4j-reload4j", "1.7.36"))


def resolved(context: maven.MavenContext, version: str) -> dict[str, str]:
    """ "group:artifact:version" -> SHA-256, of what Kafka's server needs at run time."""
    kafka = context.project("org.apache.kafka", "kafka_2.13").at_version(version)
    needed, _tree = maven.Model(kafka.pom(), context).dependencies()
    parts = [(one.groupId, one.artifactId, one.version) for one in needed if one.scope in ("compile", "runtime")]
    # The binding that Kafka's own distribution adds; without it the broker would not log.
    log4j = [number for group, name, number in parts if (group, name) == (LOG4J, "log4j-core")]
    parts += [(LOG4J, "log4j-slf4j-impl", number) for number in log4j] or RELOAD4J
    parts += [("org.apache.kafka", "kafka_2.13", version)]
    found = {}
    for group, name, number in sorted(parts):
        jar = context.project(group, name).at_version(number).artifact().resolve()
        found[f"{group}:{name}:{number}"] = hashlib.sha256(jar.read_bytes()).hexdigest()
    return found


def main(versions: list[str]) -> None:
    """Write the file of each version."""
    for version in versions:
        with tempfile.TemporaryDirectory() as scratch:
            found = resolved(maven.MavenContext(repo_cache=Path(scratch), local_repos=[], timeout=60), version)
        lines = [f"{digest}  {coordinate}\n" for coordinate, digest in found.items()]
        (PINS / f"kafka-{version}.txt").write_text("".join(lines))


if __name__ == "__main__":
    main(sys.argv[1:])
