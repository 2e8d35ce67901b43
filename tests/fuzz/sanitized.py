"""The modules in C as they are built for a run with AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[2]
_OPTIONS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-g", "-O1")


def run(tool: str, source: str, arguments: list[str]) -> int:
    """Build this source, and run the tool of this name with the module; returns how that ended."""
    library = subprocess.run(["cc", "-print-file-name=libasan.so"], stdout=subprocess.PIPE, text=True, check=True)
    # Freed memory is seen only where each object is a block of its own.
    asan = {"LD_PRELOAD": library.stdout.strip(), "ASAN_OPTIONS": "detect_leaks=0", "PYTHONMALLOC": "malloc"}
    with tempfile.TemporaryDirectory() as folder:
        module = _build(CHECKOUT / source, Path(folder))
        command = [sys.executable, "-m", tool, *arguments, "--module", str(module)]
        return subprocess.run(command, env={**os.environ, **asan}, cwd=CHECKOUT, check=False).returncode


def _build(source: Path, folder: Path) -> Path:
    path = folder / f"_{source.stem}.abi3.so"
    options = [*_OPTIONS, "-std=c11", "-D_GNU_SOURCE", "-shared", "-fPIC", f"-I{sysconfig.get_path('include')}"]
    subprocess.run(["cc", *options, str(source), "-o", str(path)], check=True)
    return path


def load(name: str, path: str) -> Any:
    """The module of this name in this file, which nobody else has imported."""
    loader = importlib.machinery.ExtensionFileLoader(name, path)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module
