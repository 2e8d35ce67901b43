"""Cases of joins on the driver: an app for the nodes of a case, and its steps one by one.

Not looked at: how many records were late, which nothing tells yet.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamcluster import App, Stream, Topic
from streamcluster.testing import Driver

CASES = Path(__file__).parent / "cases"
FILES = ("stream_stream_join", "stream_table_join", "multi_join", "null_keys", "own")
OPERATORS = {"stream", "table", "stream_join", "stream_table_join"}
# Where the times of cases begin: a record of time 0 is one that has none.
EPOCH = 1_000_000
Case = dict[str, Any]


def cases() -> list[Case]:
    """Those of joins that ours are to pass: core, and policy by our rules, of what is offered."""
    found = [case for name in FILES for case in json.loads((CASES / f"{name}.json").read_text())["cases"]]
    return [case for case in found if _is_ours(case)]


def _is_ours(case: Case) -> bool:
    nodes = case["nodes"].values()
    is_wanted = case["level"] == "core" or (case["level"] == "policy" and "ideal" in case.get("rules", ["ideal"]))
    is_offered = {node["op"] for node in nodes} <= OPERATORS and not any(node.get("history") for node in nodes)
    has_join = any(node["op"].endswith("join") for node in nodes)
    has_grace = any("grace" in node for node in nodes if node["op"] == "stream_table_join")
    return is_wanted and is_offered and has_join and not has_grace


def filled(template: Any, left: Any, right: Any) -> Any:
    """What a join makes of its two sides."""
    if isinstance(template, dict):
        return sum({"l": left, "r": right}[name] for name in template["sum"])
    sides = {"{l}": left, "{r}": right}
    for name, value in sides.items():
        template = template.replace(name, "null" if value is None else str(value))
    return template


@dataclass
class Graph:
    """The app of a case: an agent for each table and each join; a join sends what it makes to the topic of its name."""

    case: Case
    app: App

    def topic(self, name: str) -> Topic:
        """A topic of JSON with one partition."""
        known = {topic.name: topic for topic in self.app.topics}
        found = known.get(name)
        return found or self.app.topic(name, key_serializer="json", value_serializer="json", partitions=1)

    def build(self) -> None:
        """Declare everything."""
        nodes = self.case["nodes"]
        for name, node in nodes.items():
            if node["op"] == "table":
                self._add_table(name, self.topic(node["topic"]))
        read = {node[side] for node in nodes.values() for side in ("left", "right") if side in node}
        for name, node in nodes.items():
            if node["op"].endswith("join") and name not in read:
                self._add_join(name)

    def _add_table(self, name: str, topic: Topic) -> None:
        table = self.app.Table(name)

        async def keep(stream: Stream[Any]) -> None:
            async for key, value in stream.items():
                if value is not None:
                    table[key] = value
                elif key is not None:
                    table.pop(key, None)

        self.app.agent(topic, name=f"keep-{name}")(keep)

    def _add_join(self, name: str) -> None:
        out = self.topic(name)

        async def join(stream: Stream[Any]) -> None:
            async for event in self._joined(name, stream).events():
                await out.send(key=event.key, value=event.value)

        self.app.agent(self._source(name), name=name + "-agent")(join)

    def _source(self, name: str) -> Topic:
        node = self.case["nodes"][name]
        return self.topic(node["topic"]) if node["op"] == "stream" else self._source(node["left"])

    def _joined(self, name: str, stream: Stream[Any]) -> Stream[Any]:
        node = self.case["nodes"][name]
        if node["op"] == "stream":
            return stream
        left = self._joined(node["left"], stream)
        if node["op"] == "stream_table_join":
            method: Callable[..., Stream[Any]] = left.left_join if node["how"] == "left" else left.join
            joined = method(self.app.tables[node["right"]])
        else:
            method = {"inner": left.join, "left": left.left_join, "outer": left.outer_join}[node["how"]]
            bounds = {bound: node[bound] / 1000 for bound in ("before", "after", "grace")}
            joined = method(self.topic(self.case["nodes"][node["right"]]["topic"]), **bounds)
        joined.add_processor(lambda pair: filled(node["value"], *pair))
        return joined


def play(case: Case, drive: Callable[[App], Driver]) -> None:
    """Do the steps, and assert what they say."""
    graph = Graph(case, App("cases"))
    graph.build()
    driver = drive(graph.app)
    taken: Counter[str] = Counter()
    for number, step in enumerate(case["steps"]):
        match step:
            case ["in", topic, key, value, time]:
                driver.send(topic, key=key, value=value, timestamp=(time + EPOCH) / 1000)
            case ["restart"]:
                driver.crash(lose_stores=True)
            case ["out", node, mode, rows]:
                outputs = driver.output(node)[taken[node] :]
                found = [[one.key, one.value, round(one.timestamp * 1000) - EPOCH] for one in outputs]
                taken[node] += len(found)
                # Times that the test of the others does not look at.
                times = [row[2] for row in rows]
                if len(found) == len(rows):
                    found = [
                        [*one[:2], one[2] if time is not None else None] for one, time in zip(found, times, strict=True)
                    ]
                # Rows come out alone by their deadlines, which are not in the order of their times then.
                is_uneven = case["nodes"][node].get("before") != case["nodes"][node].get("after")
                if mode == "bag" or is_uneven:
                    found, rows = sorted(found, key=repr), sorted(rows, key=repr)
                assert found == rows, f"step {number}: {step}"
            case ["late", *_]:
                pass
            case _:
                raise AssertionError(f"a step of no known kind: {step}")
    assert not driver.dead_letters()
