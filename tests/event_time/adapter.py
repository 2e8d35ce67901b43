"""Builds the graph of a case with agents and windowed tables, and plays its steps on the driver."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from streamcluster import App, Table, Topic, current_event
from streamcluster.batch import KafkaRecord
from streamcluster.ids import TP, TaskId
from streamcluster.stores import TaskStore
from streamcluster.testing import Driver
from streamcluster.windows.kinds import Sliding, Window
from streamcluster.windows.windowed import WindowedTable

from .folds import Fold

Row = list[Any]
MakeStore = Callable[[App], Callable[[TaskId, list[str]], TaskStore]]
# What this adapter builds. Of windows, those kinds.
OPS = frozenset({"stream", "window", "cogroup", "suppress", "deduplicate", "stream_join", "changes"})
KINDS = frozenset({"tumbling", "hopping", "session", "sliding"})
# So long that records by themselves do not move time: in cases that say it.
_NEVER = 10.0**9


def why_not(case: dict[str, Any]) -> str | None:
    """What keeps a case from being played here; None: nothing."""
    nodes = case["nodes"]
    for node in nodes.values():
        if node["op"] not in OPS:
            return str(node["op"])
        if "window" in node and node["window"] not in KINDS:
            return str(node["window"])
        if node["op"] == "suppress" and not _is_offered(node, nodes[node["from"]]["op"]):
            return "suppress"
        # Those of joins alone are played in join_cases.py, where time is moved by records.
        if node["op"] == "stream_join" and "clock" not in case and all(one["op"] != "window" for one in nodes.values()):
            return "stream_join"
    return None


def _is_offered(suppress: dict[str, Any], of: str) -> bool:
    """Final results, and all of them; not what a bound of memory or of event time lets through."""
    if of == "changes":
        return suppress["wait"] == 0 and "max_records" not in suppress
    return suppress["until"] == "close" and "wait" not in suppress and of == "window"


class Played:
    """A case that is played."""

    def __init__(self, case: dict[str, Any], make_store: MakeStore | None = None, *, merges: bool = False) -> None:
        """merges: hopping windows are made with merge=."""
        self._case = case
        self._merges = merges
        self._by_steps = case.get("clock") == "watermark"
        # What a join makes is sent on, and a record that is sent with time 0 is one that has none.
        self._has_zero = all(node["op"] != "stream_join" for node in case["nodes"].values())
        self.app = App(
            "case",
            max_ahead=None,
            close_idle_after=None,
            max_out_of_orderness=_NEVER if self._by_steps else 0,
        )
        self._topics: dict[str, Topic] = {}
        self._outputs: dict[str, Topic] = {}
        self._tables: dict[str, Table[Any, Any] | WindowedTable] = {}
        self._skipped: dict[str, int] = {}
        self._seen: dict[str, int] = {}
        for name, node in case["nodes"].items():
            if node["op"] == "stream":
                self._topics[name] = self.app.topic(node["topic"], key_serializer="json")
        for name, node in case["nodes"].items():
            self._outputs[name] = self.app.topic(f"out-{name}", key_serializer="json", partitions=1)
            if node["op"] == "stream_join":
                self._join(name, node)
            elif node["op"] == "changes":
                self._follow(name, node)
            elif node["op"] in ("window", "cogroup"):
                self._build(name, node)
            elif node["op"] == "deduplicate":
                self._deduplicate(name, node)
        for name, node in case["nodes"].items():
            if node["op"] == "suppress":
                windows = self._tables[node["from"]]
                assert isinstance(windows, WindowedTable)
                if node["until"] == "close":
                    windows.on_close(partial(self._closed, self._outputs[name]))
                else:
                    self._tell(windows, self._outputs[name])
        store = None if make_store is None else make_store(self.app)
        self.driver = Driver(self.app, make_store=store)

    # The graph

    def _build(self, name: str, node: dict[str, Any]) -> None:
        fold = Fold(node["agg"])
        table: Any = self.app.Table(name, default=no_value)
        if "window" in node:
            table = self._windowed(table, node, fold)
            if node["emit"] == "close":
                table.on_close(partial(self._closed, self._outputs[name]))
        self._tables[name] = table
        sources = node["from"] if node["op"] == "cogroup" else [[node["from"], None]]
        for source, template in sources:
            self._read(name, table, source, partial(added, fold, template), updates=node["emit"] == "update")

    def _join(self, name: str, node: dict[str, Any]) -> None:
        """What it makes is in a topic, for windows, and told."""
        self._topics[name] = joined = self.app.topic(f"joined-{name}", key_serializer="json", partitions=1)
        other, output = self._topics[node["right"]], self._outputs[name]
        bounds = {bound: node[bound] / 1000 for bound in ("before", "after", "grace")}

        async def join(stream: Any) -> None:
            pairs = stream.join if node["how"] == "inner" else stream.left_join
            async for left, right in pairs(other, **bounds):
                event = current_event()
                assert event is not None
                text = node["value"].replace("{l}", str(left)).replace("{r}", "null" if right is None else str(right))
                await joined.send(key=event.key, value=text)
                await output.send(key=event.key, value=[text, None])

        self.app.agent(self._topics[node["left"]], name=name)(join)

    def _follow(self, name: str, node: dict[str, Any]) -> None:
        """Changes of windows that come ready made are written to windows of the same size."""
        self._topics[name] = topic = self.app.topic(node["topic"], key_serializer="json")
        (size,) = {step[5][1] - step[5][0] for step in self._case["steps"][:1]}
        plain = self.app.Table(name, default=no_value)
        windows = plain.tumbling(size / 1000, grace=0) if size else plain.session(0.001, grace=0, merge=max)
        self._tables[name] = windows

        async def write(stream: Any) -> None:
            async for (key, _, _), value in stream.items():
                event = current_event()
                assert event is not None
                if value is None:
                    del windows[key]
                else:
                    windows[key] = value, round(event.message.timestamp * 1000)

        self.app.agent(topic, name=name)(write)

    def _tell(self, windows: WindowedTable, output: Topic) -> None:
        """Each change, at once."""

        async def tell(stream: Any) -> None:
            async for (key, window), value in stream.items():
                await output.send(key=key, value=row_of(value, window))

        self.app.agent(windows.changes(), name=f"{windows.name}-changes")(tell)

    def _deduplicate(self, name: str, node: dict[str, Any]) -> None:
        output, wanted = self._outputs[name], node.get("id", "{k}")

        def identity(_value: Any) -> Any:
            event = current_event()
            assert event is not None
            return event.key if wanted == "{k}" else wanted["const"]

        async def forward(stream: Any) -> None:
            firsts = stream.deduplicate(by=identity if "id" in node else None, within=node["within"] / 1000)
            async for event in firsts.events():
                at = round(event.message.timestamp * 1000)
                await output.send(key=event.key, value=row_of((event.value, at), None))

        self.app.agent(self._topics[node["from"]], name=name)(forward)

    def _windowed(self, table: Table[Any, Any], node: dict[str, Any], fold: Fold) -> WindowedTable:
        common = {"grace": node["grace"] / 1000}
        if "retention" in node:
            common["expires"] = node["retention"] / 1000
        match node["window"]:
            case "tumbling":
                return table.tumbling(node["size"] / 1000, **common)
            case "hopping":
                merge = partial(merged, fold) if self._merges else None
                return table.hopping(node["size"] / 1000, node["advance"] / 1000, **common, merge=merge)
            case "sliding":
                return table.sliding(node["difference"] / 1000, **common)
        return table.session(node["gap"] / 1000, **common, merge=partial(merged, fold))

    async def _closed(self, output: Topic, key: Any, window: Window, value: Any) -> None:
        await output.send(key=key, value=row_of(value, window))

    def _read(self, name: str, table: Any, source: str, add: Callable[..., Any], *, updates: bool) -> None:
        output = self._outputs[name]
        skips_null = not isinstance(table, WindowedTable) or isinstance(table.kind, Sliding)

        async def count(stream: Any) -> None:
            async for key, value in stream.items():
                event = current_event()
                assert event is not None
                # As the model counts them; here an agent decides what it puts into a window.
                if key is None or (value is None and skips_null):
                    self._skipped[name] = self._skipped.get(name, 0) + 1
                    continue
                given = key, value, round(event.message.timestamp * 1000)
                if not isinstance(table, WindowedTable):
                    table[key] = add(table[key], given)
                    await output.send(key=key, value=row_of(table[key], None))
                    continue
                windows = table[key].apply(add, given)
                for window, written in windows.written if updates else ():
                    await output.send(key=key, value=row_of(written, window))

        # Tables are found by the names in an agent's code.
        self.app.agent(self._topics[source], name=f"{name}-{source}")(count)

    # The steps

    def play(self) -> list[str]:
        """What is not as the case says."""
        wrong: list[str] = []
        for number, step in enumerate(self._case["steps"]):
            if (found := self._step(step)) is not None:
                wrong.append(f"step {number} {step}: {found}")
        return wrong

    def _step(self, step: list[Any]) -> str | None:
        match step:
            case ["in", topic, key, value, at]:
                self._send(topic, key, value, at)
            case ["in", topic, key, value, at, [start, end]]:
                self._send(topic, (key, start, end), value, at)
            case ["out", node, mode, rows]:
                return self._compare(node, mode, rows)
            case ["state", node, mode, rows]:
                got = self._state(node)
                return None if check("bag" if mode == "all" else "has", got, rows) else f"holds {got}"
            case ["late", node, count]:
                table = self._tables[node]
                late = self._skipped.get(node, 0) + (table.late_total if isinstance(table, WindowedTable) else 0)
                return None if late == count else f"{late} were late"
            case ["time", at]:
                for task in self.driver.worker.engine.times.tasks.values():
                    for partition in task.partitions.values():
                        partition.raise_to(at)
                self.driver.run(self.driver.worker.process(commit=True))
            case ["restart"]:
                self.driver.crash()
            case ["wall", _]:
                pass
            case _:
                raise ValueError(step)
        return None

    def _send(self, topic: str, key: Any, value: Any, at: int) -> None:
        # As it is: `Driver.send` gives no record the time 0.
        coders = next(one for one in self._topics.values() if one.name == topic).coders
        log = self.driver.logs.logs.setdefault(TP(topic, 0), [])
        encoded = None if key is None else coders.encode_key(key), None if value is None else coders.encode_value(value)
        log.append(KafkaRecord(len(log), at, *encoded, None))
        self.driver.run(self.driver.worker.process(commit=True))

    def _compare(self, node: str, mode: str, rows: list[Row]) -> str | None:
        if not self._has_zero:
            rows = [[key, value, at or None, *window] for key, value, at, *window in rows]
        rows_out = [[one.key, *one.value] for one in self.driver.output(f"out-{node}")]
        first = self._seen.get(node, 0)
        got = rows_out[first : first + len(rows)] if mode == "next" else rows_out[first:]
        self._seen[node] = first + len(got)
        return None if check("seq" if mode == "next" else mode, got, rows) else f"gave {got}"

    def _state(self, node: str) -> list[Row]:
        table = self._tables[node]
        if isinstance(table, WindowedTable):
            return [[key, *row_of(value, window)] for (key, window), value in table.items()]
        return [[key, *value] for key, value in table.items()]


def no_value() -> Any:
    """An aggregate and the largest timestamp in it: none yet."""
    return (None, None)


def added(fold: Fold, template: str | None, before: Any, given: tuple[Any, Any, int]) -> Any:
    """The entry with one more event."""
    key, value, at = given
    total, latest = before
    return fold.add(total, key, value, template), at if latest is None else max(latest, at)


def merged(fold: Fold, first: Any, second: Any) -> Any:
    """The entry of two sessions, or of two parts of a window."""
    if no_value() in (first, second):
        return second if first == no_value() else first
    return fold.merge(first[0], second[0]), max(first[1], second[1])


def row_of(value: Any, window: Window | None) -> Row:
    """Value, timestamp and window of a row, in ms; a deletion is of the window's end."""
    bounds = None if window is None else [round(window.start * 1000), round(window.end * 1000)]
    total, at = (None, bounds and bounds[1]) if value is None else value
    return [total, at, bounds] if bounds else [total, at]


# Comparing


def same(got: Row, want: Row) -> bool:
    """A timestamp of None is not looked at."""
    return len(got) == len(want) and all(
        (at == 2 and wanted is None) or found == wanted
        for at, (found, wanted) in enumerate(zip(got, want, strict=True))
    )


def same_bag(got: list[Row], want: list[Row]) -> bool:
    """In any order."""
    left = list(got)
    for row in want:
        found = next((one for one in left if same(one, row)), None)
        if found is None:
            return False
        left.remove(found)
    return not left


def last_of_each(rows: list[Row]) -> list[Row]:
    """The last row of each key and window."""
    return list({repr((row[0], row[3:])): row for row in rows}.values())


def distinct(rows: list[Row]) -> list[Row]:
    """Without repeats."""
    return list({repr(row): row for row in rows}.values())


def check(mode: str, got: list[Row], want: list[Row]) -> bool:
    """Whether these rows are those."""
    match mode:
        case "seq":
            return len(got) == len(want) and all(map(same, got, want))
        case "bag":
            return same_bag(got, want)
        case "set":
            return same_bag(distinct(got), distinct(want))
        case "last":
            return same_bag(last_of_each(got), want)
        case "ends":
            return check("has", last_of_each(got), want)
        case "has":
            return all(any(same(found, row) for found in got) for row in want)
    raise ValueError(mode)
