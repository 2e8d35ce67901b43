"""What every case has at hand: the broker, a directory, sizes, the input topics (made once), and the report."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field
from pathlib import Path

from .application import Application
from .orders import BLOCK_RECORDS, distinct_rows, keyed_orders, load, load_repeated, scattered_orders
from .report import Report
from .topics import Topics

GUARANTEES = ("exactly_once", "at_least_once")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done. Seconds end in _s, everything else is a count."""

    records: int
    warm_up_s: float = 2.0
    latency_s: float = 40.0
    latency_warm_up_s: float = 20.0
    # A broker that has just started compiles itself for two minutes of small transactions: it takes twice the CPU that
    # it needs later, and the figures are those of a broker that stays.
    broker_warm_up_s: float = 120.0
    restored_rows: int = 5_000_000
    killed_rows: int = 1_000_000
    kills: int = 3
    calm_s: float = 8.0
    # How long the lag is looked at before a kill; its maximum is what "usual" means afterwards.
    lag_window_s: float = 3.0
    starts: int = 3
    # Long enough for everything that happens once after a start to have happened.
    started_s: float = 3.0
    # Several hosts: keys in all, changes a second, and how long nothing happens while the cost of idling is measured.
    hosts_rows: int = 5_000_000
    hosts_rate: int = 20_000
    idle_s: float = 30.0
    # How long a slow event is looked at beside a busy agent, and one that never ends.
    holdup_s: float = 30.0
    endless_s: float = 75.0
    # Calls that an agent awaits, of 20 ms each.
    awaits: int = 400_000
    # Events that are counted by window, and windows that close at once.
    windows: int = 1_000_000
    # Pairs of two streams that are joined.
    pairs: int = 2_000_000


def quick_sizes() -> Sizes:
    """Enough to see that everything works; the numbers mean nothing."""
    return Sizes(
        records=200_000,
        warm_up_s=0.5,
        latency_s=3.0,
        latency_warm_up_s=1.0,
        broker_warm_up_s=1.0,
        restored_rows=50_000,
        killed_rows=20_000,
        kills=1,
        calm_s=0.5,
        lag_window_s=0.5,
        starts=1,
        started_s=0.5,
        hosts_rows=20_000,
        hosts_rate=2_000,
        idle_s=1.0,
        holdup_s=5.0,
        endless_s=8.0,
        awaits=4_000,
        windows=20_000,
        pairs=20_000,
    )


@dataclass(slots=True)
class Bench:
    """One invocation. directory: for state and logs, gone at the end."""

    bootstrap: str
    directory: Path
    sizes: Sizes
    quick: bool
    report: Report
    guarantees: tuple[str, ...]
    topics: Topics = field(init=False)
    # Names of this invocation never meet those of another on the same broker.
    _stamp: str = field(init=False)
    _numbers: itertools.count[int] = field(init=False)
    _inputs: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.topics = Topics(self.bootstrap)
        self._stamp = f"{time.time_ns() // 1_000_000:x}"
        self._numbers = itertools.count(1)
        self._inputs = {}

    def new_run(self) -> str:
        """A name for one start of something, not used before."""
        return f"run{self._stamp}x{next(self._numbers)}"

    def application(self, work: str, run: str, source: str, **settings: str) -> Application:
        """An app of apps.py, not started yet."""
        return Application(self.bootstrap, work, run, source, self.directory, settings)

    def host(self, name: str, work: str, run: str, source: str, **settings: str) -> Application:
        """The same on one of several hosts that share the app."""
        return Application(self.bootstrap, work, run, source, self.directory, settings, name)

    def empty_input(self, label: str) -> str:
        """A new source topic without records."""
        name = f"bench-{label}-{self._stamp}x{next(self._numbers)}"
        self.topics.create(name)
        self._inputs[name] = name
        return name

    def orders(self, *, keyed: bool) -> str:
        """The topic with `sizes.records` orders, loaded when first asked for. keyed: by account, else by order."""
        label = "keyed" if keyed else "scattered"
        if label not in self._inputs:
            topic = self.empty_input(label)
            block = min(BLOCK_RECORDS, self.sizes.records)
            made = keyed_orders(block) if keyed else scattered_orders(block)
            load_repeated(self.bootstrap, topic, made, self.sizes.records)
            self._inputs[label] = topic
        return self._inputs[label]

    def rows(self, count: int) -> str:
        """A new topic with `count` records of distinct keys."""
        topic = self.empty_input("rows")
        load(self.bootstrap, topic, distinct_rows(count))
        return topic

    def close(self) -> None:
        """Delete the input topics."""
        names = set(self._inputs.values())
        self.topics.delete([name for name in self.topics.names() if name in names])
