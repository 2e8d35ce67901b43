"""The program of docs/windows.md does what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from streamcluster.testing import Driver

PAGE = Path(__file__).parents[2] / "docs" / "windows.md"


def test_the_program_of_the_page() -> None:
    """Counts by minute, sends what is closed, and what is late."""
    found = re.search(r"<!-- windows -->\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    program: dict[str, Any] = {"__name__": "windows"}
    exec(found[1], program)
    with Driver(program["app"]) as driver:
        for at in (5, 50, 61, 69, 71, 20):
            driver.send("views", key="home", value=1, timestamp=at)
        assert [one.value for one in driver.output("totals")] == [[0, 60, 2]]
        assert [one.timestamp for one in driver.output("late-views")] == [20]
