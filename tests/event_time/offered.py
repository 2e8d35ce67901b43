"""What nodes of a case there are, and which cases can be played: what is not offered is named."""

from __future__ import annotations

import math
from typing import Any

Case = dict[str, Any]
Node = dict[str, Any]

STREAMS = frozenset({"stream", "merge", "stream_join", "stream_table_join", "asof_join", "global_join", "deduplicate"})
AGGREGATES = frozenset({"aggregate", "window", "cogroup"})
JOINED = frozenset({"table_join", "fk_join"})
# Rows of these are written by an agent, and read behind it from a topic of their own, where they have their times.
WRITTEN = frozenset({"to_table", "aggregate", "cogroup", "table_aggregate"})
# A table that each host has all of is one whose rows events go to, here.
TABLES = frozenset({"table", "global_table"})
# Tables without windows.
ROWS = TABLES | JOINED | WRITTEN
# A record of time 0 is sent on as one of time 1, so where something is sent on, times begin later.
EPOCH = 1_000_000
UNSENT = AGGREGATES | {"stream", "merge", "suppress", "changes", "deduplicate"}
OPS = STREAMS | AGGREGATES | JOINED | WRITTEN | TABLES | {"suppress", "changes"}


def why_not(case: Case) -> str | None:
    """What keeps a case from being played; None: nothing."""
    nodes: dict[str, Node] = case["nodes"]
    for node in nodes.values():
        if node["op"] not in OPS:
            return str(node["op"])
        sources = [nodes[name] for name in inputs_of(node)]
        if node["op"] == "suppress":
            if not _is_offered(node, sources[0]):
                return "suppress"
        elif node["op"] == "changes":
            if size_of(case) is None:
                return "suppress"
        elif {kind_of(nodes, one) for one in inputs_of(node)} - {""} and not _are_joined(nodes, node):
            return f"{node['op']} of windows"
    return None


def kind_of(nodes: dict[str, Node], name: str) -> str:
    """What its rows are of: "windows", "finals" of windows, or "", of keys alone."""
    node = nodes[name]
    if node["op"] in JOINED:
        return max(kind_of(nodes, node["left"]), kind_of(nodes, node["right"]))
    if node["op"] == "suppress":
        return "finals" if node["until"] == "close" else ""
    if "window" in node:
        return "finals" if node.get("emit") == "close" else "windows"
    return ""


def _are_joined(nodes: dict[str, Node], node: Node) -> bool:
    """A join of tables whose rows are of windows of one kind, on both sides."""
    if node["op"] != "table_join" or kind_of(nodes, node["left"]) != kind_of(nodes, node["right"]):
        return False
    left, right = (_windows_of(nodes, node[side]) for side in ("left", "right"))
    return left == right


def window_kind(nodes: dict[str, Node], name: str) -> str:
    """Of what kind its windows are; "": it has none."""
    return str(_windows_of(nodes, name)["window"]) if kind_of(nodes, name) else ""


def _windows_of(nodes: dict[str, Node], name: str) -> dict[str, Any]:
    node = nodes[name]
    sources = inputs_of(node)
    # Of changes that come ready made it is not said.
    if "window" not in node and sources:
        return _windows_of(nodes, sources[0])
    return {what: node.get(what) for what in ("window", "size", "advance", "difference", "gap")}


def _is_offered(suppress: Node, of: Node) -> bool:
    """Of windows final results, and all of them; of rows what is held back for some time, or by a bound."""
    if of["op"] in ROWS:
        return bool(suppress["until"] == "time" and suppress.get("full", "emit") == "emit")
    if of["op"] == "changes":
        return bool(suppress.get("wait", 0) == 0 or suppress.get("full") == "emit")
    return suppress["until"] == "close" and "window" in of and suppress.keys().isdisjoint({"wait", "max_records"})


def size_of(case: Case) -> int | None:
    """The size of the windows of changes that come ready made, where it is one; 0: of sessions of one event.

    Those without windows are -1 long.
    """
    sizes = {step[5][1] - step[5][0] if len(step) == 6 else -1 for step in case["steps"] if step[0] == "in"}
    return sizes.pop() if len(sizes) == 1 else None


def inputs_of(node: Node) -> list[str]:
    """The names of the nodes that it reads."""
    found: list[str] = []
    for side in ("from", "left", "right"):
        value = node.get(side, [])
        found += [value] if isinstance(value, str) else [one[0] if isinstance(one, list) else one for one in value]
    return found


def time_of(nodes: dict[str, Any], name: str, row: Any) -> int:
    """The time of a row: of a pair the later one."""
    node = nodes[name]
    if node["op"] == "suppress":
        return time_of(nodes, node["from"], row)
    if node["op"] not in JOINED:
        return int(row[1])
    sides = reversed(row) if node["how"] == "right" else row
    names = node["left"], node["right"]
    return max(time_of(nodes, side, one) for side, one in zip(names, sides, strict=True) if one is not None)


def method_of(how: str) -> str:
    """The name of the method that joins so."""
    return "join" if how == "inner" else f"{how}_join"


def shift_of(nodes: dict[str, Node], *, crashes: bool) -> int:
    """So much later than in the case are the times of the app, in ms."""
    is_sent_on = not {node["op"] for node in nodes.values()} <= UNSENT
    # What is restored was sent.
    if not is_sent_on and not crashes:
        return 0
    steps = [node.get("advance", node.get("size")) or 1 for node in nodes.values()]
    step = math.lcm(*steps)
    return -(-EPOCH // step) * step
