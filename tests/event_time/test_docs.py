"""The program of docs/windows.md does what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from streamcluster.testing import Driver

PAGE = Path(__file__).parents[2] / "docs" / "windows.md"


def test_the_program_of_the_page() -> None:
    """Counts by minute, sends what is closed, and what is late."""
    found = re.findall(r"<!-- (?:windows|changes) -->\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(found) == 2
    program: dict[str, Any] = {"__name__": "windows"}
    exec("\n".join(found), program)
    with Driver(program["app"]) as driver:
        for at in (5, 50, 61, 69, 71, 20):
            driver.send("views", key="home", value=1, timestamp=at)
        assert [one.value for one in driver.output("totals")] == [[0, 60, 2]]
        assert [one.timestamp for one in driver.output("late-views")] == [20]
        driver.advance(6)
        assert [one.value for one in driver.output("updates")] == [[60, 3]]
