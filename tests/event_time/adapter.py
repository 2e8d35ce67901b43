"""The app of a case: a stream, an agent or a table for each of its nodes, whatever they are put together of.

Rows of tables are a value and its time, in ms; what joins of tables make is a pair of rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from streamcluster import App, Stream, Table, Topic, current_event
from streamcluster.current import cursor_var
from streamcluster.windows.windowed import WindowedTable

from .folds import Fold, Row, added, made, no_value, row_of
from .offered import AGGREGATES, JOINED, TABLES, Case, Node, kind_of, method_of, shift_of, size_of, time_of, window_kind
from .window_nodes import closed, follow_rows, follow_windows, kept, tell_windows, window_in, windowed

# So long that records by themselves do not move time: in cases that say it.
_NEVER = 10.0**9
# How long the right side of an as-of join is kept, in ms.
_AS_OF = 10**12


def mapped_key(value: Any) -> Any:
    """The key in the table."""
    return value[2]


def own_key(value: Any) -> Any:
    """The key that the event came with."""
    return value[0]


def own_value(value: Any) -> Any:
    """What was joined."""
    return value[1]


class Graph:
    """The app of a case. `told` has the names of nodes of which it must be known what they give out."""

    def __init__(self, case: Case, *, merges: bool = False, crashes: bool = False) -> None:
        """merges: hopping windows are made with merge=. crashes: stores are lost and come back."""
        self.nodes: dict[str, Node] = case["nodes"]
        self.told = {step[1] for step in case["steps"] if step[0] in ("out", "late")}
        # What is over is read as well.
        self._read = {step[1] for step in case["steps"] if step[0] == "state"}
        self._merges = merges
        self.shift = shift_of(self.nodes, crashes=crashes)
        by_steps = case.get("clock") == "watermark"
        self.app = App("case", max_ahead=None, close_idle_after=None, max_out_of_orderness=_NEVER if by_steps else 0)
        # Records that an agent did not use, which nobody else counts.
        self.unused: Counter[str] = Counter()
        # When the last record without a value came, by topic and key.
        self.deleted: dict[tuple[str, Any], int] = {}
        self.windows: dict[str, WindowedTable] = {}
        self.tables: dict[str, Table[Any, Any]] = {}
        self._kept: dict[str, Table[Any, Any]] = {}
        # The nodes that are joined as tables, and final results of those with windows.
        self._joined = {
            node[side] for node in self.nodes.values() if node["op"] in JOINED for side in ("left", "right")
        }
        self._finals: dict[str, Table[Any, Any]] = {}
        # Those that feed tables, whose values have their time with them.
        self.dated = {node["topic"] for node in self.nodes.values() if node["op"] in TABLES}
        rights = [self.nodes[node["right"]] for node in self.nodes.values() if node["op"] == "asof_join"]
        self.dated |= {node["topic"] for node in rights}
        # By the right side of an as-of join, how long it is kept.
        self._as_of = {
            node["right"]: node.get("grace", _AS_OF) for node in self.nodes.values() if node["op"] == "asof_join"
        }
        for name in self.nodes:
            self._build(name, case)

    def now(self) -> tuple[Any, int]:
        """The key of the event in hand, and the time in ms that is of what comes of it."""
        event, cursor = current_event(), cursor_var.get()
        assert event is not None
        assert cursor is not None
        return event.key, cursor.timestamp() if self.shift else round(event.message.timestamp * 1000)

    # Names

    def topic(self, name: str) -> Topic:
        """A topic of JSON with one partition."""
        known = {topic.name: topic for topic in self.app.topics}
        return known.get(name) or self.app.topic(name, key_serializer="json", value_serializer="json", partitions=1)

    def out(self, name: str) -> Topic:
        """What a node gives out: value, time and window."""
        return self.topic(f"out-{name}")

    def _build(self, name: str, case: Case) -> None:
        node = self.nodes[name]
        op = node["op"]
        if op in AGGREGATES:
            self._aggregate(name, node)
        elif op == "to_table":
            self._keep(name, node)
        elif op == "table_aggregate":
            self._regroup(name, node)
        elif op == "suppress" and node["from"] in self.windows:
            if node["until"] == "close":
                self.windows[node["from"]].on_close(self._closed(name))
            else:
                tell_windows(self.app, self.windows[node["from"]], self.out(name))
        elif op == "changes":
            size, topic = size_of(case), self.topic(node["topic"])
            assert size is not None
            if size < 0:
                self.tables[name] = follow_rows(self.app, topic, name, self.now)
            else:
                self.windows[name] = follow_windows(self.app, topic, name, size, self.now)
        elif op in JOINED or op in TABLES or op == "suppress":
            self.table(name)
            if name in self.told:
                self._tell_table(name)
        elif name in self.told:
            self._tell_stream(name)

    # Streams

    def stream(self, name: str) -> Stream[Any]:
        """What a node gives, as a stream of values."""
        node = self.nodes[name]
        match node["op"]:
            case "stream":
                stream = self.app.stream(self.topic(node["topic"]))
                if node["topic"] in self.dated:
                    stream.add_processor(lambda value: None if value is None else value[0])
                return stream
            case "merge":
                first, *others = [self.stream(one) for one in node["from"]]
                return first.combine(*others)
            case "deduplicate":
                return self._deduplicated(node)
            case "stream_join":
                return self._of_streams(node)
            case "stream_table_join" | "asof_join":
                return self._with_table(node)
            case "global_join":
                return self._with_any_row(node)
        raise ValueError(name)

    def _deduplicated(self, node: Node) -> Stream[Any]:
        by = None
        if "id" in node:

            def by(value: Any) -> Any:
                return made(node["id"], k=self.now()[0], v=value)

        return self.stream(node["from"]).deduplicate(by=by, within=node["within"] / 1000)

    def _of_streams(self, node: Node) -> Stream[Any]:
        left, right = self.stream(node["left"]), self.stream(node["right"])
        join: Callable[..., Stream[Any]] = getattr(left, method_of(node["how"]))
        joined = join(right, **{bound: node[bound] / 1000 for bound in ("before", "after", "grace")})
        joined.add_processor(lambda pair: made(node["value"], k=self.now()[0], l=pair[0], r=pair[1]))
        return joined

    def _with_table(self, node: Node) -> Stream[Any]:
        left, right = self.stream(node["left"]), node["right"]
        as_of = node["op"] == "asof_join" or "history" in self.nodes[right]
        options: dict[str, Any] = {"as_of": True} if as_of else {}
        if as_of and "grace" in node and node["op"] != "asof_join":
            options["grace"] = node["grace"] / 1000
        joined: Stream[Any] = getattr(left, "left_join" if node["how"] == "left" else "join")(
            self.table(right), **options
        )

        def fill(pair: Any) -> Any:
            return made(node["value"], k=self.now()[0], l=pair[0], r=self.value_of(right, pair[1]))

        joined.add_processor(fill)
        return joined

    def _with_any_row(self, node: Node) -> Stream[Any]:
        """By a key that the event names: it goes to where that row is, with its own key, and back again."""
        events = self.stream(node["left"]).filter(lambda value: value is not None)
        events.add_processor(lambda value: [self.now()[0], value, made(node["key"], k=self.now()[0], v=value)])
        join: Callable[..., Stream[Any]] = getattr(events, method_of(node["how"]))
        joined = join(self.table(node["right"]), on=mapped_key)

        def fill(pair: Any) -> Any:
            key, value, _ = pair[0]
            return [key, made(node["value"], k=key, l=value, r=self.value_of(node["right"], pair[1]))]

        joined.add_processor(fill)
        back = joined.group_by(own_key)
        back.add_processor(own_value)
        return back

    def _tell_stream(self, name: str) -> None:
        output = self.out(name)

        async def tell(stream: Stream[Any]) -> None:
            async for event in stream.events():
                await output.send(key=event.key, value=[event.value, self.now()[1]])

        self.app.agent(self.stream(name), name=f"tell-{name}")(tell)

    # Tables

    def table(self, name: str) -> Table[Any, Any]:
        """A node as a table of the app."""
        if name not in self.tables:
            self.tables[name] = self._declared(name, self.nodes[name])
        return self.tables[name]

    def _declared(self, name: str, node: Node) -> Table[Any, Any]:
        if node["op"] in JOINED:
            return self._of_tables(name, node)
        if node["op"] == "suppress":
            wait, room = node.get("wait", 0) / 1000, node.get("max_records")
            return self.table(node["from"]).suppress(wait, max_records=room, name=f"of-{name}")
        topic = self.topic(node.get("topic", f"rows-{name}"))
        history = node.get("history", self._as_of.get(name))
        return self.app.Table(f"of-{name}", source=topic, history=None if history is None else history / 1000)

    def _closed(self, name: str) -> Callable[..., Any]:
        """What is called with windows of a node that are over."""
        if name not in self._joined:
            return partial(closed, self.out(name))
        self._finals[name] = self.app.Table(f"finals-{name}")
        return partial(kept, self.out(name), self._finals[name])

    def _of_tables(self, name: str, node: Node) -> Table[Any, Any]:
        known: dict[str, Any] = self.windows | self._finals
        left, right = (known[side] if side in known else self.table(side) for side in (node["left"], node["right"]))
        if node["how"] == "right":
            left, right = right, left
        join: Callable[..., Table[Any, Any]] = getattr(
            left, method_of("left" if node["how"] == "right" else node["how"])
        )
        if node["op"] == "table_join":
            return join(right, name=f"of-{name}")

        def named(row: Any) -> Any:
            return made(node["fk"], k=self.now()[0], v=self.value_of(node["left"], row))

        return join(right, on=named, name=f"of-{name}")

    def value_of(self, name: str, row: Any) -> Any:
        """The value that a row of a table stands for, as the case has it."""
        node = self.nodes[name]
        if row is None:
            return None
        if node["op"] == "suppress":
            return self.value_of(node["from"], row)
        if node["op"] not in JOINED:
            return row[0]
        first, second = reversed(row) if node["how"] == "right" else row
        left, right = self.value_of(node["left"], first), self.value_of(node["right"], second)
        return made(node["value"], l=left, r=right)

    def _tell_table(self, name: str) -> None:
        output, kind = self.out(name), window_kind(self.nodes, name)

        async def tell(stream: Stream[Any]) -> None:
            async for row_key, row in stream.items():
                key, window = window_in(row_key)
                at = self._at(name, key, row)
                if window is None:
                    await output.send(key=key, value=[self.value_of(name, row), at])
                elif row is not None:
                    await output.send(key=key, value=row_of((self.value_of(name, row), at), window))
                elif at <= window.end * 1000 - (kind != "session"):
                    # Not those that are over.
                    await output.send(key=key, value=row_of(None, window))

        self.app.agent(self.table(name).changes(), name=f"tell-{name}")(tell)

    def _at(self, name: str, key: Any, row: Any) -> int:
        """The time of a change: of a table that nothing is joined with it is in the row, or that of the deletion."""
        if row is not None and kind_of(self.nodes, name) == "finals":
            return time_of(self.nodes, name, row)
        if self.nodes[name]["op"] in JOINED or (self.nodes[name]["op"] == "suppress" and row is None):
            return self.now()[1]
        if self.nodes[name]["op"] == "suppress":
            return time_of(self.nodes, name, row)
        return self.deleted[self.nodes[name]["topic"], key] if row is None else int(row[1])

    async def _give(self, name: str, key: Any, value: Any, at: int) -> None:
        """A row that an agent has written."""
        await self.out(name).send(key=key, value=[value, at])
        if f"rows-{name}" in {topic.name for topic in self.app.topics}:
            given = None if value is None else [value, at]
            await self.topic(f"rows-{name}").send(key=key, value=given, timestamp=at / 1000)

    def _keep(self, name: str, node: Node) -> None:
        self._kept[name] = table = self.app.Table(name)
        self.out(name)

        async def keep(stream: Stream[Any]) -> None:
            async for event in stream.events():
                key, at = self.now()
                if key is None:
                    continue
                if event.value is None:
                    table.pop(key, None)
                else:
                    table[key] = [event.value, at]
                await self._give(name, key, event.value, at)

        self.app.agent(self.stream(node["from"]), name=f"keep-{name}")(keep)

    def _regroup(self, name: str, node: Node) -> None:
        """What a row gave to its group is taken away from it, then it is added to its new one."""
        source, fold = node["from"], Fold(node["agg"])
        self._kept[name] = groups = self.app.Table(name, default=no_value)
        before = self.app.Table(f"{name}-before")
        self.out(name)

        def mapped(key: Any, value: Any) -> Any:
            return value if value is None else (made(node["key"], k=key, v=value), made(node["value"], k=key, v=value))

        async def change(group: Any, removed: Any, new: Any, at: int) -> None:
            total, latest = groups[group]
            if removed is not None and total is not None:
                total, at = fold.remove(total, group, removed), max(at, latest)
            if new is not None:
                total, at = fold.add(total, group, new), max(at, -1 if latest is None else latest)
            groups[group] = [total, at]
            await self._give(name, group, total, at)

        async def regroup(stream: Stream[Any]) -> None:
            async for key, row in stream.items():
                if key is None:
                    continue
                at, value = self.now()[1], self.value_of(source, row)
                old, new = mapped(key, before.get(key)), mapped(key, value)
                before[key] = value
                if old and new and old[0] == new[0]:
                    await change(old[0], old[1], new[1], at)
                    continue
                if old:
                    await change(old[0], old[1], None, at)
                if new:
                    await change(new[0], None, new[1], at)

        # Of a topic's records the times are those of its rows.
        topic = self.nodes[source].get("topic", f"rows-{source}" if source in self._kept else None)
        rows = self.table(source).changes() if topic is None else self.topic(topic)
        self.app.agent(rows, name=f"regroup-{name}")(regroup)

    # Aggregates, with windows and without

    def _aggregate(self, name: str, node: Node) -> None:
        fold = Fold(node["agg"])
        self.out(name)
        table: Any = self.app.Table(name, default=no_value)
        updates = node.get("emit", "update") == "update"
        if "window" in node:
            shown = {"retention": 1000 * _NEVER} if name in self._read else {}
            merges = self._merges and name not in self._joined
            self.windows[name] = table = windowed(table, node | shown, fold, merges=merges)
            if not updates:
                table.on_close(self._closed(name))
        else:
            self._kept[name] = table
        sources = node["from"] if node["op"] == "cogroup" else [[node["from"], None]]
        for source, template in sources:
            add = partial(added, fold, template)
            body = self._to_windows(name, table, add, updates) if "window" in node else self._to_rows(name, table, add)
            self.app.agent(self.stream(source), name=f"{name}-{source}")(body)

    def _to_windows(
        self, name: str, table: WindowedTable, add: Callable[..., Any], updates: bool
    ) -> Callable[[Stream[Any]], Any]:
        output, skips_null = self.out(name), self.nodes[name]["window"] == "sliding"

        async def count(stream: Stream[Any]) -> None:
            async for event in stream.events():
                key, at = self.now()
                if key is None or (event.value is None and skips_null):
                    self.unused[name] += 1
                    continue
                windows = table[key].apply(add, (key, event.value, at))
                for window, written in windows.written if updates else ():
                    await output.send(key=key, value=row_of(written, window))

        return count

    def _to_rows(self, name: str, table: Any, add: Callable[..., Any]) -> Callable[[Stream[Any]], Any]:
        async def count(stream: Stream[Any]) -> None:
            async for event in stream.events():
                key, at = self.now()
                if key is None or event.value is None:
                    self.unused[name] += 1
                    continue
                table[key] = add(table[key], (key, event.value, at))
                await self._give(name, key, *table[key])

        return count

    # What they hold

    def held(self, name: str) -> list[Row]:
        """Rows of a table or of windows, with the times of the app."""
        if name in self.windows:
            return [[key, *row_of(value, window)] for (key, window), value in self.windows[name].items()]
        if name in self._kept:
            return [[key, *row] for key, row in self._kept[name].items() if row[0] is not None]
        found: list[Row] = []
        for row_key, row in self.table(name).items():
            key, window = window_in(row_key)
            value, at = self.value_of(name, row), time_of(self.nodes, name, row)
            found.append([key, value, at] if window is None else [key, *row_of((value, at), window)])
        return found
