"""What is installed: locked with hashes, taken from there by the scripts and the image, its licences listed."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

CHECKOUT = Path(__file__).resolve().parents[2]
LOCKS = CHECKOUT / "requirements"
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
ENTRY = re.compile(
    r"^(?P<name>[\w.-]+)==(?P<version>[^\s;]+)(?P<marker> ; [^\\]+)? \\\n(?P<hashes>(?:    --hash=\S+[ \\]*\n)+)", re.M
)
SHA256 = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def wanted(part: str) -> list[Requirement]:
    """What pyproject.toml asks for."""
    if part == "build":
        return [Requirement(line) for line in PROJECT["build-system"]["requires"]]
    lines = list(PROJECT["project"]["dependencies"])
    extras = PROJECT["project"]["optional-dependencies"]
    needed = [] if part == "app" else [part]
    for extra in needed:
        for line in extras[extra]:
            own = re.fullmatch(r"streamcluster\[(\w+)\]", line)
            if own:
                needed.append(own[1])
            else:
                lines.append(line)
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize("part", ["app", "broker", "demo", "test", "build"])
def test_what_is_needed_is_locked_with_hashes(part: str) -> None:
    """Each package that pyproject.toml names, in a version that it takes; no line without version and hashes."""
    text = (LOCKS / f"{part}.txt").read_text()
    found = list(ENTRY.finditer(text))
    assert sum(len(one[0].splitlines()) for one in found) == len(text.splitlines()) - 1
    assert all(SHA256.search(one["hashes"]) for one in found)
    locked: dict[str, list[Version]] = {}
    for one in found:
        locked.setdefault(canonicalize_name(one["name"]), []).append(Version(one["version"]))
    for requirement in wanted(part):
        versions = locked[canonicalize_name(requirement.name)]
        assert all(version in requirement.specifier for version in versions), requirement


def test_the_scripts_and_the_image_install_what_is_locked() -> None:
    """By hash, and the package itself without looking for anything more."""
    install = (CHECKOUT / "scripts/install").read_text()
    image = (CHECKOUT / "deploy/Containerfile").read_text()
    for text in (install, image):
        assert "--require-hashes" in text
        assert "requirements/build.txt" in text
        last = next(line for line in text.splitlines() if "--no-deps" in line)
        assert "--no-build-isolation" in last
    commands = [line for line in image.splitlines() if "pip install" in line]
    assert all("--require-hashes" in line or "--no-deps" in line for line in commands)


def test_other_bytes_than_the_locked_ones_are_refused(tmp_path: Path) -> None:
    """pip takes no file without its hash, even one that lies beside it."""
    package = tmp_path / "click-8.5.1.tar.gz"
    package.write_bytes(b"something else")
    lock = tmp_path / "lock.txt"
    lock.write_text((LOCKS / "app.txt").read_text().split("confluent-kafka==")[0])
    places = ("--no-index", f"--find-links={tmp_path}", f"--dest={tmp_path / 'got'}")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", *places, "--require-hashes", "--requirement", lock],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PIP_FIND_LINKS": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr + done.stdout


def test_licences_are_listed_for_what_is_locked() -> None:
    """docs/licenses.md is what scripts/licenses.py writes, as far as packages and versions go."""
    script = runpy.run_path(str(CHECKOUT / "scripts/licenses.py"))

    def rows(text: str) -> list[str]:
        return [line.rpartition(" | ")[0] for line in text.splitlines() if line.startswith("| ")]

    listed = (CHECKOUT / "docs/licenses.md").read_text()
    assert rows(listed) == rows(script["document"]())
    assert "not said" not in listed
