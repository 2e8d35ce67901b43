"""Locks what is installed: writes requirements/*.txt, with the version and the hashes of every package that we need.

`python scripts/lock.py` needs `uv` on the path or beside this Python (`pip install uv`). One file for each thing to
install, for all versions of Python and all systems at once; pip checks the hashes of what it downloads
(--require-hashes). What is locked already keeps its version as far as it can; `--upgrade` takes the newest of all. Run
the tests with them, and scripts/licenses.py after it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
OUT = ROOT / "requirements"
EXTRAS = ("broker", "demo", "test")
HEAD = "# Made by scripts/lock.py: what {what} needs, with the hash of every file that pip may take.\n"


def lock(uv: str, name: str, what: str, source: str, *options: str) -> None:
    """Write one file."""
    command = [uv, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes"]
    quiet = ["--no-annotate", "--no-header", "--no-emit-index-url", "--no-emit-find-links", "--no-cache"]
    # uv keeps the versions that it finds in the file that it writes.
    path = OUT / f"{name}.txt"
    stdin = None if source != "-" else BUILD
    subprocess.run(
        [*command, *quiet, *options, f"--output-file={path}", source],
        cwd=ROOT,
        input=stdin,
        stdout=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    path.write_text(HEAD.format(what=what) + path.read_text())


# What builds our package: `requires` of pyproject.toml.
BUILD = "setuptools>=77\n"


def main() -> None:
    """Write them all."""
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    OUT.mkdir(exist_ok=True)
    upgrade = ["--upgrade"] if "--upgrade" in sys.argv[1:] else []
    files = {"app": (), **{extra: ("--extra", extra) for extra in EXTRAS}}
    for name, options in files.items():
        what = "streamcluster" if name == "app" else f"streamcluster[{name}]"
        lock(uv, name, what, "pyproject.toml", *options, *upgrade)
    lock(uv, "build", "the build of the package itself", "-", *upgrade)


if __name__ == "__main__":
    main()
