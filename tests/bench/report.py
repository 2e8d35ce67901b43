"""What was measured beside what is asked (issues 3 and 4, "Figures to reach"): values, the table, the JSON file.

It knows the asked figures by name and measures nothing.
"""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import confluent_kafka
import msgspec

LIBRARIES = ("confluent-kafka", "msgspec", "orjson", "rocksdict", "uvloop")

# What a task may read again where a standby takes over: what the standby may be behind by, twice.
TAIL_RECORDS = 20_000
# (case, figure) -> (sign, value). Cases carry the guarantee where there are two.
ASKED: dict[tuple[str, str], tuple[str, float]] = {
    ("count exactly_once", "CPU us/event"): ("<=", 2.5),
    ("count exactly_once", "events/s"): (">=", 650_000),
    ("count exactly_once", "unique MB/worker"): ("<=", 400),
    ("mapping exactly_once", "CPU us/event"): ("<=", 3.8),
    ("mapping exactly_once", "events/s"): (">=", 450_000),
    ("grouped exactly_once", "CPU us/event"): ("<=", 6.0),
    ("grouped exactly_once", "events/s"): (">=", 280_000),
    ("count", "exactly once slower, %"): ("<=", 10),
    ("mapping", "exactly once slower, %"): ("<=", 10),
    ("grouped", "exactly once slower, %"): ("<=", 10),
    ("latency mapping exactly_once", "p50 ms"): ("<=", 30),
    ("latency mapping exactly_once", "p99 ms"): ("<=", 80),
    ("latency mapping at_least_once", "p50 ms"): ("<=", 9),
    ("latency regrouped exactly_once", "p50 ms"): ("<=", 60),
    ("latency regrouped exactly_once", "p99 ms"): ("<=", 140),
    ("awaits raw exactly_once", "events/s a worker"): (">=", 20_000),
    ("windows count", "CPU us/event"): ("<=", 4.0),
    ("windows tumbling", "CPU us/event"): ("<=", 4.0),
    ("windows close", "windows/s"): (">=", 200_000),
    ("windows close", "longest pause ms"): ("<=", 100),
    ("windows close", "MB more meanwhile"): ("<=", 64),
    ("joins", "CPU us/event"): ("<=", 11.0),
    ("restore", "records/s"): (">=", 700_000),
    ("kill", "first commit s"): ("<=", 1),
    ("kill", "back to speed s"): ("<=", 2),
    ("start", "first commit s"): ("<=", 3),
    ("start", "idle unique MB/worker"): ("<=", 80),
    **{
        (f"holdups {work}", figure): ("<=", value)
        for work in ("other_group", "same_task", "same_topic", "function", "endless", "callback", "store")
        for figure, value in (("median age s", 0.25), ("worst age s", 1))
    },
    ("holdups endless", "named in status"): (">=", 1),
    ("holdups endless", "named in log"): ("<=", 1),
    ("holdups unencodable", "all committed s"): ("<=", 5),
    ("holdups unencodable", "doubled"): ("<=", 0),
    ("join", "no commit s"): ("<=", 1.5),
    ("join", "back: no commit s"): ("<=", 1.5),
    ("join", "restored records/task"): ("<=", TAIL_RECORDS),
    ("join", "back: restored/task"): ("<=", TAIL_RECORDS),
    ("host_lost", "first commit s"): ("<=", 5),
    ("host_lost", "caught up s"): ("<=", 8),
    ("host_lost", "restored records/task"): ("<=", TAIL_RECORDS),
    ("leader_lost", "first commit s"): ("<=", 9),
    ("leader_lost", "restored records/task"): ("<=", TAIL_RECORDS),
    ("leader_lost", "new leader s"): ("<=", 10),
    ("leader_killed", "no commit of others s"): ("<=", 1),
    ("leave", "committed elsewhere s"): ("<=", 2),
    ("leave", "new leader s"): ("<=", 1),
    ("leave", "host: exit code"): ("<=", 0),
    ("leave", "leader: exit code"): ("<=", 0),
    ("idle", "coordinator, % of a core"): ("<=", 1),
    ("idle", "status records/s and host"): ("<=", 2),
    # What Kafka Streams takes for it.
    ("host_lost_cold", "first commit s"): ("<=", 22),
    ("host_lost_cold", "caught up s"): ("<=", 27),
}


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One measured number. note: what the reader should know to judge it."""

    case: str
    figure: str
    value: float
    note: str = ""
    asked: str | None = None
    reached: bool | None = None


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where and when it was measured. load: the machine's 1 minute load average before the first case."""

    date: str
    cores: int
    processor: str
    python: str
    system: str
    load: float
    libraries: dict[str, str]


class Report(msgspec.Struct, kw_only=True):
    """Everything of one invocation; it grows while cases run. failures: case -> why there are no figures."""

    machine: Machine
    records: int
    quick: bool
    figures: list[Figure] = []
    failures: dict[str, str] = {}

    def add(self, case: str, figure: str, value: float, note: str = "") -> None:
        """Add a figure, with what is asked of it."""
        asked = ASKED.get((case, figure))
        reached = None
        if asked is not None and not self.quick:
            reached = value <= asked[1] if asked[0] == "<=" else value >= asked[1]
        text = None if asked is None else f"{asked[0]} {_number(asked[1])}"
        found = Figure(case=case, figure=figure, value=value, note=note, asked=text, reached=reached)
        self.figures.append(found)
        print(_row(found), flush=True)

    def value(self, case: str, figure: str) -> float | None:
        """A figure that was added before, or None."""
        return next((one.value for one in self.figures if (one.case, one.figure) == (case, figure)), None)

    def table(self) -> str:
        """All figures, one line each, then the failures."""
        lines = [_row(figure) for figure in self.figures]
        lines += [f"{case}: FAILED: {reason}" for case, reason in self.failures.items()]
        return "\n".join([HEADER, *lines])

    def write(self, path: Path) -> None:
        """Write the report as JSON."""
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2))


def this_machine() -> Machine:
    """The facts that a figure means nothing without."""
    libraries = {name: version(name) for name in LIBRARIES}
    return Machine(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        cores=os.cpu_count() or 0,
        processor=_processor(),
        python=platform.python_version(),
        system=platform.platform(),
        load=os.getloadavg()[0],
        libraries={**libraries, "librdkafka": confluent_kafka.libversion()[0]},
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _row(one: Figure) -> str:
    mark = {None: "", True: "yes", False: "NO"}[one.reached]
    return f"{one.case:<32}{one.figure:<26}{_number(one.value):>12}  {one.asked or '':>12}  {mark:<4}{one.note}"


HEADER = f"{'case':<32}{'figure':<26}{'measured':>12}  {'asked':>12}  {'':<4}"
