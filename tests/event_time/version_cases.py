"""Cases of tables that keep versions, on the driver: what `as_of` gives, and joins with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from streamcluster import App, Stream, Topic
from streamcluster.testing import Driver

from .join_cases import EPOCH, Case, filled

# Of joins as of the event's time with a stream: how long what was there is kept, in ms.
HISTORY = 300_000
JOINS = frozenset({"stream_table_join", "asof_join"})


def plays(case: Case) -> bool:
    """Whether it is of this: all of its tables keep versions, and nothing else than streams and such joins is there."""
    nodes = case["nodes"].values()
    kinds = {node["op"] for node in nodes}
    keeps = all("history" in node for node in nodes if node["op"] == "table")
    return keeps and kinds <= {"stream", "table"} | JOINS and bool(kinds & ({"table"} | JOINS))


class Versions:
    """The app of a case, which is played."""

    def __init__(self, case: Case, drive: Callable[[App], Driver]) -> None:
        self._case = case
        self.app = App("cases")
        self._topics: dict[str, Topic] = {}
        nodes = case["nodes"]
        rights = {node["right"] for node in nodes.values() if node["op"] == "asof_join"}
        for name, node in nodes.items():
            if node["op"] == "table" or name in rights:
                history = node.get("history", HISTORY) / 1000
                self.app.Table(name, source=self._topic(node["topic"]), history=history)
        for name, node in nodes.items():
            if node["op"] in JOINS:
                self._join(name, node)
        self.driver = drive(self.app)
        self._taken: Counter[str] = Counter()

    def _topic(self, name: str) -> Topic:
        if name not in self._topics:
            self._topics[name] = self.app.topic(name, key_serializer="json", value_serializer="json", partitions=1)
        return self._topics[name]

    def _join(self, name: str, node: dict[str, Any]) -> None:
        out, table = self._topic(name), self.app.tables[node["right"]]
        options: dict[str, Any] = {"as_of": True} | ({"grace": node["grace"] / 1000} if "grace" in node else {})

        async def join(stream: Stream[Any]) -> None:
            joined = stream.left_join(table, **options) if node["how"] == "left" else stream.join(table, **options)
            async for event in joined.events():
                left, right = [None if value is None else value[0] for value in event.value]
                await out.send(key=event.key, value=filled(node["value"], left, right))

        self.app.agent(self._topic(self._case["nodes"][node["left"]]["topic"]), name=f"{name}-agent")(join)

    def play(self) -> None:
        """Do the steps, and assert what they say."""
        for number, step in enumerate(self._case["steps"]):
            match step:
                case ["in", topic, key, value, time]:
                    # With its time, since a version does not say it otherwise.
                    given = None if value is None else [value, time]
                    self.driver.send(topic, key=key, value=given, timestamp=(time + EPOCH) / 1000)
                case ["asof", node, key, time, value, version]:
                    table = self.app.tables[node]
                    found = table.get(key) if time is None else table.as_of((time + EPOCH) / 1000).get(key)
                    assert found == (None if value is None else [value, version]), f"step {number}: {step}"
                case ["out", node, "seq", rows]:
                    outputs = self.driver.output(node)[self._taken[node] :]
                    self._taken[node] += len(outputs)
                    got = [[one.key, one.value, round(one.timestamp * 1000) - EPOCH] for one in outputs]
                    assert got == rows, f"step {number}: {step}"
                case _:
                    raise AssertionError(f"a step of no known kind: {step}")
        assert not self.driver.dead_letters()
