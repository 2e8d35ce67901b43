"""Cases of joins of tables on the driver: an app for the nodes of a case, and its steps one by one.

A table's changes are told once a commit: rows that a case gives out twice in a step, with the same value and time, are
one here. And where one table is in a chain of joins twice, only the last row of each key is compared: results of such
chains converge, what is between is another one for each engine (rules.md, section 6).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamcluster import App, Stream, Table, current_event
from streamcluster.testing import Driver

from .adapter import Row, check

CASES = Path(__file__).parent / "cases"
OPERATORS = {"table", "table_join", "fk_join"}
JOINS = {"table_join", "fk_join"}
# Where the times of cases begin: a record of time 0 is one that has none.
EPOCH = 1_000_000
Case = dict[str, Any]


def is_ours(case: Case) -> bool:
    """It is about joins of tables, and about nothing else."""
    found = {node["op"] for node in case["nodes"].values()}
    return found <= OPERATORS and bool(found & JOINS)


def cases() -> list[Case]:
    """Those that a sound engine passes."""
    found = [case for path in sorted(CASES.glob("*.json")) for case in json.loads(path.read_text())["cases"]]
    return [
        case
        for case in found
        if is_ours(case)
        and (case["level"] == "core" or (case["level"] == "policy" and case.get("rules", ["ideal"]) != ["kafka"]))
    ]


def named(template: Any, value: Any) -> Any:
    """The foreign key that a value names."""
    parts = value.split(template["split"])
    part = parts[template["part"]] if len(parts) > template["part"] else None
    return None if part in template.get("null", ()) else part


@dataclass
class Graph:
    """The app of a case: a table for each node, and an agent that tells its changes to a topic of its name."""

    case: Case
    app: App
    tables: dict[str, Table[Any, Any]] = field(default_factory=dict)

    def table(self, name: str) -> Table[Any, Any]:
        """The table of a node."""
        if name not in self.tables:
            self.tables[name] = self._declare(name, self.case["nodes"][name])
        return self.tables[name]

    def _declare(self, name: str, node: dict[str, Any]) -> Table[Any, Any]:
        if node["op"] == "table":
            topic = self.app.topic(node["topic"], key_serializer="json", value_serializer="json", partitions=1)
            history = node.get("history")
            return self.app.Table(f"of-{name}", source=topic, history=None if history is None else history / 1000)
        left, right = self.table(node["left"]), self.table(node["right"])
        method: Callable[..., Table[Any, Any]] = {
            "inner": left.join,
            "left": left.left_join,
            "outer": left.outer_join,
        }[node["how"]]
        if node["op"] == "table_join":
            return method(right, name=f"of-{name}")
        return method(right, on=lambda value: named(node["fk"], value), name=f"of-{name}")

    def build(self) -> None:
        """Declare everything."""
        for name, node in self.case["nodes"].items():
            if node["op"] in JOINS:
                self._tell(name)

    def _tell(self, name: str) -> None:
        out = self.app.topic(name + "-out", key_serializer="json", value_serializer="json", partitions=1)

        async def tell(stream: Stream[Any]) -> None:
            async for key, value in stream.items():
                event = current_event()
                assert event is not None
                at = round(event.message.timestamp * 1000) - EPOCH
                await out.send(key=key, value=[self.filled(name, value), at])

        self.app.agent(self.table(name).changes(), name=f"tell-{name}")(tell)

    def filled(self, name: str, value: Any) -> Any:
        """A row as the case has it."""
        node = self.case["nodes"][name]
        if value is None or node["op"] == "table":
            return value
        sides = self.filled(node["left"], value[0]), self.filled(node["right"], value[1])
        text = node["value"]
        for place, side in zip(("{l}", "{r}"), sides, strict=True):
            text = text.replace(place, "null" if side is None else str(side))
        return text

    def is_twice(self, name: str) -> bool:
        """A topic is in this chain of joins more than once."""
        topics = self._topics(name)
        return len(set(topics)) < len(topics)

    def _topics(self, name: str) -> list[str]:
        node = self.case["nodes"][name]
        return [node["topic"]] if node["op"] == "table" else self._topics(node["left"]) + self._topics(node["right"])


def play(case: Case, drive: Callable[[App], Driver], *, crashes: bool = False) -> list[str]:
    """Do the steps; what is not as they say. crashes: everything is lost but the topics, before each of them."""
    graph = Graph(case, App("case", max_ahead=None))
    graph.build()
    wrong: list[str] = []
    seen: dict[str, int] = {}
    with drive(graph.app) as driver:
        for number, step in enumerate(case["steps"]):
            if crashes:
                driver.crash(lose_stores=True)
            match step:
                case ["in", topic, key, value, at]:
                    driver.send(topic, key=key, value=value, timestamp=(at + EPOCH) / 1000)
                case ["out", node, mode, rows]:
                    outputs = [[one.key, *one.value] for one in driver.output(node + "-out")]
                    got, seen[node] = outputs[seen.get(node, 0) :], len(outputs)
                    mode = "last" if graph.is_twice(node) else mode
                    if not check(mode, got, last(rows) if mode == "last" else once(rows)):
                        wrong.append(f"step {number} {step}: gave {got}")
                case ["state", node, mode, rows]:
                    held = [[key, graph.filled(node, row), None] for key, row in graph.table(node).items()]
                    if not check("bag" if mode == "all" else "has", held, rows):
                        wrong.append(f"step {number} {step}: holds {held}")
                case _:
                    raise AssertionError(f"a step of no known kind: {step}")
        assert not driver.dead_letters()
    return wrong


def once(rows: list[Row]) -> list[Row]:
    """Without rows that say again what the one before has said."""
    return [row for at, row in enumerate(rows) if at == 0 or row != rows[at - 1]]


def last(rows: list[Row]) -> list[Row]:
    """The last row of each key."""
    return list({repr(row[0]): row for row in rows}.values())
