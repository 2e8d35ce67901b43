"""`streamcluster demo`: a real Kafka, 336,776 real flights, the example app with its workers, and what came out.

It runs the app as a user would (`streamcluster start` in a process of its own), watches it over the control socket, and
compares the tables and alerts with what the input says: a wrong count is an error, not a figure.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from streamcluster.errors import TryAgain

from ..admin.client import ClientConfig, count_records, create_topic, load_records, reach
from ..broker import KAFKA_VERSION, Broker
from ..cli.running import NotRunning, all_rows, ask_status
from ..number_words import count, seconds
from ..places import temporary_directory
from ..records.status import Status, TaskStatus
from .application import DemoFailed, Run, Say, started
from .data import FLIGHTS_TOTAL, as_records, flights_file, read_flights
from .flights import (
    LONG_DELAY_MINUTES,
    Delays,
    Flight,
    carrier_delays,
    flights,
    long_delays,
    longest_delay,
    route_delays,
)
from .report import Outcome, report

PARTITIONS = 4
BROKER_TIMEOUT_SECONDS = 30.0
START_SECONDS_MAX = 60.0
# Without any progress for so long, something is wrong.
STUCK_SECONDS_MAX = 60.0
LOOK_SECONDS = 0.1
PROGRESS_SECONDS = 1.0


class Expected(msgspec.Struct):
    """What the input says must come out, counted while it is loaded."""

    flights: int = 0
    alerts: int = 0

    def counting(self, read: Iterator[Flight]) -> Iterator[Flight]:
        """Pass the flights through and count them."""
        for flight in read:
            self.flights += 1
            self.alerts += longest_delay(flight) > LONG_DELAY_MINUTES
            yield flight


def show_demo(*, workers: int, flights_max: int | None, keep: bool, say: Say) -> int:
    """Run the whole demo and return 0; anything that goes wrong is raised as one message.

    Args:
        workers: worker processes of the example app.
        flights_max: only so many flights; None is all of them.
        keep: leave the broker's data and the app's state on disk.
        say: takes one line for the user.
    """
    source = flights_file()
    directory = temporary_directory("streamcluster-demo-", "name one with $TMPDIR")
    try:
        say(f"Starting Apache Kafka {KAFKA_VERSION} on this machine, for this demo only.")
        with _term_interrupts(), Broker(data_dir=directory / "kafka", say=say) as broker:
            config: ClientConfig = {"bootstrap.servers": broker.bootstrap}
            expected = _load(config, source, flights_max, say)
            with started(broker.url, directory, workers, say) as run:
                outcome = _follow(run, config, expected, workers, say)
        for line in report(outcome):
            say(line)
    finally:
        if keep:
            say(f"Kept: the broker's data in {directory / 'kafka'}, the app's state in {directory / 'state'}.")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    return 0


@contextmanager
def _term_interrupts() -> Iterator[None]:
    """Make SIGTERM clean up like Ctrl-C."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _load(config: ClientConfig, source: Path, flights_max: int | None, say: Say) -> Expected:
    """Create the topic and send the flights."""
    admin = reach(config, BROKER_TIMEOUT_SECONDS)
    # Historic data: with a retention, a broker would delete it within minutes.
    create_topic(admin, flights.name, PARTITIONS, {"retention.ms": "-1"}, BROKER_TIMEOUT_SECONDS)
    total = min(flights_max or FLIGHTS_TOTAL, FLIGHTS_TOTAL)
    say(f"Loading {total:,} flights that left New York in 2013 into topic {flights.name!r} ({PARTITIONS} partitions).")
    expected = Expected()
    began = time.monotonic()
    read = expected.counting(read_flights(source, flights_max))
    sent = load_records(config, flights.name, as_records(read), BROKER_TIMEOUT_SECONDS)
    if sent != total:
        raise DemoFailed(f"{source} has {sent:,} flights, {total:,} were expected: reinstall the demo's packages.")
    say(f"Loaded in {seconds(time.monotonic() - began)}.")
    return expected


def _status(run: Run) -> Status | None:
    """The newest snapshot; None while the app is not reachable yet."""
    code = run.process.poll()
    if code is not None:
        raise DemoFailed(f"the app ended with exit code {code}; its last lines are above.")
    try:
        return ask_status(run.settings)
    except NotRunning:
        return None


def _follow(run: Run, config: ClientConfig, expected: Expected, workers: int, say: Say) -> Outcome:
    """Show the progress until all is processed; then read and check what came out."""
    elapsed, carriers, routes = _watch(run, expected, say)
    alerts = count_records(config, long_delays.name, BROKER_TIMEOUT_SECONDS)
    if alerts != expected.alerts:
        raise _wrong("alerts in topic long-delays", alerts, expected.alerts)
    return Outcome(carriers, routes, expected.flights, alerts, events_total(expected), elapsed, workers)


def _wrong(what: str, found: int, wanted: int) -> DemoFailed:
    return DemoFailed(f"{found:,} {what}, but the input gives {wanted:,}. This is a bug: please report it.")


def events_total(expected: Expected) -> int:
    """Each flight is an event of its topic, and another one behind the group_by."""
    return 2 * expected.flights


class Progress(msgspec.Struct):
    """What the watch remembers. Times are of the monotonic clock; began: None until the first event."""

    launched: float
    moved: float
    told: float
    began: float | None = None
    events: int = 0
    # Why the tables could not be read the last time.
    trouble: str = ""

    def see(self, now: float, events: int) -> None:
        """Take the newest count of events."""
        if events != self.events:
            self.moved = now
        if self.began is None and events:
            self.began = now - LOOK_SECONDS
            # A rate over less than the next second would say little.
            self.told = now
        self.events = events


def _watch(run: Run, expected: Expected, say: Say) -> tuple[float, dict[str, Delays], dict[str, Delays]]:
    """Print the progress until the tables hold every flight; return the seconds that it took, and the tables."""
    now = time.monotonic()
    progress = Progress(launched=now, moved=now, told=now)
    while True:
        time.sleep(LOOK_SECONDS)
        now = time.monotonic()
        status = _status(run)
        if status is None:
            if now - progress.launched > START_SECONDS_MAX:
                raise DemoFailed(f"the app did not answer within {START_SECONDS_MAX:.0f} s; its last lines are above.")
            continue
        progress.see(now, sum(worker.figures.events_total for worker in status.workers))
        if progress.began is not None and nothing_is_behind(status.tasks) and (tables := _tables_now(run, progress)):
            carriers, routes = tables
            if _flights(carriers) >= expected.flights and _flights(routes) >= expected.flights:
                _check(carriers, routes, expected)
                return max(progress.moved - progress.began, LOOK_SECONDS), carriers, routes
        if now - progress.moved > STUCK_SECONDS_MAX:
            text = f"nothing was processed for {STUCK_SECONDS_MAX:.0f} s, after {progress.events:,} events"
            raise DemoFailed(f"{text}{progress.trouble}.")
        if progress.began is not None and now - progress.told >= PROGRESS_SECONDS and progress.moved > progress.told:
            say(_progress_line(progress.events, events_total(expected), progress.moved - progress.began))
            progress.told = now


def nothing_is_behind(tasks: Iterable[TaskStatus]) -> bool:
    """Every task runs, and has read all. A hint only: what group_by sent last may not be visible yet."""
    return all(task.state == "running" and not any(task.figures.lag.values()) for task in tasks)


def _tables(run: Run) -> tuple[dict[str, Delays], dict[str, Delays]]:
    """All rows of both tables, from the running app."""
    carriers, routes = (
        {
            msgspec.json.decode(key, type=str): msgspec.json.decode(value, type=Delays)
            for key, value in all_rows(run.settings, name)
        }
        for name in (carrier_delays.name, route_delays.name)
    )
    return carriers, routes


def _tables_now(run: Run, progress: Progress) -> tuple[dict[str, Delays], dict[str, Delays]] | None:
    """The same; None while they cannot be read: a task may be on its way to another worker at any moment."""
    try:
        tables = _tables(run)
    except TryAgain as not_yet:
        progress.trouble = f"; {not_yet}"
        return None
    progress.trouble = ""
    return tables


def _flights(rows: dict[str, Delays]) -> int:
    return sum(row.flights for row in rows.values())


def _check(carriers: dict[str, Delays], routes: dict[str, Delays], expected: Expected) -> None:
    """Every flight exactly once, in both tables."""
    for what, rows in (("carrier_delays", carriers), ("route_delays", routes)):
        if _flights(rows) != expected.flights:
            raise _wrong(f"flights in table {what}", _flights(rows), expected.flights)


def _progress_line(done: int, total: int, elapsed: float) -> str:
    rate = done / elapsed if elapsed > 0 else 0.0
    return f"  {done:>9,} of {total:,} events ({min(done / total, 1):4.0%})  {count(round(rate))} events/s"
