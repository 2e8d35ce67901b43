"""The demo's input and report, without a broker: what the file says, and what is shown of the tables."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from streamcluster.errors import ConfigurationError
from streamcluster.protocol.messages import TaskFigures
from streamcluster_coordinator.demo import data
from streamcluster_coordinator.demo.flights import Delays, Flight, longest_delay, route, with_flight
from streamcluster_coordinator.demo.report import Outcome, report
from streamcluster_coordinator.demo.show import Progress, nothing_is_behind
from streamcluster_coordinator.records.status import TaskStatus


def a_flight(dep_delay: int | None = None, arr_delay: int | None = None) -> Flight:
    """A flight with these delays."""
    return Flight(
        carrier="UA",
        flight=1,
        origin="EWR",
        dest="IAH",
        scheduled="2013-01-01T10:00:00Z",
        dep_delay=dep_delay,
        arr_delay=arr_delay,
    )


def test_the_flights_are_read_with_unknown_delays_as_none() -> None:
    """The first flight of the file is as published; a cancelled one has no delays."""
    flights = list(islice(data.read_flights(data.flights_file()), 1000))

    assert flights[0] == Flight(
        carrier="UA", flight=1545, origin="EWR", dest="IAH", scheduled="2013-01-01T10:00:00Z", dep_delay=2, arr_delay=11
    )
    assert any(flight.dep_delay is None and flight.arr_delay is None for flight in flights)


def test_tables_are_read_when_every_task_runs_and_has_read_all() -> None:
    """A task that does not run yet has no lag, and cannot be asked."""
    done = TaskStatus(task="4_0", slot=0, state="running", figures=TaskFigures(lag={"flights": 0}))
    behind = TaskStatus(task="4_1", slot=1, state="running", figures=TaskFigures(lag={"flights": 5}))
    starting = TaskStatus(task="4_1", slot=1, state="starting")

    assert nothing_is_behind([done])
    assert not nothing_is_behind([done, behind])
    assert not nothing_is_behind([done, starting])


def test_the_first_rate_is_told_a_second_after_the_first_event() -> None:
    """However long the app took to start; what came later puts nothing off."""
    progress = Progress(launched=0.0, moved=0.0, told=0.0)
    for now, events in ((4.0, 0), (5.0, 40_000), (5.5, 90_000)):
        progress.see(now, events)

    assert (progress.told, progress.moved) == (5.0, 5.5)


def test_no_more_flights_are_read_than_asked_for() -> None:
    """`--flights N` reads N."""
    assert sum(1 for _ in data.read_flights(data.flights_file(), 7)) == 7


def test_records_are_keyed_by_carrier() -> None:
    """Key and value are what the app's topic declares."""
    flight = next(data.read_flights(data.flights_file()))

    key, value = next(data.as_records([flight]))

    assert key == b"UA"
    assert b'"dest":"IAH"' in value


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, the demo ends with the command that installs it."""
    monkeypatch.setattr(data, "PACKAGE", "no_such_package_of_flights")

    with pytest.raises(ConfigurationError, match=r"pip install 'streamcluster\[demo\]'"):
        data.flights_file()


def test_delays_add_up() -> None:
    """A cancelled flight counts, but not into the mean; early arrivals lower it."""
    late = a_flight(dep_delay=200, arr_delay=190)
    early = a_flight(dep_delay=-5, arr_delay=-10)
    cancelled = a_flight()

    delays = Delays()
    for flight in (late, early, cancelled):
        delays = with_flight(delays, flight)

    assert delays == Delays(flights=3, cancelled=1, arrived=2, total=180, worst=190)
    assert [longest_delay(flight) for flight in (late, early, cancelled)] == [200, -5, 0]
    assert route(late) == "EWR-IAH"


def test_the_report_shows_the_worst_first_and_the_rate() -> None:
    """Mean delays in falling order, rare routes left out, and the figures of the run."""
    carriers = {
        "UA": Delays(flights=10, cancelled=1, arrived=9, total=90, worst=60),
        "AA": Delays(flights=4, cancelled=0, arrived=4, total=80, worst=70),
    }
    routes = {
        "EWR-IAH": Delays(flights=200, cancelled=0, arrived=200, total=2000, worst=60),
        "JFK-XXX": Delays(flights=1, cancelled=0, arrived=1, total=900, worst=900),
    }

    lines = list(report(Outcome(carriers, routes, flights=14, alerts=3, events=28, elapsed=0.5, workers=2)))

    rows = [line.split() for line in lines if " min " in line]
    assert [row[0] for row in rows] == ["American", "United", "EWR-IAH"]
    assert "20.0 min" in lines[3]
    assert lines[-2].endswith(": 3")
    assert lines[-1] == "14 flights became 28 events, processed exactly once by 2 workers in 0.5 s: 56 events/s"


def test_a_damaged_package_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of that name without the data file is not the one that is needed."""
    (tmp_path / "package_without_data").mkdir()
    (tmp_path / "package_without_data" / "__init__.py").write_text("", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(data, "PACKAGE", "package_without_data")

    with pytest.raises(ConfigurationError, match=r"flights\.csv\.zip is not there"):
        data.flights_file()
