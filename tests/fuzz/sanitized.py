"""The tools that fuzz modules in C: their command lines, and such a module as it is built with sanitizers.

AddressSanitizer and UndefinedBehaviorSanitizer.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.machinery
import importlib.util
import os
import random
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Fuzz = Callable[[Any, int, float], tuple[int, int]]
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What both tools of modules in C take."""
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--asan", action="store_true")
    parser.add_argument("--module", help="the file of the module; default: the installed one")


def main(tool: str, about: str | None, source: str, module: str, fuzz: Fuzz, what: str) -> int:
    """The command of a tool whose worlds are made one after the other.

    Args:
        tool: its name, as python -m has it.
        about: what it says of itself.
        source: of the module in C, of this name.
        fuzz: called with the module, a seed and seconds; gives how many worlds there were, and how much they gave.
        what: that is called.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {tool}", description=about)
    add_arguments(parser)
    options = parser.parse_args()
    if options.asan:
        return run(tool, source, ["--seconds", str(options.seconds), "--seed", str(options.seed)])
    if options.module is not None:
        # Whoever imports it from now on gets this one.
        sys.modules[module] = load(module, options.module)
    worlds, given = fuzz(importlib.import_module(module), options.seed, options.seconds)
    sys.stdout.write(f"{worlds} worlds, {given} {what}, ok (seed {options.seed})\n")
    return 0
