"""The cases of the event-time suite (facts of other engines' tests, as data), over both stores."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from . import join_cases, table_join_cases
from .adapter import Played, why_not
from .stores import make_rocks
from .test_watermark_cases import plays_watermarks
from .version_cases import plays

CASES = [
    case
    for path in sorted((Path(__file__).parent / "cases").glob("*.json"))
    for case in json.loads(path.read_text())["cases"]
]
# Those that a sound engine passes: not what one engine does and another should not.
SOUND = [
    case
    for case in CASES
    if case["level"] == "core" or (case["level"] == "policy" and case.get("rules", ["ideal"]) != ["kafka"])
]
# Operator or kind of window -> how many cases wait for it. Those of joins, and of the time of several inputs, are
# played in tests of their own.
SKIPPED = {
    "global_table": 5,
    # A bound on how many changes are held back: ours are in the open commit, not in memory.
    "suppress": 1,
    # Changes that are held back by event time: `changes(every=)` goes by the clock.
    "table": 2,
    # Of two windowed tables.
    "table_join": 1,
}
PLAYED = [case for case in SOUND if why_not(case) is None]


@pytest.mark.parametrize("store", ["memory", "rocks"])
@pytest.mark.parametrize("case", PLAYED, ids=[case["id"] for case in PLAYED])
def test_case(case: dict[str, Any], store: str, tmp_path: Path) -> None:
    """The results are those that the case says."""
    played = Played(case, make_rocks(tmp_path) if store == "rocks" else None)
    with played.driver:
        assert played.play() == []


def test_what_is_not_played_is_counted() -> None:
    """Cases are skipped for what is not built yet, and for nothing else: a count that goes up is a loss."""
    joined = {case["id"] for case in [*join_cases.cases(), *table_join_cases.cases()]}
    elsewhere = [case for case in SOUND if plays(case) or plays_watermarks(case) or case["id"] in joined]
    skipped = Counter(reason for case in SOUND if case not in elsewhere and (reason := why_not(case)) is not None)
    assert skipped == SKIPPED
    assert len(PLAYED) + len([case for case in elsewhere if case not in PLAYED]) == len(SOUND) - sum(SKIPPED.values())
