"""What the demo shows at the end, from the rows of its tables. Pure: rows in, lines out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from ..cli.view import aligned
from ..number_words import count, seconds
from .flights import LONG_DELAY_MINUTES, Delays

CARRIERS = {
    "9E": "Endeavor", "AA": "American", "AS": "Alaska", "B6": "JetBlue", "DL": "Delta", "EV": "ExpressJet",
    "F9": "Frontier", "FL": "AirTran", "HA": "Hawaiian", "MQ": "Envoy", "OO": "SkyWest", "UA": "United",
    "US": "US Airways", "VX": "Virgin America", "WN": "Southwest", "YV": "Mesa",
}  # fmt: skip
TOP_ROWS = 8
# A route with a handful of flights says nothing about delays.
ROUTE_ARRIVALS_MIN = 100


class Outcome(msgspec.Struct, frozen=True):
    """What a run gave. events: records that the agents took, the re-keyed ones included. elapsed: seconds."""

    carriers: Mapping[str, Delays]
    routes: Mapping[str, Delays]
    flights: int
    alerts: int
    events: int
    elapsed: float
    workers: int


def mean_delay(delays: Delays) -> float:
    """Minutes late on average, of the flights that arrived."""
    return delays.total / delays.arrived if delays.arrived else 0.0


def report(outcome: Outcome) -> Iterator[str]:
    """The top of each table, then the figures of the run."""
    rate = outcome.events / outcome.elapsed
    yield ""
    yield f"Arrival delays by carrier (table carrier_delays, {len(outcome.carriers)} rows), worst first:"
    yield from _top({f"{CARRIERS.get(code, '?')} ({code})": row for code, row in outcome.carriers.items()}, "CARRIER")
    yield ""
    frequent = {name: row for name, row in outcome.routes.items() if row.arrived >= ROUTE_ARRIVALS_MIN}
    yield f"Arrival delays by route (table route_delays, {len(outcome.routes)} rows), worst first:"
    yield from _top(frequent or outcome.routes, "ROUTE")
    yield ""
    yield f"Flights more than {LONG_DELAY_MINUTES} minutes late (topic long-delays): {outcome.alerts:,}"
    yield (
        f"{outcome.flights:,} flights became {outcome.events:,} events, processed exactly once by "
        f"{outcome.workers} worker{'s' if outcome.workers > 1 else ''} in {seconds(outcome.elapsed)}: "
        f"{count(round(rate))} events/s"
    )


def _top(rows: Mapping[str, Delays], title: str) -> Iterator[str]:
    worst = sorted(rows.items(), key=lambda row: (-mean_delay(row[1]), row[0]))[:TOP_ROWS]
    cells = [
        (name, f"{mean_delay(row):.1f} min", f"{row.worst:,} min", f"{row.flights:,}", f"{row.cancelled:,}")
        for name, row in worst
    ]
    for line in aligned((title, "MEAN DELAY", "WORST", "FLIGHTS", "CANCELLED"), cells):
        yield f"  {line}"
