"""The snippets of docs/event-time.md and docs/kafka-streams.md do what the pages say; figures are the script's."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import streamcluster
from streamcluster import App, Record, Topic
from streamcluster.testing import Driver

CHECKOUT = Path(__file__).parents[2]
PAGES = {
    name: (CHECKOUT / f"docs/{name}.md").read_text() for name in ("windows", "joins", "event-time", "kafka-streams")
}
FIGURES: dict[str, str] = runpy.run_path(str(CHECKOUT / "scripts/figures.py"))["document"]()


class User(Record):
    """Of the page's tables."""

    name: str


def run(page: str, name: str, **known: Any) -> dict[str, Any]:
    """Run the snippets of this name."""
    found = re.findall(rf"<!-- {name} -->\n```python\n(.*?)```", PAGES[page], re.DOTALL)
    assert found, name
    program: dict[str, Any] = {"__name__": "page", "streamcluster": streamcluster, **known}
    # A loop over pairs whose body the page leaves out sends them.
    text = re.sub(
        r"(async for (\w+|\(.*?\)), (\w+) in .*:\n +)\.\.\.",
        r"\1await out.send(value=[str(\2), str(\3)])",
        "\n\n".join(found),
    )
    exec(text, program)
    return program


@pytest.fixture
def app() -> App:
    """What the snippets take for granted."""
    return App("page", max_ahead=None)


def test_kafka_streams() -> None:
    """The program of the page: filter, windowed aggregate behind group_by, left join, and cogroup."""
    program = run("kafka-streams", "kafka-streams")
    order, payment = program["Order"], program["Payment"]
    with Driver(program["app"]) as driver:
        for number, (time, amount) in enumerate([(0, 500.0), (30, 1500.0), (400, 1.0), (700, 2.0)]):
            driver.send("orders", key=f"o{number}", value=order(f"o{number}", "anna", amount), timestamp=time)
        driver.send("payments", key="o1", value=payment("o1", 1500.0), timestamp=100)
        for user, topic, time in [("bob", "logins", 0), ("bob", "clicks", 60), ("eve", "clicks", 4000)]:
            driver.send(topic, key=user, value="", timestamp=time)
        assert [one.value.id for one in driver.output("large")] == ["o1"]
        assert [(one.key, one.value) for one in driver.output("totals")] == [("anna", 2001.0)]
        assert [(one.key, one.value) for one in driver.output("active")] == [("bob", 11)]
        driver.time(10_000)
        assert [one.key for one in driver.output("unpaid")] == ["o0", "o2", "o3"]


def test_a_table_by_another_key() -> None:
    """What rows were is taken away from their groups, in whatever partition these are, and over a crash."""
    program = run("kafka-streams", "kafka-streams")
    order = program["Order"]
    changes = [("s1", "anna", 5.0), ("s2", "anna", 7.0), ("s1", "bob", 6.0), ("s2", "anna", 8.0), ("s3", "bob", 1.0)]
    with Driver(program["app"], partitions=3) as driver:
        for id, account, amount in changes:
            driver.send("stock", key=id, value=order(id, account, amount))
        assert driver.table("worth") == {"anna": 8.0, "bob": 7.0}
        driver.crash(lose_stores=True)
        driver.send("stock", key="s1", value=None)
        assert driver.table("worth") == {"anna": 8.0, "bob": 1.0}


def test_the_operators_that_are_named_are_there() -> None:
    """Methods in the right column of the table; settings and commands are looked at in tests/test_readme.py."""
    right = "\n".join(line.split(" | ", 1)[1] for line in PAGES["kafka-streams"].splitlines() if line.startswith("| `"))
    known = {"stream": streamcluster.Stream, "table": streamcluster.Table, "app": App, "topic": Topic}
    named = re.findall(r"`@?(?:await )?(stream|table|app|topic)\.(\w+)", right)
    assert len(named) > 15
    windowed = type(App("x").Table("t", default=int).tumbling(10))
    missing = [
        f"{owner}.{name}" for owner, name in named if not (hasattr(known[owner], name) or hasattr(windowed, name))
    ]
    assert missing == []


def test_a_join_of_two_streams(app: App) -> None:
    """Pairs, and an order alone when no payment came in time."""
    orders = app.topic("orders", key_type=str, value_type=str)
    payments = app.topic("payments", key_type=str, value_type=str)
    out = app.topic("out", value_type=list, partitions=1)
    run("event-time", "joins", app=app, orders=orders, payments=payments, out=out)
    with Driver(app) as driver:
        for topic, key, time in [
            ("orders", "a", 0),
            ("orders", "b", 10),
            ("payments", "a", 600),
            ("payments", "b", 611),
        ]:
            driver.send(topic, key=key, value=f"{topic} {key}", timestamp=time)
        driver.time(1000)
        assert [one.value for one in driver.output("out")] == [["orders a", "payments a"], ["orders b", "None"]]


def test_a_join_of_three_streams(app: App) -> None:
    """Whether it was paid or not, with its shipment; time is said to be over, too."""
    orders, payments, shipments = (app.topic(name, key_type=str, value_type=str) for name in ("o", "p", "s"))
    out = app.topic("out", value_type=list, partitions=1)
    run("event-time", "chain", app=app, orders=orders, payments=payments, shipments=shipments, out=out)
    with Driver(app) as driver:
        for topic, key, time in [("o", "a", 0), ("o", "b", 10), ("p", "a", 600), ("s", "a", 700), ("s", "b", 701)]:
            driver.send(topic, key=key, value=f"{topic} {key}", timestamp=time)
        driver.time(1_000_000)
        found = sorted(one.value for one in driver.output("out"))
        assert found == [["('o a', 'p a')", "s a"], ["('o b', None)", "s b"]]


def test_a_join_with_a_table_as_it_was(app: App) -> None:
    """The user as it was at the click's time, as the figure has it."""
    clicks = app.topic("clicks", key_type=str, value_type=str)
    out = app.topic("out", value_type=list, partitions=1)
    run("event-time", "as_of", app=app, clicks=clicks, User=User, out=out)
    with Driver(app) as driver:
        for name, time in [("de", 4), ("fr", 24), ("es", 46)]:
            driver.send("users", key="u", value=User(name), timestamp=time)
        for time in (12, 24, 38, 57):
            driver.send("clicks", key="u", value=f"{time}", timestamp=time)
        names = [re.findall("'(..)'", one.value[1])[0] for one in driver.output("out")]
        assert names == ["de", "fr", "fr", "es"]


def test_each_snippet_is_run() -> None:
    """By a test that finds it by its name, here or beside what it shows."""
    tests = "\n".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    sought = {
        name
        for found in re.findall(r"<!-- (?:\(\?:)?([\w|-]+)\)? -->|\brun\(\"[\w-]+\", \"([\w-]+)\"", tests)
        for names in found
        for name in names.split("|")
    }
    for page, text in PAGES.items():
        names = re.findall(r"(?:<!-- ([\w-]+) -->\n)?```python\n", text)
        assert names, page
        assert set(names) <= sought - {""}, page


def test_figures_are_those_of_the_script() -> None:
    """docs/figures is what scripts/figures.py draws now; each is on a page, with nothing outside of its frame."""
    folder = CHECKOUT / "docs/figures"
    assert {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()} == FIGURES, (
        "run .venv/bin/python scripts/figures.py"
    )
    shown = set(re.findall(r"\]\(figures/([\w-]+\.svg)\)", "\n".join(PAGES.values())))
    assert shown == FIGURES.keys()
    for name, text in FIGURES.items():
        root = ElementTree.fromstring(text)
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        for part in root:
            for attribute, limit in (("x", width), ("x1", width), ("x2", width), ("cx", width), ("y", height)):
                if attribute in part.attrib:
                    assert 0 <= float(part.attrib[attribute]) <= limit, (name, part.attrib)
            if "width" in part.attrib and "x" in part.attrib:
                assert float(part.attrib["x"]) + float(part.attrib["width"]) <= width, (name, part.attrib)
