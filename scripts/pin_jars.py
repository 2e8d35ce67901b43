"""Pins the development broker's jars: resolves a release of Apache Kafka and writes broker/jars.py's table.

`.venv/bin/python scripts/pin_jars.py 4.4.0` downloads each jar, which jgo compares to the digest that is published
beside it, and writes version and SHA-256 of each. Look the versions up for advisories, then run tests/broker.
"""

from __future__ import annotations

import hashlib
import re
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from jgo import maven

JARS = Path(__file__).parents[1] / "coordinator/streamcluster_coordinator/broker/jars.py"
LOG4J = "org.apache.logging.log4j"


def resolved(context: maven.MavenContext, version: str) -> dict[str, dict[str, str]]:
    """Group -> "artifact:version" -> SHA-256, of what Kafka's server needs at run time."""
    kafka = context.project("org.apache.kafka", "kafka_2.13").at_version(version)
    needed, _tree = maven.Model(kafka.pom(), context).dependencies()
    parts = [(one.groupId, one.artifactId, one.version) for one in needed if one.scope in ("compile", "runtime")]
    # The binding that Kafka's own distribution adds; without it the broker would not log.
    (log4j,) = (version for group, name, version in parts if (group, name) == (LOG4J, "log4j-core"))
    parts += [(LOG4J, "log4j-slf4j-impl", log4j), ("org.apache.kafka", "kafka_2.13", version)]
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for group, name, number in sorted(parts):
        jar = context.project(group, name).at_version(number).artifact().resolve()
        found[group][f"{name}:{number}"] = hashlib.sha256(jar.read_bytes()).hexdigest()
    return found


def table(found: dict[str, dict[str, str]]) -> str:
    """The table as Python."""
    lines = []
    for group, names in sorted(found.items()):
        lines += [f'    "{group}": {{', *(f'        "{name}": "{digest}",' for name, digest in names.items()), "    },"]
    return "\n".join(["_PINNED = {", *lines, "}\n"])


def main(version: str) -> None:
    """Write the table for this version."""
    with tempfile.TemporaryDirectory() as scratch:
        found = resolved(maven.MavenContext(repo_cache=Path(scratch), local_repos=[], timeout=60), version)
    text = re.sub(r'KAFKA_VERSION = ".*"', f'KAFKA_VERSION = "{version}"', JARS.read_text())
    JARS.write_text(re.sub(r"_PINNED = \{\n.*?\n\}\n", lambda _: table(found), text, flags=re.S))


if __name__ == "__main__":
    main(sys.argv[1])
