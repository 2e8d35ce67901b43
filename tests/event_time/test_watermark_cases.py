"""The cases of the time of several inputs (facts of other engines' tests, as data): what T is made of."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamcluster.engine.event_time.operator_time import InputState, OperatorTime
from streamcluster.engine.event_time.watermarks import Mark
from streamcluster.ids import TP
from streamcluster.times import NO_TIME

Case = dict[str, Any]


def plays_watermarks(case: Case) -> bool:
    """Whether it is one of these."""
    return all(node["op"] == "watermark" for node in case["nodes"].values())


CASES = [
    case
    for path in sorted((Path(__file__).parent / "cases").glob("*.json"))
    for case in json.loads(path.read_text())["cases"]
    if case["level"] in ("core", "policy") and case.get("rules") != ["kafka"] and plays_watermarks(case)
]


class Inputs:
    """An operator's time, over inputs that are what is said of them."""

    def __init__(self, count: int) -> None:
        self._tps = [TP("input", number) for number in range(count)]
        self._watermarks = dict.fromkeys(self._tps, NO_TIME)
        self._idle: set[TP] = set()
        self._time = OperatorTime("operator", {tp: self._state(tp) for tp in self._tps}, self._state, None)
        # What it has become since that was asked.
        self.told: list[int] = []

    def _state(self, tp: TP) -> Callable[[], InputState]:
        return lambda: InputState(Mark(self._watermarks[tp]), 0.0 if tp in self._idle else None)

    def step(self, what: str, number: int, time: int = NO_TIME) -> None:
        """One of the inputs has changed."""
        tp = self._tps[number]
        if what == "watermark":
            # A partition's never goes back (watermarks.py).
            self._watermarks[tp] = max(time, self._watermarks[tp])
        elif what == "idle":
            self._idle.add(tp)
        else:
            self._idle.discard(tp)
        before = self._time.finished
        self._time.look(0.0, 0)
        if self._time.finished != before:
            self.told.append(self._time.finished)


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_case(case: Case) -> None:
    """T is told when the case says, and never otherwise."""
    ((name, node),) = case["nodes"].items()
    inputs = Inputs(node["inputs"])
    for what, _, *rest in case["steps"]:
        if what == "times":
            assert inputs.told == rest[0], name
            inputs.told.clear()
        else:
            inputs.step(what, *rest)
