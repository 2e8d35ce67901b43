"""The cases of joins of tables (facts of other engines' tests, as data), over both stores, and with crashes."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamcluster import App
from streamcluster.testing import Driver

from . import table_join_cases
from .stores import make_rocks

CASES = table_join_cases.cases()


@pytest.mark.parametrize("how", ["memory", "rocks", "crashes"])
@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_case(case: table_join_cases.Case, how: str, tmp_path: Path) -> None:
    """The results are those that the case says."""

    def drive(app: App) -> Driver:
        return Driver(app, make_store=make_rocks(tmp_path)(app) if how == "rocks" else None)

    assert table_join_cases.play(case, drive, crashes=how == "crashes") == []


def test_all_of_them_are_played() -> None:
    """Those that were handed out."""
    assert len(CASES) == 29
