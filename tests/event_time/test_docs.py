"""The programs of docs/windows.md and docs/joins.md do what the pages say."""

from __future__ import annotations

import operator
import re
from pathlib import Path
from typing import Any

from streamcluster import App
from streamcluster.testing import Driver
from streamcluster.windows.kinds import Window

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "windows.md"


def app_of(marks: str, count: int) -> App:
    """The app of the page's program, of which so many parts are marked so."""
    found = re.findall(rf"{marks}\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(found) == count
    program: dict[str, Any] = {"__name__": "windows"}
    exec("\n".join(found), program)
    app: App = program["app"]
    return app


def test_the_program_of_the_page() -> None:
    """Counts by minute, sends what is closed, and what is late."""
    with Driver(app_of("<!-- (?:windows|changes) -->", 2)) as driver:
        for at in (5, 50, 61, 69, 71, 20):
            driver.send("views", key="home", value=1, timestamp=at)
        assert [one.value for one in driver.output("totals")] == [[0, 60, 2]]
        assert [one.timestamp for one in driver.output("late-views")] == [20]
        driver.advance(6)
        assert [one.value for one in driver.output("updates")] == [[60, 3]]


def test_the_program_of_the_page_about_suppress() -> None:
    """Balances, five minutes after the first booking."""
    with Driver(app_of("<!-- (?:windows|changes|suppress) -->", 3)) as driver:
        for at in (1000, 1200, 1299):
            driver.send("bookings", key="home", value=1, timestamp=at)
        assert driver.output("updates") == []
        driver.send("bookings", key="work", value=7, timestamp=1300)
        assert [(one.key, one.value, one.timestamp) for one in driver.output("updates")] == [("home", [3], 1299.0)]


def test_the_program_of_the_page_about_many_steps(capsys: Any) -> None:
    """An hour that moves on every 10 seconds."""
    found = re.findall(r"<!-- (?:windows|merge) -->\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(found) == 2
    program: dict[str, Any] = {"__name__": "windows", "operator": operator}
    exec("\n".join(found), program)
    with Driver(program["app"]) as driver:
        for at in (3600, 7185, 7195, 7230):
            driver.send("views", key="home", value=1, timestamp=at)
        assert capsys.readouterr().out == "home 1\nhome 2\nhome 3\nhome 3\n"
        hours = [one.value for one in driver.output("totals") if one.value[1] - one.value[0] == 3600]
        assert [start for start, _, _ in hours] == list(range(10, 3640, 10))
        assert [count for _, _, count in hours] == [1] * 358 + [2, 3, 2, 2, 2]


def test_the_program_of_the_page_about_joins() -> None:
    """Accounts with their owners, as both change."""
    [found] = re.findall(r"<!-- joins -->\n```python\n(.*?)```", (DOCS / "joins.md").read_text(), re.DOTALL)
    program: dict[str, Any] = {"__name__": "joins"}
    exec(found, program)
    with Driver(program["app"]) as driver:
        driver.send("accounts", key="a", value=program["Account"](name="Ann", owner_id="o"))
        driver.send("owners", key="o", value=program["Owner"](city="Rome"))
        driver.send("owners", key="o", value=None)
        assert [one.value for one in driver.output("told")] == [["Ann", None], ["Ann", "Rome"], ["Ann", None]]


def test_the_program_of_the_page_about_joins_of_windows() -> None:
    """Rates of each minute, as they change, and when both are over."""
    found = re.findall(r"<!-- windowed -->\n```python\n(.*?)```", (DOCS / "joins.md").read_text(), re.DOTALL)
    assert len(found) == 2
    program: dict[str, Any] = {"__name__": "joins"}
    exec("\n".join(found), program)
    with Driver(program["app"]) as driver:
        driver.send("views", key="home", value=8, timestamp=61)
        driver.send("views", key="home", value=1, timestamp=1000)
        driver.send("orders", key="home", value=2, timestamp=119)
        assert [one.value for one in driver.output("rates")] == [[60, 8, None], [960, 1, None], [60, 8, 2]]
        assert driver.output("final_rates") == []
        driver.send("orders", key="home", value=2, timestamp=130)
        assert [one.value for one in driver.output("final_rates")] == [[60, 8, 2]]
        assert driver.table("finals") == {("home", 60.0): (8, 2)}
        assert driver.table("per_minute") == {("home", Window(960, 1020)): (1, None)}
        for topic in ("views", "orders"):
            driver.send(topic, key="home", value=1, timestamp=86520)
            driver.send(topic, key="home", value=1, timestamp=86600)
        assert ("home", 60.0) not in driver.table("finals")
