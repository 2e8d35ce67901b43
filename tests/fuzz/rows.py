"""The rows of the fuzz table: what is decoded, from which valid bytes, and what alone may come of it.

Rows are in files `rows_*.py` beside this one, each with a list `ROWS`; both the tests and the command find them there.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .mutating import Format


@dataclass(frozen=True, slots=True)
class Row:
    """One decoder. check: decodes, and raises what must not be: anything that the decoder does not document.

    valid: bytes to begin with, which decode. form: the trees that they are; None: no trees. keeps_shape: they are only
    changed as trees, where damaged bytes would hardly ever get as far as what is checked. examples: in CI, for a second
    or two.
    """

    name: str
    valid: Sequence[bytes]
    form: Format | None
    check: Callable[[bytes], None]
    keeps_shape: bool = False
    examples: int = 150


def all_rows() -> list[Row]:
    """Of all files, in the order of their names."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("rows_*.py"))
    return [row for name in names for row in importlib.import_module(f"tests.fuzz.{name}").ROWS]
