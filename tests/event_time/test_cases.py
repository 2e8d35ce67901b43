"""The cases of the event-time suite (facts of other engines' tests, as data, and some of ours), over both stores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .offered import Case, why_not
from .playing import Play
from .stores import make_rocks
from .test_watermark_cases import plays_watermarks

CASES: list[Case] = [
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
# What is not offered, and why.
SKIPPED = {
    "suppress": "windows whose changes are held back by a bound",
    "table_join of windows": "those of other windows, and final results with what is not final",
    # Played in test_watermark_cases.py.
    "watermark": "the time of several inputs by itself",
}
PLAYED = [case for case in SOUND if why_not(case) is None]
WITH_CRASHES = [case for case in PLAYED if not case["id"].startswith("random")]


@pytest.mark.parametrize("store", ["memory", "rocks"])
@pytest.mark.parametrize("case", PLAYED, ids=[case["id"] for case in PLAYED])
def test_case(case: Case, store: str, tmp_path: Path) -> None:
    """The results are those that the case says."""
    play = Play(case, make_rocks(tmp_path) if store == "rocks" else None)
    with play.driver:
        assert play.play() == []


@pytest.mark.parametrize("case", WITH_CRASHES, ids=[case["id"] for case in WITH_CRASHES])
def test_case_with_crashes(case: Case) -> None:
    """The stores are lost before each step."""
    play = Play(case, crashes=True)
    with play.driver:
        assert play.play() == []


def test_what_is_not_played_is_known() -> None:
    """Cases are skipped for what is not offered, and for nothing else."""
    reasons = {why_not(case) for case in SOUND if not plays_watermarks(case)}
    assert reasons - {None} <= SKIPPED.keys()


def test_a_case_that_is_wrong_fails() -> None:
    """What is looked at is looked at."""

    def differs(case: dict[str, Any]) -> bool:
        play = Play(case)
        with play.driver:
            return play.play() != []

    nodes: dict[str, dict[str, Any]] = {
        "in": {"op": "stream", "topic": "in"},
        "all": {"op": "window", "from": "in", "window": "tumbling", "size": 5, "grace": 0, "agg": {"fn": "count"}},
        "rows": {"op": "table", "topic": "rows", "history": 5},
    }
    nodes["all"]["emit"] = "update"
    steps: list[Any] = [["in", "in", "a", "x", 7], ["in", "in", "a", "y", 1], ["in", "rows", "a", "x", 3]]
    right: list[Any] = [
        ["out", "all", "seq", [["a", 1, 7, [5, 10]]]],
        ["state", "all", "all", [["a", 1, 7, [5, 10]]]],
        ["late", "all", 1],
        ["asof", "rows", "a", 4, "x", 3],
    ]
    wrong: list[Any] = [
        ["out", "all", "seq", [["a", 1, 6, [5, 10]]]],
        ["out", "all", "bag", []],
        ["state", "all", "has", [["a", 2, 7, [5, 10]]]],
        ["late", "all", 0],
        ["asof", "rows", "a", 2, "x", 3],
        ["asof", "rows", "a", None, "x", 4],
    ]
    assert not differs({"nodes": nodes, "steps": steps + right})
    for step in wrong:
        assert differs({"nodes": nodes, "steps": [*steps, step]}), step
